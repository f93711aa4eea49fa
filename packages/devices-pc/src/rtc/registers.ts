/** Registers of the MC146818A (Motorola, 1984) and the PC's use of its RAM. */

export const INDEX_PORT = 0;
export const DATA_PORT = 1;
/** The second bank of 128 bytes, as on the PIIX4 (82371AB data sheet §4.2.9): index and data. */
export const EXTENDED_INDEX_PORT = 2;
export const EXTENDED_DATA_PORT = 3;
export const PORT_COUNT = 4;
/** Bit 7 of the index port masks NMIs on a PC. */
export const NMI_MASKED = 0x80;

export const SECONDS = 0x00;
export const SECONDS_ALARM = 0x01;
export const MINUTES = 0x02;
export const MINUTES_ALARM = 0x03;
export const HOURS = 0x04;
export const HOURS_ALARM = 0x05;
export const DAY_OF_WEEK = 0x06;
export const DAY_OF_MONTH = 0x07;
export const MONTH = 0x08;
export const YEAR = 0x09;
export const REGISTER_A = 0x0a;
export const REGISTER_B = 0x0b;
export const REGISTER_C = 0x0c;
export const REGISTER_D = 0x0d;
/** Where PCs keep the century; the FADT says so to Linux. */
export const CENTURY = 0x32;

export const A_UIP = 0x80;
export const A_DIVIDER = 0x70;
/** Both upper divider bits set hold the divider chain in reset (data sheet, table 4). */
export const A_DIVIDER_RESET = 0x60;
export const A_DIVIDER_32KHZ = 0x20;
export const A_RATE = 0x0f;
/** 1024 Hz, the rate firmware leaves. */
export const A_RATE_1024HZ = 0x06;

export const B_SET = 0x80;
export const B_PIE = 0x40;
export const B_AIE = 0x20;
export const B_UIE = 0x10;
export const B_SQWE = 0x08;
/** Binary instead of BCD. */
export const B_DM = 0x04;
export const B_24H = 0x02;
export const B_DSE = 0x01;

/** Flags sit in register C where their enables sit in register B. */
export const C_IRQF = 0x80;
export const C_PF = 0x40;
export const C_AF = 0x20;
export const C_UF = 0x10;
export const C_FLAGS = C_PF | C_AF | C_UF;

/** Valid RAM and time. */
export const D_VRT = 0x80;

/** PM in 12-hour mode. */
export const HOURS_PM = 0x80;
/** Alarm bytes from 0xc0 up match anything ("don't care"). */
export const ALARM_ANY = 0xc0;

/** UIP rises 244 us before the update, which takes 1984 us with a 32,768 Hz crystal (data sheet, table 5). */
export const UPDATE_NS = 2_228_000;

/** Cells in which PC firmware describes the machine. */
export const EQUIPMENT = 0x14;
export const BASE_MEMORY_KB = 0x15;
export const EXTENDED_MEMORY_KB = 0x17;
export const CHECKSUM = 0x2e;
export const EXTENDED_MEMORY_KB_FOUND = 0x30;
/** RAM above 16 MiB and below 4 GiB in units of 64 KiB. */
export const MEMORY_ABOVE_16M = 0x34;
/** RAM above 4 GiB in units of 64 KiB, three bytes. */
export const MEMORY_ABOVE_4G = 0x5b;

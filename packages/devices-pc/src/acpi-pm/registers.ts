/** ACPI fixed hardware (ACPI 6.4 §4.8) and the reset control register of PC chipsets (82371SB data sheet, "reset control register"). */

/** PM1a event block: status word, enable word (§4.8.3.1). */
export const PM1_STS = 0;
export const PM1_EN = 2;
export const PM1_EVT_LEN = 4;
export const TMR_STS = 0x0001;
export const BM_STS = 0x0010;
export const GBL_STS = 0x0020;
export const PWRBTN_STS = 0x0100;
export const RTC_EN = 0x0400;
export const WAK_STS = 0x8000;
/** Status bits that exist here; each is cleared by writing 1. */
export const STS_MASK = TMR_STS | GBL_STS | PWRBTN_STS | WAK_STS;
/**
 * Enable bits, at the places of their status bits. RTC_EN is kept although its event never comes (FIX_RTC): Linux's RTC driver sets it
 * whatever the FADT says, and complains when it does not read back.
 */
export const EN_MASK = TMR_STS | GBL_STS | PWRBTN_STS | RTC_EN;

/** PM1a control block (§4.8.3.2). */
export const PM1_CNT_LEN = 2;
export const SCI_EN = 0x0001;
export const BM_RLD = 0x0002;
export const GBL_RLS = 0x0004;
export const SLP_TYP_SHIFT = 10;
export const SLP_TYP = 0x1c00;
export const SLP_EN = 0x2000;
/** Bits that read back; GBL_RLS and SLP_EN are write-only. */
export const CNT_STORED = BM_RLD | SLP_TYP;
/** The SLP_TYP value that the DSDT's _S5 names. */
export const SLP_TYP_S5 = 5;

/** PM timer (§4.8.3.3): four bytes, counting at 3.579545 MHz. */
export const PM_TMR_LEN = 4;
export const PM_TIMER_HZ = 3_579_545;

/** Reset control register: bit 2 rising resets, softly or (bit 1) fully; bit 3 asks for a power cycle. */
export const RCR_SYS_RST = 0x02;
export const RCR_RST_CPU = 0x04;
export const RCR_FULL_RST = 0x08;
export const RCR_STORED = RCR_SYS_RST | RCR_RST_CPU | RCR_FULL_RST;
/** What the FADT tells systems to write. */
export const RESET_VALUE = RCR_SYS_RST | RCR_RST_CPU;

/** Registers of the 16550A, named as in the PC16550D data sheet (National Semiconductor, 1995), §8. */

/** Offsets. 0 and 1 reach the divisor latch while LCR.DLAB is set. */
export const RBR_THR_DLL = 0;
export const IER_DLM = 1;
export const IIR_FCR = 2;
export const LCR = 3;
export const MCR = 4;
export const LSR = 5;
export const MSR = 6;
export const SCR = 7;
export const REGISTER_COUNT = 8;

/** Interrupt enable: received data, transmitter empty, line status, modem status. */
export const IER_ERBFI = 0x01;
export const IER_ETBEI = 0x02;
export const IER_ELSI = 0x04;
export const IER_EDSSI = 0x08;
export const IER_MASK = 0x0f;

/** Interrupt identification, data sheet table III: the pending interrupt of highest priority. */
export const IIR_MODEM_STATUS = 0x00;
export const IIR_NONE = 0x01;
export const IIR_THR_EMPTY = 0x02;
export const IIR_RECEIVED_DATA = 0x04;
export const IIR_LINE_STATUS = 0x06;
export const IIR_TIMEOUT = 0x0c;
export const IIR_FIFOS_ENABLED = 0xc0;

/** FIFO control. The resets clear themselves; bits 7:6 choose the receiver's trigger level. */
export const FCR_ENABLE = 0x01;
export const FCR_RESET_RECEIVER = 0x02;
export const FCR_RESET_TRANSMITTER = 0x04;
export const FCR_STORED = 0xc9;
/** Bytes at which the received-data interrupt fires, by FCR bits 7:6. */
export const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
export const FIFO_SIZE = 16;

/** Line control: word length (5 bits + value), stop bits, parity enable, divisor latch access. */
export const LCR_WORD_LENGTH = 0x03;
export const LCR_STOP_BITS = 0x04;
export const LCR_PARITY = 0x08;
export const LCR_DLAB = 0x80;

/** Modem control. OUT2 gates the interrupt line on the PC's serial adapter. */
export const MCR_DTR = 0x01;
export const MCR_RTS = 0x02;
export const MCR_OUT1 = 0x04;
export const MCR_OUT2 = 0x08;
export const MCR_LOOP = 0x10;
export const MCR_MASK = 0x1f;

/** Line status. */
export const LSR_DR = 0x01;
export const LSR_OE = 0x02;
export const LSR_PE = 0x04;
export const LSR_FE = 0x08;
export const LSR_BI = 0x10;
export const LSR_THRE = 0x20;
export const LSR_TEMT = 0x40;
export const LSR_FIFO_ERROR = 0x80;
/** Conditions that raise the line status interrupt. */
export const LSR_ERRORS = LSR_OE | LSR_PE | LSR_FE | LSR_BI;

/** Modem status: lines in the high half, their changes since the last read in the low half. TERI only for a falling RI. */
export const MSR_DCTS = 0x01;
export const MSR_DDSR = 0x02;
export const MSR_TERI = 0x04;
export const MSR_DDCD = 0x08;
export const MSR_CTS = 0x10;
export const MSR_DSR = 0x20;
export const MSR_RI = 0x40;
export const MSR_DCD = 0x80;
export const MSR_DELTAS = 0x0f;

/** Input clock of the PC's UART; a character bit takes 16 * divisor of its periods. */
export const CLOCK_HZ = 1_843_200;

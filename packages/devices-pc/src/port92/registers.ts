/** System control port A of the PS/2 (IBM PS/2 technical reference, "system control port A"). */

/** A change from 0 to 1 resets the processor. */
export const FAST_RESET = 0x01;
export const A20_GATE = 0x02;
/** Bits that read back: the watchdog status and the reserved bits do not exist here. */
export const STORED = 0xc3;

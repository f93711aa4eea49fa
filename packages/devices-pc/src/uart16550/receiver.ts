import type { View } from '@tsvisor/state-layout';
import { FCR_ENABLE, FIFO_SIZE, LSR_DR, LSR_FIFO_ERROR, LSR_OE, TRIGGER_LEVELS } from './registers.ts';
import type { uart16550Layout } from './state.ts';

export type Uart16550State = View<typeof uart16550Layout.schema>;

/** Characters the receiver holds: 16 with FIFOs, one (RBR) without. */
export const capacity = (s: Uart16550State): number => ((s.fcr & FCR_ENABLE) !== 0 ? FIFO_SIZE : 1);

/** Characters at which the received-data interrupt fires. */
export const triggerLevel = (s: Uart16550State): number => ((s.fcr & FCR_ENABLE) !== 0 ? TRIGGER_LEVELS[s.fcr >> 6] : 1);

/** The errors of a character reach LSR when it comes to the top of the FIFO (data sheet §8.6.3, LSR bits 2 to 4). */
function revealErrors(s: Uart16550State): void {
  if (s.fifoCount > 0) s.lsrErrors |= s.fifoErrors[s.fifoHead];
}

/** Puts a character into the receiver; one too many sets LSR.OE. */
export function pushReceived(s: Uart16550State, byte: number, errors: number): void {
  if (s.fifoCount === capacity(s)) {
    s.lsrErrors |= LSR_OE;
    // With FIFOs the shift register is lost; without them RBR is overwritten (data sheet §8.6.3, LSR bit 1).
    if ((s.fcr & FCR_ENABLE) === 0) s.fifo[s.fifoHead] = byte;
    return;
  }
  const at = (s.fifoHead + s.fifoCount) % FIFO_SIZE;
  s.fifo[at] = byte;
  s.fifoErrors[at] = errors;
  s.fifoCount++;
  if (s.fifoCount === 1) revealErrors(s);
}

/** Takes the character at the top; an empty receiver shows the last one again. */
export function popReceived(s: Uart16550State): number {
  if (s.fifoCount === 0) return s.rbr;
  s.rbr = s.fifo[s.fifoHead];
  s.fifoHead = (s.fifoHead + 1) % FIFO_SIZE;
  s.fifoCount--;
  revealErrors(s);
  return s.rbr;
}

export function clearReceiver(s: Uart16550State): void {
  s.fifoHead = 0;
  s.fifoCount = 0;
  s.timeoutPending = 0;
}

/** The LSR bits that the receiver contributes. */
export function receiverStatus(s: Uart16550State): number {
  let status = s.lsrErrors;
  if (s.fifoCount > 0) status |= LSR_DR;
  if ((s.fcr & FCR_ENABLE) === 0) return status;
  // Bit 7 tells of an error anywhere in the FIFO; a 16450 keeps it zero.
  for (let i = 0; i < s.fifoCount; i++) if (s.fifoErrors[(s.fifoHead + i) % FIFO_SIZE] !== 0) return status | LSR_FIFO_ERROR;
  return status;
}

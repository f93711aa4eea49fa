import { array, defineLayout } from '@tsvisor/state-layout';
import { FIFO_SIZE } from './registers.ts';

/** Change it with the schema. */
export const UART16550_STATE_VERSION = 1;

export const uart16550Layout = defineLayout('uart16550', {
  ier: 'u8',
  fcr: 'u8',
  lcr: 'u8',
  mcr: 'u8',
  scr: 'u8',
  /** Overrun, and the errors of the character at the top of the FIFO; the other LSR bits are computed. */
  lsrErrors: 'u8',
  /** MSR as last seen: lines and deltas. */
  msr: 'u8',
  /** 1 while the THR-empty interrupt is latched: it goes away when IIR reports it, though THR stays empty. */
  thrPending: 'u8',
  /** 1 while the character timeout interrupt is pending. */
  timeoutPending: 'u8',
  /** 1 after `receive` took less than offered. */
  wantsSpace: 'u8',
  /** What RBR shows when there is nothing new. */
  rbr: 'u8',
  fifoHead: 'u8',
  fifoCount: 'u8',
  divisor: 'u16',
  fifo: array('u8', FIFO_SIZE),
  /** LSR error bits that belong to each character in the FIFO. */
  fifoErrors: array('u8', FIFO_SIZE),
});

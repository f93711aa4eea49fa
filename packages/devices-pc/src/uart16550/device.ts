import { byteDevice } from '../byte-device.ts';
import { createCharOutput } from '../char-output.ts';
import { createIrqOutput } from '../irq-output.ts';
import type { IoDevice } from '../ports.ts';
import { restoreState, saveState } from '../saved-state.ts';
import type { Uart16550Ports } from './ports.ts';
import { capacity, clearReceiver, popReceived, pushReceived, receiverStatus, triggerLevel } from './receiver.ts';
import * as R from './registers.ts';
import { UART16550_STATE_VERSION, uart16550Layout } from './state.ts';

/** Divisor for 9600 baud, as a PC's firmware leaves it; Linux's early console divides by what it finds. */
const FIRMWARE_DIVISOR = 12;
/** The other end of the cable is always there and ready. */
const CONNECTED = R.MSR_CTS | R.MSR_DSR | R.MSR_DCD;

export type Uart16550 = {
  /** Eight byte-wide registers. */
  readonly io: IoDevice;
  /** Offers characters from the line; returns how many were taken, the rest is the caller's to offer again. */
  readonly receive: (bytes: Uint8Array) => number;
  /** A break condition on the line, as a terminal's break key sends it. */
  readonly receiveBreak: () => void;
  /** Hands collected output to the backend. */
  readonly flush: () => void;
  /** Registers as after power-on. */
  readonly reset: () => void;
  readonly save: () => Uint8Array;
  /** @throws DevicesPcError `DEVICES_PC_BAD_STATE` */
  readonly restore: (saved: unknown) => void;
};

/**
 * A 16550A UART (PC16550D data sheet). The transmitter is infinitely fast: THR is empty again as soon as it has been written,
 * and each character written gives one THR-empty interrupt. Words travel as whole bytes whatever LCR says of length and parity.
 */
export function createUart16550(ports: Uart16550Ports): Uart16550 {
  const { clock, state } = ports;
  const s = uart16550Layout.view(state.buffer, state.byteOffset);
  const output = createCharOutput(ports.backend);
  let timeout: Disposable | undefined;
  const irq = createIrqOutput(ports.irq);

  const fifosEnabled = (): boolean => (s.fcr & R.FCR_ENABLE) !== 0;
  const looped = (): boolean => (s.mcr & R.MCR_LOOP) !== 0;

  /** The pending, enabled interrupt of highest priority (data sheet table III). */
  const interruptId = (): number => {
    if ((s.ier & R.IER_ELSI) !== 0 && (s.lsrErrors & R.LSR_ERRORS) !== 0) return R.IIR_LINE_STATUS;
    if ((s.ier & R.IER_ERBFI) !== 0 && s.fifoCount >= triggerLevel(s)) return R.IIR_RECEIVED_DATA;
    if ((s.ier & R.IER_ERBFI) !== 0 && s.timeoutPending !== 0) return R.IIR_TIMEOUT;
    if ((s.ier & R.IER_ETBEI) !== 0 && s.thrPending !== 0) return R.IIR_THR_EMPTY;
    if ((s.ier & R.IER_EDSSI) !== 0 && (s.msr & R.MSR_DELTAS) !== 0) return R.IIR_MODEM_STATUS;
    return R.IIR_NONE;
  };
  /** On a PC the line passes a gate that OUT2 opens; loop-back drives the OUT2 pin inactive (data sheet §8.7, bit 4). */
  const irqActive = (): boolean => (s.mcr & (R.MCR_OUT2 | R.MCR_LOOP)) === R.MCR_OUT2 && interruptId() !== R.IIR_NONE;
  const updateIrq = (): void => irq.set(irqActive());

  /** Four character times, start, parity and stop bits included (data sheet §8.8.2, FIFO interrupt mode). */
  const timeoutNs = (): number => {
    const parity = (s.lcr & R.LCR_PARITY) !== 0 ? 1 : 0;
    const stop = (s.lcr & R.LCR_STOP_BITS) !== 0 ? 2 : 1;
    const bits = 1 + 5 + (s.lcr & R.LCR_WORD_LENGTH) + parity + stop;
    return Math.round((4 * bits * 16 * Math.max(s.divisor, 1) * 1e9) / R.CLOCK_HZ);
  };
  /** Restarts the timeout: it counts from the last character received or read. */
  const armTimeout = (): void => {
    timeout?.[Symbol.dispose]();
    timeout = undefined;
    // The received-data interrupt covers a FIFO at its trigger level, and a 16450 has no timeout.
    if (!fifosEnabled() || s.fifoCount === 0 || s.fifoCount >= triggerLevel(s)) return;
    timeout = clock.setTimer(clock.monotonicNs() + timeoutNs(), () => {
      timeout = undefined;
      if (s.fifoCount > 0) s.timeoutPending = 1;
      updateIrq();
    });
  };
  const received = (byte: number, errors: number): void => {
    pushReceived(s, byte, errors);
    armTimeout();
    updateIrq();
  };

  const announceSpace = (): void => {
    if (s.wantsSpace === 0 || s.fifoCount > 0 || looped()) return;
    s.wantsSpace = 0;
    ports.onReceiveSpace?.();
  };
  const readReceived = (): number => {
    const byte = popReceived(s);
    s.timeoutPending = 0;
    armTimeout();
    updateIrq();
    announceSpace();
    return byte;
  };
  const transmit = (byte: number): void => {
    s.thrPending = 0;
    updateIrq();
    if (looped()) received(byte, 0);
    else output.put(byte);
    s.thrPending = 1;
    updateIrq();
  };

  /** Lines as MSR shows them: the cable's, or in loop-back the four outputs of MCR (data sheet §8.7, bit 4). */
  const modemLines = (): number => {
    if (!looped()) return CONNECTED;
    let lines = 0;
    if ((s.mcr & R.MCR_RTS) !== 0) lines |= R.MSR_CTS;
    if ((s.mcr & R.MCR_DTR) !== 0) lines |= R.MSR_DSR;
    if ((s.mcr & R.MCR_OUT1) !== 0) lines |= R.MSR_RI;
    if ((s.mcr & R.MCR_OUT2) !== 0) lines |= R.MSR_DCD;
    return lines;
  };
  const updateModemStatus = (): void => {
    const lines = modemLines();
    const changed = (s.msr ^ lines) >> 4;
    // TERI tells only of the trailing edge of RI.
    const deltas = (changed & ~R.MSR_TERI) | (changed & R.MSR_TERI & (s.msr >> 4));
    s.msr = lines | (s.msr & R.MSR_DELTAS) | deltas;
  };

  const writeIer = (value: number): void => {
    const enabled = value & ~s.ier;
    s.ier = value & R.IER_MASK;
    // Enabling the interrupt while THR is empty raises it anew: Linux's 8250 driver tests for this and otherwise polls by timer.
    if ((enabled & R.IER_ETBEI) !== 0) s.thrPending = 1;
    updateIrq();
  };
  const writeFcr = (value: number): void => {
    const toggled = ((value ^ s.fcr) & R.FCR_ENABLE) !== 0;
    // Without bit 0 the other bits are not programmed (data sheet §8.4, bit 0).
    s.fcr = (value & R.FCR_ENABLE) !== 0 ? value & R.FCR_STORED : 0;
    if (toggled || ((value & R.FCR_ENABLE) !== 0 && (value & R.FCR_RESET_RECEIVER) !== 0)) clearReceiver(s);
    armTimeout();
    updateIrq();
    announceSpace();
  };
  const writeMcr = (value: number): void => {
    s.mcr = value & R.MCR_MASK;
    updateModemStatus();
    updateIrq();
    announceSpace();
  };
  const writeRegister = (offset: number, value: number): void => {
    const dlab = (s.lcr & R.LCR_DLAB) !== 0;
    if (offset === R.RBR_THR_DLL) {
      if (dlab) s.divisor = (s.divisor & 0xff00) | value;
      else transmit(value);
    } else if (offset === R.IER_DLM) {
      if (dlab) s.divisor = (s.divisor & 0x00ff) | (value << 8);
      else writeIer(value);
    } else if (offset === R.IIR_FCR) writeFcr(value);
    else if (offset === R.LCR) s.lcr = value;
    else if (offset === R.MCR) writeMcr(value);
    else if (offset === R.SCR) s.scr = value;
    // LSR and MSR are read-only here: writing them is for factory testing.
  };

  const readIir = (): number => {
    const id = interruptId();
    // Reading IIR acknowledges THR-empty, and only if that is what it reports (data sheet table III).
    if (id === R.IIR_THR_EMPTY) {
      s.thrPending = 0;
      updateIrq();
    }
    return id | (fifosEnabled() ? R.IIR_FIFOS_ENABLED : 0);
  };
  const readLsr = (): number => {
    const status = receiverStatus(s) | R.LSR_THRE | R.LSR_TEMT;
    s.lsrErrors = 0;
    if (s.fifoCount > 0) s.fifoErrors[s.fifoHead] = 0;
    updateIrq();
    return status;
  };
  const readMsr = (): number => {
    const status = s.msr;
    s.msr = status & ~R.MSR_DELTAS;
    updateIrq();
    return status;
  };
  const readRegister = (offset: number): number => {
    const dlab = (s.lcr & R.LCR_DLAB) !== 0;
    if (offset === R.RBR_THR_DLL) return dlab ? s.divisor & 0xff : readReceived();
    if (offset === R.IER_DLM) return dlab ? s.divisor >> 8 : s.ier;
    if (offset === R.IIR_FCR) return readIir();
    if (offset === R.LCR) return s.lcr;
    if (offset === R.MCR) return s.mcr;
    if (offset === R.LSR) return readLsr();
    return offset === R.MSR ? readMsr() : s.scr;
  };

  const receive = (bytes: Uint8Array): number => {
    // In loop-back the receiver is cut off from the line; characters wait rather than get lost.
    const room = looped() ? 0 : capacity(s) - s.fifoCount;
    const taken = Math.min(room, bytes.length);
    for (let i = 0; i < taken; i++) pushReceived(s, bytes[i], 0);
    if (taken < bytes.length) s.wantsSpace = 1;
    if (taken > 0) {
      armTimeout();
      updateIrq();
    }
    return taken;
  };
  const reset = (): void => {
    new Uint8Array(state.buffer, state.byteOffset, uart16550Layout.size).fill(0);
    s.divisor = FIRMWARE_DIVISOR;
    s.msr = CONNECTED;
    armTimeout();
    updateIrq();
  };
  reset();

  return {
    io: byteDevice(R.REGISTER_COUNT, readRegister, writeRegister),
    receive,
    receiveBreak: () => {
      if (!looped()) received(0, R.LSR_BI | R.LSR_FE);
    },
    flush: output.flush,
    reset,
    save: () => saveState(uart16550Layout, UART16550_STATE_VERSION, state),
    restore: (saved) => {
      restoreState(
        uart16550Layout,
        UART16550_STATE_VERSION,
        state,
        saved,
        (c) => c.fifoHead < R.FIFO_SIZE && c.fifoCount <= capacity(c) && c.ier <= R.IER_MASK && c.mcr <= R.MCR_MASK,
      );
      // Deadlines of another host's clock mean nothing here: a waiting character gets a whole timeout.
      armTimeout();
      irq.resend(irqActive());
    },
  };
}

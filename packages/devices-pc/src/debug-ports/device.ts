import { byteDevice } from '../byte-device.ts';
import { createCharOutput } from '../char-output.ts';
import type { IoDevice } from '../ports.ts';
import { restoreState, saveState } from '../saved-state.ts';
import type { DebugConsolePorts, DebugExitPorts, DelayPortPorts } from './ports.ts';
import { DEBUG_CONSOLE_PRESENT } from './registers.ts';
import { DELAY_PORT_STATE_VERSION, delayPortLayout } from './state.ts';

export type DelayPort = {
  /** One byte: port 0x80 on a PC. */
  readonly io: IoDevice;
  /** The last value written: firmware's progress code. */
  readonly code: () => number;
  readonly save: () => Uint8Array;
  /** @throws DevicesPcError `DEVICES_PC_BAD_STATE` */
  readonly restore: (saved: unknown) => void;
};

/**
 * The diagnostic port: a spare DMA page register that firmware writes progress codes to and that drivers write to because an ISA
 * cycle takes about a microsecond. It keeps what is written.
 */
export function createDelayPort(ports: DelayPortPorts): DelayPort {
  const { state } = ports;
  const s = delayPortLayout.view(state.buffer, state.byteOffset);
  s.value = 0;
  return {
    io: byteDevice(
      1,
      () => s.value,
      (_, value) => {
        s.value = value;
      },
    ),
    code: () => s.value,
    save: () => saveState(delayPortLayout, DELAY_PORT_STATE_VERSION, state),
    restore: (saved) => restoreState(delayPortLayout, DELAY_PORT_STATE_VERSION, state, saved, () => true),
  };
}

export type DebugConsole = {
  /** One byte: port 0xe9 by convention. */
  readonly io: IoDevice;
  /** Hands collected output to the backend. */
  readonly flush: () => void;
};

/** The Bochs debug console: every byte written is a character. It has no state. */
export function createDebugConsole(ports: DebugConsolePorts): DebugConsole {
  const output = createCharOutput(ports.backend);
  return {
    io: byteDevice(
      1,
      () => DEBUG_CONSOLE_PRESENT,
      (_, value) => output.put(value),
    ),
    flush: output.flush,
  };
}

export type DebugExit = {
  /** One to four bytes: port 0xf4 by convention. */
  readonly io: IoDevice;
};

/** The exit port test guests end with (QEMU's isa-debug-exit): a write of v ends the process with `(v << 1) | 1`. It has no state. */
export function createDebugExit(ports: DebugExitPorts): DebugExit {
  return {
    io: {
      read: () => 0,
      write: (_offset, _len, value) => ports.onExit(((value << 1) | 1) >>> 0),
    },
  };
}

import { byteDevice } from '../byte-device.ts';
import type { IoDevice } from '../ports.ts';
import { restoreState, saveState } from '../saved-state.ts';
import type { Port92Ports } from './ports.ts';
import { A20_GATE, FAST_RESET, STORED } from './registers.ts';
import { PORT92_STATE_VERSION, port92Layout } from './state.ts';

export type Port92 = {
  /** One byte: port 0x92 on a PC. */
  readonly io: IoDevice;
  readonly save: () => Uint8Array;
  /** @throws DevicesPcError `DEVICES_PC_BAD_STATE` */
  readonly restore: (saved: unknown) => void;
};

/** System control port A: the fast A20 gate, open at start as firmware leaves it, and the fast reset. */
export function createPort92(ports: Port92Ports): Port92 {
  const { state } = ports;
  const s = port92Layout.view(state.buffer, state.byteOffset);
  s.value = A20_GATE;

  const write = (value: number): void => {
    const changed = s.value ^ value;
    s.value = value & STORED;
    if ((changed & A20_GATE) !== 0) ports.onA20((value & A20_GATE) !== 0);
    if ((changed & value & FAST_RESET) !== 0) ports.onReset();
  };
  return {
    io: byteDevice(
      1,
      () => s.value,
      (_, value) => write(value),
    ),
    save: () => saveState(port92Layout, PORT92_STATE_VERSION, state),
    restore: (saved) => {
      restoreState(port92Layout, PORT92_STATE_VERSION, state, saved, (c) => (c.value & ~STORED) === 0);
      ports.onA20((s.value & A20_GATE) !== 0);
    },
  };
}

import { byteDevice } from '../byte-device.ts';
import type { IoDevice, IoLen } from '../ports.ts';
import { restoreState, saveState } from '../saved-state.ts';
import type { PcTestdevPorts } from './ports.ts';
import { LATCH_BYTES, TESTDEV_LINES, TESTDEV_MEMORY } from './registers.ts';
import { PC_TESTDEV_STATE_VERSION, pcTestdevLayout } from './state.ts';

export type PcTestdev = {
  /** Four bytes that hold what is written, in accesses of any length. */
  readonly latch: IoDevice;
  /** Four more, for accesses of a byte. */
  readonly byteLatch: IoDevice;
  /** Takes the address of a page that shadow paging would have to forget; translations here need no telling. */
  readonly flush: IoDevice;
  /** One port for each line: not zero raises it. */
  readonly irq: IoDevice;
  /** 64 KiB of memory behind the memory bus. */
  readonly memory: IoDevice;
  readonly save: () => Uint8Array;
  /** @throws DevicesPcError `DEVICES_PC_BAD_STATE` */
  readonly restore: (saved: unknown) => void;
};

/** Bytes that keep what is written, whatever the access; beyond their end there is nothing. */
function storage(bytes: { [index: number]: number }, size: number): IoDevice {
  return {
    read: (offset: number, len: IoLen) => {
      let value = 0;
      for (let n = len - 1; n >= 0; n--) value = value * 256 + (offset + n < size ? bytes[offset + n] : 0xff);
      return value;
    },
    write: (offset, len, value) => {
      for (let n = 0; n < len && offset + n < size; n++) bytes[offset + n] = (value >>> (8 * n)) & 0xff;
    },
  };
}

/** The device that kvm-unit-tests raise interrupts with, and reach as port and memory that are certainly emulated. */
export function createPcTestdev(ports: PcTestdevPorts): PcTestdev {
  const { state } = ports;
  const s = pcTestdevLayout.view(state.buffer, state.byteOffset);
  new Uint8Array(state.buffer, state.byteOffset, pcTestdevLayout.size).fill(0);
  const setLine = (n: number, level: 0 | 1): void => {
    s.irq[n] = level;
    ports.irqLine(n)?.setLevel(level);
  };
  return {
    latch: storage(s.latch, LATCH_BYTES),
    byteLatch: storage(s.byteLatch, LATCH_BYTES),
    flush: { read: () => 0, write: () => undefined },
    irq: byteDevice(
      TESTDEV_LINES,
      (n) => s.irq[n],
      (n, value) => setLine(n, value === 0 ? 0 : 1),
    ),
    memory: storage(s.memory, TESTDEV_MEMORY.size),
    save: () => saveState(pcTestdevLayout, PC_TESTDEV_STATE_VERSION, state),
    restore: (saved) => {
      restoreState(pcTestdevLayout, PC_TESTDEV_STATE_VERSION, state, saved, (c) => c.irq.every((level) => level <= 1));
      s.irq.forEach((level, n) => {
        setLine(n, level ? 1 : 0);
      });
    },
  };
}

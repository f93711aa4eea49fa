import type { IoDevice, IoLen } from '../ports.ts';
import { restoreState, saveState } from '../saved-state.ts';
import type { FwCfgPorts } from './ports.ts';
import { FwCfgPort, ID_TRADITIONAL, Key } from './registers.ts';
import { FW_CFG_STATE_VERSION, fwCfgLayout } from './state.ts';

export type FwCfg = {
  /** Two ports: 0x510 on a PC. */
  readonly io: IoDevice;
  readonly save: () => Uint8Array;
  /** @throws DevicesPcError `DEVICES_PC_BAD_STATE` */
  readonly restore: (saved: unknown) => void;
};

const littleEndian = (value: number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, n) => Math.floor(value / 2 ** (8 * n)) % 256);

/**
 * The firmware configuration device: software without an operating system asks it how large the machine is. A 16-bit write of a key selects
 * an item, which is then read byte by byte; beyond its end, and where there is none, it reads as zeros. Its directory of files is empty.
 */
export function createFwCfg(ports: FwCfgPorts): FwCfg {
  const { state } = ports;
  const s = fwCfgLayout.view(state.buffer, state.byteOffset);
  s.selector = 0;
  s.offset = 0;
  const items = new Map<number, Uint8Array>([
    [Key.signature, new TextEncoder().encode('QEMU')],
    [Key.id, littleEndian(ID_TRADITIONAL, 4)],
    [Key.ramSize, littleEndian(ports.ramSize, 8)],
    [Key.cpus, littleEndian(ports.cpus, 2)],
    [Key.maxCpus, littleEndian(ports.maxCpus, 2)],
    [Key.fileDirectory, new Uint8Array(4)],
  ]);

  const next = (): number => {
    const byte = items.get(s.selector)?.[s.offset] ?? 0;
    s.offset = Math.min(s.offset + 1, 0xffff_ffff);
    return byte;
  };
  return {
    io: {
      read: (offset: number, len: IoLen) => (offset === FwCfgPort.data && len === 1 ? next() : 0),
      write: (offset, len, value) => {
        // The data port is read-only since items that can be written went out of use.
        if (offset !== FwCfgPort.selector || len !== 2) return;
        s.selector = value;
        s.offset = 0;
      },
    },
    save: () => saveState(fwCfgLayout, FW_CFG_STATE_VERSION, state),
    restore: (saved) => restoreState(fwCfgLayout, FW_CFG_STATE_VERSION, state, saved, () => true),
  };
}

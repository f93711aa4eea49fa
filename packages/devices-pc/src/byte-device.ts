import type { IoDevice, IoLen } from './ports.ts';

/** An 8-bit device: registers of one byte. Wider accesses reach consecutive registers, low first, as an ISA bus splits them. */
export function byteDevice(
  size: number,
  readByte: (offset: number) => number,
  writeByte: (offset: number, value: number) => void,
): IoDevice {
  const readAt = (offset: number): number => (offset >= 0 && offset < size ? readByte(offset) & 0xff : 0xff);
  return {
    read: (offset: number, len: IoLen): number => {
      if (len === 1) return readAt(offset);
      let value = 0;
      for (let i = 0; i < len; i++) value |= readAt(offset + i) << (8 * i);
      return value >>> 0;
    },
    write: (offset: number, len: IoLen, value: number): void => {
      for (let i = 0; i < len; i++) if (offset + i >= 0 && offset + i < size) writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    },
  };
}

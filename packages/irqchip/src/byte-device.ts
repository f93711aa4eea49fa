import type { IoLen } from './ports.ts';

/** An 8-bit chip on the I/O bus. */
export type ByteDevice = {
  readonly read: (offset: number, len: IoLen) => number;
  readonly write: (offset: number, len: IoLen, value: number) => void;
};

/**
 * Presents byte registers to accesses of any width: a wider access becomes byte cycles at rising addresses, as the ISA bridge
 * makes them. Bytes past the chip's last register float high.
 */
export function byteDevice(
  size: number,
  readByte: (offset: number) => number,
  writeByte: (offset: number, value: number) => void,
): ByteDevice {
  return {
    read: (offset, len) => {
      if (len === 1) return offset < size ? readByte(offset) : 0xff;
      let value = 0;
      for (let i = 0; i < len; i++) value |= (offset + i < size ? readByte(offset + i) : 0xff) << (8 * i);
      return value >>> 0;
    },
    write: (offset, len, value) => {
      for (let i = 0; i < len; i++) if (offset + i < size) writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    },
  };
}

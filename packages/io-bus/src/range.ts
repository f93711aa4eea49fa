import { IoBusError } from './errors.ts';
import type { IoDevice, IoLen } from './ports.ts';

/** Where a device answers. */
export type IoRange = {
  /** First port or guest-physical address. */
  readonly base: number;
  /** Bytes. */
  readonly size: number;
  /** Shown in errors and traces. */
  readonly name: string;
  /**
   * Widest access the device decodes, 4 when left out. The bus splits wider ones, low address first, as an ISA bus does for an
   * 8-bit card: a word written to an index/data pair reaches the index first.
   */
  readonly width?: IoLen;
};

/** A registered range with everything an access needs in one object. */
export type Region = {
  readonly name: string;
  readonly base: number;
  /** First address after the range. */
  readonly end: number;
  readonly width: IoLen;
  readonly device: IoDevice;
};

/** A range as people read it: `com1 [0x3f8-0x3ff]`. */
export function describe(range: { readonly name: string; readonly base: number }, end: number): string {
  return `${range.name} [0x${range.base.toString(16)}-0x${(end - 1).toString(16)}]`;
}

/** @throws IoBusError `IO_BUS_RANGE` */
export function toRegion(range: IoRange, device: IoDevice, limit: number): Region {
  const { base, size, name, width = 4 } = range;
  const whole = Number.isSafeInteger(base) && Number.isSafeInteger(size);
  if (!whole || base < 0 || size < 1 || base + size > limit)
    throw new IoBusError('IO_BUS_RANGE', `${name}: base ${base}, size ${size} is not a range below 0x${limit.toString(16)}`);
  return { name, base, end: base + size, width, device };
}

export function overlap(added: Region, present: Region): IoBusError {
  return new IoBusError('IO_BUS_OVERLAP', `${describe(added, added.end)} overlaps ${describe(present, present.end)}`);
}

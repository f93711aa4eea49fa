/** Where writes are coalesced: KVM's `struct kvm_coalesced_mmio_zone`. */
import { array, defineLayout } from '@tsvisor/state-layout';
import { IoBusError } from './errors.ts';

export type CoalescedMmioZone = {
  /** First guest-physical address or port. */
  readonly addr: number;
  /** Bytes. */
  readonly size: number;
  readonly pio: boolean;
};

export const ZONE = defineLayout('coalesced zone', { addr: array('u32', 2), size: 'u32', pio: 'u32' }, { size: 16 });

/** KVM's limit (Linux, virt/kvm/coalesced_mmio.h, KVM_COALESCED_MMIO_ZONE_MAX). */
export const COALESCED_ZONE_MAX = 100;

const WORDS = ZONE.size / 4;
const ADDR = ZONE.offset.addr / 4;
const SIZE = ZONE.offset.size / 4;
const PIO = ZONE.offset.pio / 4;
const HIGH = 2 ** 32;

export function storeZone(words: Int32Array, index: number, { addr, size, pio }: CoalescedMmioZone): void {
  const at = index * WORDS;
  words[at + ADDR] = (addr % HIGH) | 0;
  words[at + ADDR + 1] = Math.floor(addr / HIGH);
  words[at + SIZE] = size;
  words[at + PIO] = pio ? 1 : 0;
}

function loadZone(words: Int32Array, index: number): CoalescedMmioZone {
  const at = index * WORDS;
  return {
    addr: (words[at + ADDR + 1] >>> 0) * HIGH + (words[at + ADDR] >>> 0),
    size: words[at + SIZE] >>> 0,
    pio: words[at + PIO] !== 0,
  };
}

/** The zones of one bus, as a thread last saw them. */
export class ZoneIndex {
  /** By their start; each with the furthest end of all zones up to it. */
  #starts: readonly number[] = [];
  #ends: readonly number[] = [];

  load(words: Int32Array, count: number, pio: boolean): void {
    const zones = Array.from({ length: count }, (_, index) => loadZone(words, index)).filter((zone) => zone.pio === pio);
    zones.sort((a, b) => a.addr - b.addr);
    let end = 0;
    this.#starts = zones.map(({ addr }) => addr);
    this.#ends = zones.map(({ addr, size }) => (end = Math.max(end, addr + size)));
  }

  /** Whether one zone has all bytes of a write. */
  covers(address: number, length: number): boolean {
    const starts = this.#starts;
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle] <= address) low = middle + 1;
      else high = middle;
    }
    return low > 0 && address + length <= this.#ends[low - 1];
  }
}

/** @throws IoBusError `IO_BUS_INVALID` */
export function checkZone({ addr, size, pio }: CoalescedMmioZone, limit: number): void {
  const whole = Number.isSafeInteger(addr) && Number.isSafeInteger(size);
  if (typeof pio !== 'boolean' || !whole || addr < 0 || size < 1 || size >= HIGH || addr + size > limit)
    throw new IoBusError('IO_BUS_INVALID', `coalesced zone at ${addr}, ${size} bytes: not below 0x${limit.toString(16)}`);
}

export function describeZone({ addr, size, pio }: CoalescedMmioZone): string {
  return `the coalesced zone of ${pio ? 'ports' : 'memory'} at 0x${addr.toString(16)}, ${size} bytes`;
}

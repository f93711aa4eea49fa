/**
 * Coalesced MMIO and PIO: writes that wait in shared memory until somebody has to look (Linux, Documentation/virt/kvm/api.rst,
 * KVM_REGISTER_COALESCED_MMIO). The ring is KVM's `struct kvm_coalesced_mmio_ring`, one page; one place of it stays empty, so that a full ring is
 * not an empty one.
 *
 * Any number of threads put writes in, one takes them out. LOCK keeps those who put apart, and the zones from changing meanwhile: a write is either in
 * the ring before `unregister` returns, or its thread has seen that the zone is gone. The one who takes needs no lock, since an entry is complete
 * before LAST passes it, and free when FIRST has.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import { COALESCED_ZONE_MAX, ZONE, ZoneIndex } from './coalesced-zones.ts';

/** `struct kvm_coalesced_mmio`. */
const ENTRY = defineLayout(
  'coalesced write',
  { physAddr: array('u32', 2), len: 'u32', pio: 'u32', data: array('u32', 2) },
  { size: 24 },
);
const RING = defineLayout('coalesced ring', { first: 'u32', last: 'u32' }, { size: 8 });
const PAGE = 4096;
/** Places of the ring: KVM_COALESCED_MMIO_MAX. */
export const COALESCED_MMIO_MAX = Math.floor((PAGE - RING.size) / ENTRY.size);

const SHARED = defineLayout(
  'coalesced MMIO',
  {
    ring: array('u32', PAGE / 4),
    /** Whose it is, 0 for nobody's. */
    lock: 'i32',
    /** Counts changes of the zones. */
    sequence: 'i32',
    zoneCount: 'i32',
    rest: array('i32', 13),
    zones: array('i32', (COALESCED_ZONE_MAX * ZONE.size) / 4),
  },
  { size: PAGE + 64 + COALESCED_ZONE_MAX * ZONE.size },
);

/** Bytes of ring and zones: zeros at first, aligned to 64. */
export const COALESCED_BYTES = SHARED.size;

const FIRST = RING.offset.first / 4;
const LAST = RING.offset.last / 4;
const LOCK = SHARED.offset.lock / 4;
const SEQUENCE = SHARED.offset.sequence / 4;
const ZONE_COUNT = SHARED.offset.zoneCount / 4;
const HIGH = 2 ** 32;

/** Tells the core that this is a loop of waiting, where the engine can. */
const pause: () => void = (Atomics as { readonly pause?: () => void }).pause ?? (() => undefined);

export type CoalescedPlace = { readonly buffer: ArrayBufferLike; readonly byteOffset: number };
export type CoalescedBus = 'pio' | 'mmio';
/** A write that was put: unsigned halves of its value. */
export type CoalescedWrite = (address: number, length: 1 | 2 | 4 | 8, lo: number, hi: number) => void;

/** Ring and zones as a thread sees them that puts writes in. */
export class CoalescedRing {
  protected readonly words: Int32Array;
  protected readonly zones: Int32Array;
  readonly #owner: number;
  readonly #index = { pio: new ZoneIndex(), mmio: new ZoneIndex() } as const;
  /** The zones that `#index` has. */
  #seen = 0;

  /** @param who number of the vCPU that it is for, or another one that no other thread has, from 0 on */
  constructor({ buffer, byteOffset }: CoalescedPlace, who: number) {
    this.words = new Int32Array(buffer, byteOffset, SHARED.size / 4);
    this.zones = new Int32Array(buffer, byteOffset + SHARED.offset.zones, (COALESCED_ZONE_MAX * ZONE.size) / 4);
    this.#owner = who + 1;
  }

  /** Something is in the ring. */
  get waits(): boolean {
    // Plain, as every access looks, and atomic loads are calls in V8. A put that has to be seen happened before what brought the access here.
    return this.words[LAST] !== this.words[FIRST];
  }

  /** Puts a write in, if a zone covers it and there is room; otherwise it is to be made at once, and after `flush`. */
  put(bus: CoalescedBus, address: number, length: number, lo: number, hi: number): boolean {
    const zones = this.#index[bus];
    // Plain: a zone that came just now may be missed, and one that went is looked for again, with the lock.
    if (this.words[SEQUENCE] === this.#seen && !zones.covers(address, length)) return false;
    this.acquire();
    try {
      this.#refresh();
      return zones.covers(address, length) && this.#append(bus, address, length, lo, hi);
    } finally {
      this.release();
    }
  }

  /** Some fifty nanoseconds at most, unless the host takes the processor away from the one who has it. */
  protected acquire(): void {
    while (Atomics.compareExchange(this.words, LOCK, 0, this.#owner) !== 0) pause();
  }

  protected release(): void {
    Atomics.store(this.words, LOCK, 0);
  }

  /** The thread of a vCPU has ended, wherever it was. */
  forget(who: number): void {
    Atomics.compareExchange(this.words, LOCK, who + 1, 0);
  }

  #refresh(): void {
    const { words, zones } = this;
    if (words[SEQUENCE] === this.#seen) return;
    this.#seen = words[SEQUENCE];
    this.#index.pio.load(zones, words[ZONE_COUNT], true);
    this.#index.mmio.load(zones, words[ZONE_COUNT], false);
  }

  #append(bus: CoalescedBus, address: number, length: number, lo: number, hi: number): boolean {
    const { words } = this;
    const last = words[LAST];
    const next = (last + 1) % COALESCED_MMIO_MAX;
    if (next === Atomics.load(words, FIRST)) return false;
    const at = entryAt(last);
    words[at] = (address % HIGH) | 0;
    words[at + 1] = Math.floor(address / HIGH);
    words[at + LEN] = length;
    words[at + PIO] = bus === 'pio' ? 1 : 0;
    words[at + DATA] = lo;
    words[at + DATA + 1] = hi;
    Atomics.store(words, LAST, next);
    return true;
  }

  /** Changes the zones; `change` returns how many there are. */
  protected changeZones(change: () => number): void {
    this.acquire();
    try {
      this.words[ZONE_COUNT] = change();
      Atomics.add(this.words, SEQUENCE, 1);
    } finally {
      this.release();
    }
  }

  /** Takes out what is there now, oldest first. Only for the one who takes. */
  protected take(to: Readonly<Record<CoalescedBus, CoalescedWrite>>): void {
    const { words } = this;
    // Others may put faster than this takes; what they do while it runs has no order to what follows.
    const last = Atomics.load(words, LAST);
    for (let first = words[FIRST]; first !== last; ) {
      const at = entryAt(first);
      const address = (words[at + 1] >>> 0) * HIGH + (words[at] >>> 0);
      const bus = words[at + PIO] !== 0 ? 'pio' : 'mmio';
      const length = words[at + LEN] as 1 | 2 | 4 | 8;
      const lo = words[at + DATA] >>> 0;
      const hi = words[at + DATA + 1] >>> 0;
      first = (first + 1) % COALESCED_MMIO_MAX;
      // Before the device has it: what a device throws must not be made again.
      Atomics.store(words, FIRST, first);
      to[bus](address, length, lo, hi);
    }
  }
}

const LEN = ENTRY.offset.len / 4;
const PIO = ENTRY.offset.pio / 4;
const DATA = ENTRY.offset.data / 4;
const entryAt = (index: number): number => (RING.size + index * ENTRY.size) / 4;

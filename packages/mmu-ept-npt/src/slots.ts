import type { View } from '@tsvisor/state-layout';
import type { GpaRange } from './errors.ts';
import { describeRange, MemoryError } from './errors.ts';
import { GUEST_MAP, MAX_SLOTS, SLOT, SlotFlag } from './guest-map.ts';
import type { MemoryViews } from './memory-views.ts';
import { GPA_BITS, PAGE_BYTES, PHYS_LEAF_BYTES, PHYS_LEAF_ENTRIES, PhysPage } from './phys-map.ts';
import type { LinearMemory } from './ports.ts';

export type SlotOptions = {
  /** First guest-physical address and size in bytes; both multiples of 4096. */
  readonly gpa: number;
  readonly bytes: number;
  /** Writes are refused: they come out of `fill` as `AccessKind.readOnly`. */
  readonly readOnly?: boolean;
  /** Writes are recorded for `takeDirtyLog`. */
  readonly logDirty?: boolean;
  /** Where in linear memory the bytes are; several slots may show the same bytes. Without it they are allocated, zeroed. */
  readonly hostAddress?: number;
};

/** A slot as it stands. */
export type SlotInfo = Required<SlotOptions> & { readonly slot: number };

type SlotView = View<typeof SLOT.schema>;

const LAST_PAGE = 2 ** 32 - PAGE_BYTES;

/** Slots, and the physical map kept in step with them. Changed by one thread at a time, while no vCPU runs guest code. */
export class SlotMap {
  readonly #linear: LinearMemory;
  readonly #root: number;
  readonly #map: View<typeof GUEST_MAP.schema>;
  readonly #slots: readonly SlotView[];
  readonly #views: MemoryViews;

  constructor(linear: LinearMemory, root: number, table: number, views: MemoryViews) {
    this.#linear = linear;
    this.#root = root;
    this.#views = views;
    const { buffer } = linear.memory;
    this.#map = GUEST_MAP.view(buffer, table);
    const first = table + GUEST_MAP.offset.slots;
    this.#slots = Array.from({ length: MAX_SLOTS }, (_, i) => SLOT.view(buffer, first + i * SLOT.size));
  }

  get generation(): number {
    return this.#map.generation;
  }

  create(options: SlotOptions): number {
    const range = checkedRange(options);
    this.#refuseOverlap(range, -1);
    const slot = this.#slots.findIndex(({ flags }) => flags === 0);
    if (slot < 0) throw new MemoryError('MMU_TOO_MANY_SLOTS', `all ${MAX_SLOTS} memory slots are in use`);
    const host = this.#checkedHost(options.hostAddress ?? this.#linear.alloc(range.bytes, PAGE_BYTES), range.bytes);
    const view = this.#slots[slot];
    view.host = host;
    view.pages = range.bytes / PAGE_BYTES;
    view.gpaPage = range.gpa / PAGE_BYTES;
    view.dirtyBitmap = 0;
    view.flags = SlotFlag.USED | (options.readOnly ? SlotFlag.READ_ONLY : 0) | (options.logDirty ? SlotFlag.LOG_DIRTY : 0);
    this.#map.slotLimit = Math.max(this.#map.slotLimit, slot + 1);
    this.#needBitmap(view);
    this.#mapPages(view);
    this.#changed();
    return slot;
  }

  /** Shows the slot's bytes at another guest-physical address; translated code in it must be dropped first or it runs on. */
  move(slot: number, gpa: number): void {
    const view = this.#used(slot);
    const range = checkedRange({ gpa, bytes: view.pages * PAGE_BYTES });
    this.#refuseOverlap(range, slot);
    const code = this.#unmapPages(view);
    view.gpaPage = gpa / PAGE_BYTES;
    this.#mapPages(view, code);
    this.#changed();
  }

  setFlags(slot: number, change: { readonly readOnly?: boolean; readonly logDirty?: boolean }): void {
    const view = this.#used(slot);
    const set = (bit: number, on: boolean | undefined): void => {
      if (on !== undefined) view.flags = on ? view.flags | bit : view.flags & ~bit;
    };
    set(SlotFlag.READ_ONLY, change.readOnly);
    set(SlotFlag.LOG_DIRTY, change.logDirty);
    this.#needBitmap(view);
    this.#mapPages(view, this.#unmapPages(view));
    this.#changed();
  }

  delete(slot: number): SlotInfo {
    const info = this.info(slot);
    const view = this.#used(slot);
    this.#unmapPages(view);
    view.flags = 0;
    while (this.#map.slotLimit > 0 && this.#slots[this.#map.slotLimit - 1].flags === 0) this.#map.slotLimit--;
    this.#changed();
    return info;
  }

  info(slot: number): SlotInfo {
    const view = this.#used(slot);
    return {
      slot,
      gpa: view.gpaPage * PAGE_BYTES,
      bytes: view.pages * PAGE_BYTES,
      readOnly: (view.flags & SlotFlag.READ_ONLY) !== 0,
      logDirty: (view.flags & SlotFlag.LOG_DIRTY) !== 0,
      hostAddress: view.host,
    };
  }

  list(): SlotInfo[] {
    return this.#slots.flatMap(({ flags }, slot) => (flags === 0 ? [] : [this.info(slot)]));
  }

  /** Enters the page at `gpa` in its slot's dirty log; its writes need no more attention until the log is taken. */
  markDirty(gpa: number): void {
    const page = Math.floor(gpa / PAGE_BYTES);
    for (let i = 0; i < this.#map.slotLimit; i++) {
      const { flags, gpaPage, pages, dirtyBitmap } = this.#slots[i];
      const within = page - gpaPage;
      if (flags === 0 || within < 0 || within >= pages) continue;
      if (flags & SlotFlag.LOG_DIRTY) {
        const { words } = this.#views.current();
        Atomics.or(words, dirtyBitmap / 4 + (within >>> 5), 1 << (within & 31));
        Atomics.and(words, this.entryIndex(page), ~PhysPage.DIRTY_LOG);
      }
      return;
    }
  }

  /** The pages written since the last call, one bit each, page 0 of the slot in bit 0; they are logged again from now on. */
  takeDirtyLog(slot: number): Uint32Array {
    const view = this.#used(slot);
    const log = new Uint32Array(Math.ceil(view.pages / 32));
    if (!(view.flags & SlotFlag.LOG_DIRTY)) return log;
    const { words } = this.#views.current();
    for (let i = 0; i < log.length; i++) {
      log[i] = Atomics.exchange(words, view.dirtyBitmap / 4 + i, 0);
      for (let rest = log[i]; rest !== 0; rest &= rest - 1) {
        const within = i * 32 + 31 - Math.clz32(rest & -rest);
        Atomics.or(words, this.entryIndex(view.gpaPage + within), PhysPage.DIRTY_LOG);
      }
    }
    return log;
  }

  /** Index among the memory's words of the leaf entry for a guest-physical page; 0 where there is none. */
  entryIndex(page: number): number {
    const leaf = page < 2 ** (GPA_BITS - 12) ? this.#views.words[this.#root / 4 + Math.floor(page / PHYS_LEAF_ENTRIES)] : 0;
    if (leaf >= this.#views.bytes.length) this.#views.refresh();
    return leaf === 0 ? 0 : leaf / 4 + (page % PHYS_LEAF_ENTRIES);
  }

  #used(slot: number): SlotView {
    const view = this.#slots[slot];
    if (!view?.flags) throw new MemoryError('MMU_NO_SUCH_SLOT', `there is no memory slot ${slot}`);
    return view;
  }

  #refuseOverlap(range: GpaRange, except: number): void {
    for (const other of this.list()) {
      if (other.slot === except || range.gpa >= other.gpa + other.bytes || other.gpa >= range.gpa + range.bytes) continue;
      const inTheWay = { gpa: other.gpa, bytes: other.bytes };
      const message = `memory at ${describeRange(range)} would overlap slot ${other.slot} at ${describeRange(inTheWay)}`;
      throw new MemoryError('MMU_SLOT_OVERLAP', message, [range, inTheWay]);
    }
  }

  #checkedHost(host: number, bytes: number): number {
    const end = Math.min(this.#linear.memory.buffer.byteLength, LAST_PAGE);
    if (!Number.isInteger(host) || host % PAGE_BYTES !== 0 || host < PAGE_BYTES || host + bytes > end)
      throw new MemoryError(
        'MMU_HOST_RANGE',
        `host range 0x${host.toString(16)} + ${bytes} bytes is unaligned or outside linear memory`,
      );
    return host;
  }

  #needBitmap(view: SlotView): void {
    if (view.flags & SlotFlag.LOG_DIRTY && view.dirtyBitmap === 0)
      view.dirtyBitmap = this.#linear.alloc(Math.ceil(view.pages / 32) * 4, 4);
  }

  /** @param code pages (numbers within the slot) that are under code protection */
  #mapPages(view: SlotView, code: ReadonlySet<number> = new Set()): void {
    const flags =
      PhysPage.PRESENT |
      (view.flags & SlotFlag.READ_ONLY ? 0 : PhysPage.WRITABLE) |
      (view.flags & SlotFlag.LOG_DIRTY ? PhysPage.DIRTY_LOG : 0);
    for (let i = 0; i < view.pages; i++) {
      const page = view.gpaPage + i;
      const index = this.entryIndex(page) || this.#addLeaf(page);
      this.#views.words[index] = (view.host + i * PAGE_BYTES) | flags | (code.has(i) ? PhysPage.CODE : 0);
    }
  }

  #unmapPages(view: SlotView): Set<number> {
    const { words } = this.#views.current();
    const code = new Set<number>();
    for (let i = 0; i < view.pages; i++) {
      const page = view.gpaPage + i;
      const index = this.entryIndex(page);
      if (words[index] & PhysPage.CODE) code.add(i);
      words[index] = 0;
      if (i === view.pages - 1 || page % PHYS_LEAF_ENTRIES === PHYS_LEAF_ENTRIES - 1) this.#dropLeafIfEmpty(page);
    }
    return code;
  }

  #addLeaf(page: number): number {
    let leaf = this.#map.freeLeaf;
    if (leaf === 0) leaf = this.#linear.alloc(PHYS_LEAF_BYTES, PHYS_LEAF_BYTES);
    const { words } = this.#views.current();
    if (leaf === this.#map.freeLeaf) {
      this.#map.freeLeaf = words[leaf / 4];
      words[leaf / 4] = 0;
    }
    words[this.#root / 4 + Math.floor(page / PHYS_LEAF_ENTRIES)] = leaf;
    return this.entryIndex(page);
  }

  /** A guest that moves a device's memory about must not use up linear memory with tables. */
  #dropLeafIfEmpty(page: number): void {
    const { words } = this.#views.current();
    const rootIndex = this.#root / 4 + Math.floor(page / PHYS_LEAF_ENTRIES);
    const leaf = words[rootIndex] / 4;
    if (words.subarray(leaf, leaf + PHYS_LEAF_ENTRIES).some((entry) => entry !== 0)) return;
    words[rootIndex] = 0;
    words[leaf] = this.#map.freeLeaf;
    this.#map.freeLeaf = leaf * 4;
  }

  #changed(): void {
    this.#map.generation++;
  }
}

function checkedRange({ gpa, bytes }: GpaRange): GpaRange {
  const aligned = Number.isInteger(gpa) && Number.isInteger(bytes) && gpa % PAGE_BYTES === 0 && bytes % PAGE_BYTES === 0;
  if (!aligned || gpa < 0 || bytes <= 0 || gpa + bytes > 2 ** GPA_BITS)
    throw new MemoryError('MMU_SLOT_RANGE', `slot at GPA ${gpa}, ${bytes} bytes: not whole pages within ${GPA_BITS} bits`, [
      { gpa, bytes },
    ]);
  return { gpa, bytes };
}

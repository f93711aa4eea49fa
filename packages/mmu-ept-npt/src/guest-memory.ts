import { GUEST_MAP } from './guest-map.ts';
import { MemoryViews } from './memory-views.ts';
import { PAGE_BYTES, PHYS_ROOT_BYTES, PhysPage } from './phys-map.ts';
import type { GuestMemoryEvents, LinearMemory } from './ports.ts';
import type { SlotInfo, SlotOptions } from './slots.ts';
import { SlotMap } from './slots.ts';

/** An atomic operation is a full barrier, wherever it is. */
const fence = new Int32Array(new SharedArrayBuffer(4));

/** Where a guest memory's shared tables are; another thread attaches with it. */
export type GuestMemoryAddresses = { readonly physRoot: number; readonly slotTable: number };

export type GuestMemoryOptions = LinearMemory &
  GuestMemoryEvents & {
    /** Attaches to tables that another thread created, instead of creating them. */
    readonly attach?: GuestMemoryAddresses;
  };

/**
 * The guest's physical memory: slots of RAM and ROM over one shared linear memory, seen by devices through `read` and `write` and by
 * generated code through the physical map. Addresses that no slot covers read as ones and ignore writes, as an undriven bus does;
 * the return value tells.
 *
 * Slots are changed by one thread at a time, while no vCPU runs guest code; everything else may be used by all threads at once.
 */
export class GuestMemory {
  readonly memory: WebAssembly.Memory;
  readonly physRoot: number;
  readonly slotTable: number;
  readonly #events: GuestMemoryEvents;
  readonly #slots: SlotMap;
  readonly #views: MemoryViews;
  readonly #scratch = new DataView(new ArrayBuffer(8));
  readonly #scratchBytes = new Uint8Array(this.#scratch.buffer);

  constructor(options: GuestMemoryOptions) {
    this.memory = options.memory;
    this.#events = options;
    this.physRoot = options.attach?.physRoot ?? options.alloc(PHYS_ROOT_BYTES, PAGE_BYTES);
    this.slotTable = options.attach?.slotTable ?? options.alloc(GUEST_MAP.size, GUEST_MAP.align);
    this.#views = new MemoryViews(this.memory);
    this.#slots = new SlotMap(options, this.physRoot, this.slotTable, this.#views);
  }

  /** Counts changes of the slots, on all threads. */
  get generation(): number {
    return this.#slots.generation;
  }

  /**
   * Adds memory; returns its slot number, the lowest free one.
   * @throws MemoryError `MMU_SLOT_OVERLAP` (with both ranges), `MMU_SLOT_RANGE`, `MMU_HOST_RANGE`, `MMU_TOO_MANY_SLOTS`
   */
  createSlot(options: SlotOptions): number {
    const slot = this.#slots.create(options);
    this.#events.onMapChange?.();
    return slot;
  }

  /**
   * Moves memory, contents and code protection included, to another guest-physical address.
   * @throws MemoryError `MMU_NO_SUCH_SLOT`, `MMU_SLOT_OVERLAP`, `MMU_SLOT_RANGE`; then nothing has changed
   */
  moveSlot(slot: number, gpa: number): void {
    this.#slots.move(slot, gpa);
    this.#events.onMapChange?.();
  }

  /** Changes what writes to a slot do. Logging starts with every page clean. */
  setSlotFlags(slot: number, flags: { readonly readOnly?: boolean; readonly logDirty?: boolean }): void {
    this.#slots.setFlags(slot, flags);
    this.#events.onMapChange?.();
  }

  /** Removes memory; the bytes it showed are the caller's again. */
  deleteSlot(slot: number): SlotInfo {
    const info = this.#slots.delete(slot);
    this.#events.onMapChange?.();
    return info;
  }

  slots(): readonly SlotInfo[] {
    return this.#slots.list();
  }

  /** The address in linear memory of the byte at `gpa`, good until the end of its page; undefined where no memory is. */
  hostAddress(gpa: number): number | undefined {
    const entry = this.#entry(gpa);
    return entry & PhysPage.PRESENT ? ((entry & -PAGE_BYTES) >>> 0) + (gpa % PAGE_BYTES) : undefined;
  }

  /** Copies guest memory from `gpa` on into `into`. False when part of it was not there and reads as 0xff. */
  read(gpa: number, into: Uint8Array): boolean {
    let complete = true;
    for (let done = 0; done < into.length; ) {
      const at = gpa + done;
      const length = Math.min(into.length - done, PAGE_BYTES - (at % PAGE_BYTES));
      const host = this.hostAddress(at);
      if (host === undefined) {
        into.fill(0xff, done, done + length);
        complete = false;
      } else into.set(this.#views.bytes.subarray(host, host + length), done);
      done += length;
    }
    return complete;
  }

  /** Copies `from` to guest memory at `gpa`. False when part of it was dropped: no memory there, or read-only. */
  write(gpa: number, from: Uint8Array): boolean {
    return this.#forWritable(gpa, from.length, (host, length, done) => {
      this.#views.bytes.set(length === from.length ? from : from.subarray(done, done + length), host);
    });
  }

  /** Sets `length` bytes from `gpa` on to `byte`. False as for `write`. */
  fill(gpa: number, byte: number, length: number): boolean {
    return this.#forWritable(gpa, length, (host, part) => {
      this.#views.bytes.fill(byte, host, host + part);
    });
  }

  /** Little-endian reads, all ones where no memory is; any alignment. */
  readU8(gpa: number): number {
    const host = this.hostAddress(gpa);
    return host === undefined ? 0xff : this.#views.bytes[host];
  }
  readU16(gpa: number): number {
    const host = this.#within(gpa, 2);
    if (host !== undefined) return this.#views.bytes[host] | (this.#views.bytes[host + 1] << 8);
    this.#readScratch(gpa, 2);
    return this.#scratch.getUint16(0, true);
  }
  readU32(gpa: number): number {
    const host = this.#within(gpa, 4);
    if (host !== undefined && host % 4 === 0) return this.#views.words[host / 4];
    this.#readScratch(gpa, 4);
    return this.#scratch.getUint32(0, true);
  }
  /** The low half of a 64-bit read is `readU32(gpa)`; this is the high half. */
  readU64High(gpa: number): number {
    return this.readU32(gpa + 4);
  }

  /** Little-endian writes; false as for `write`. */
  writeU8(gpa: number, value: number): boolean {
    this.#scratch.setUint8(0, value);
    return this.#writeScratch(gpa, 1);
  }
  writeU16(gpa: number, value: number): boolean {
    this.#scratch.setUint16(0, value, true);
    return this.#writeScratch(gpa, 2);
  }
  writeU32(gpa: number, value: number): boolean {
    this.#scratch.setUint32(0, value, true);
    return this.#writeScratch(gpa, 4);
  }
  writeU64(gpa: number, lo: number, hi: number): boolean {
    this.#scratch.setUint32(0, lo, true);
    this.#scratch.setUint32(4, hi, true);
    return this.#writeScratch(gpa, 8);
  }

  /** Enters a page in the dirty log of its slot, as a write there does; what to do for `AccessKind.dirtyLog`. */
  markDirty(gpa: number): void {
    this.#slots.markDirty(gpa);
  }

  /**
   * Takes the dirty log of a slot: one bit per page, lowest page in bit 0 of word 0. The pages found dirty are logged again, so vCPUs must
   * flush (`onMapChange` is called).
   */
  takeDirtyLog(slot: number): Uint32Array {
    const log = this.#slots.takeDirtyLog(slot);
    this.#events.onMapChange?.();
    return log;
  }

  /** After a write at `gpa` that went to linear memory by itself: logs it, and reports it when translated code is there. */
  noteWrite(gpa: number, hostAddress: number, length: number): void {
    const entry = this.#entry(gpa);
    if (entry & PhysPage.DIRTY_LOG) this.#slots.markDirty(gpa);
    if (entry & PhysPage.CODE) this.#events.onCodeWrite?.(hostAddress, length);
  }

  #entry(gpa: number): number {
    const index = this.#slots.entryIndex(Math.floor(gpa / PAGE_BYTES));
    if (index === 0) return 0;
    const entry = this.#views.words[index];
    if ((entry & -PAGE_BYTES) >>> 0 >= this.#views.bytes.length) this.#views.refresh();
    return entry;
  }

  /** Host address of `length` bytes that lie in one page. */
  #within(gpa: number, length: number): number | undefined {
    return (gpa % PAGE_BYTES) + length <= PAGE_BYTES ? this.hostAddress(gpa) : undefined;
  }

  #readScratch(gpa: number, length: number): void {
    this.read(gpa, this.#scratchBytes.subarray(0, length));
  }
  #writeScratch(gpa: number, length: number): boolean {
    return this.write(gpa, this.#scratchBytes.subarray(0, length));
  }

  #forWritable(gpa: number, length: number, put: (host: number, length: number, done: number) => void): boolean {
    let complete = true;
    for (let done = 0; done < length; ) {
      const at = gpa + done;
      const part = Math.min(length - done, PAGE_BYTES - (at % PAGE_BYTES));
      const entry = this.#entry(at);
      if (entry & PhysPage.WRITABLE) {
        const host = ((entry & -PAGE_BYTES) >>> 0) + (at % PAGE_BYTES);
        put(host, part, done);
        // A processor that translates here protects the page and then looks whether it still holds what was translated: the entry is read again.
        Atomics.add(fence, 0, 0);
        this.noteWrite(at, host, part);
      } else complete = false;
      done += part;
    }
    return complete;
  }
}

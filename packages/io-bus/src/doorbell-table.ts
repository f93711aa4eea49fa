/**
 * Doorbells in shared memory, where generated code finds them: those whose event is itself in that memory. One thread changes the table, the one
 * that assigns; any number of vCPUs read it meanwhile.
 *
 * A hash table with linear probing. An entry counts from the moment its `event` is stored, last of all. What is taken out becomes `REMOVED`, which
 * probing goes past; its place is used again only when no vCPU can still be looking at it. That is what a vCPU's `sequence` is for: odd from before it
 * looks until after it has signalled. So:
 *
 * - a write that begins after `publish` has returned rings the doorbell; one that is under way does, or does not;
 * - when `remove` has returned, whatever writes rang is counted, and no write rings any more.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import type { IoEvent } from './ports.ts';

export const DOORBELL = defineLayout('doorbell', {
  /** Port, guest-physical address or number of a hypercall, and the bus in the upper four bits. */
  key: array('u32', 2),
  value: array('u32', 2),
  /** `Answers`. */
  answers: 'u32',
  /** Address of the event; 0 where nothing is and never was since the entry before became free, or `REMOVED`. */
  event: 'u32',
});

/** What a vCPU has of its own, on a line of its own. */
export const DOORBELL_READER = defineLayout('doorbell-reader', {
  /** Odd while the vCPU looks or rings; two more for each signal. */
  sequence: 'u32',
  rest: 'u32',
  /** Key of a page that the vCPU sees something else at, such as its local APIC; all ones for none. */
  hiddenPage: array('u32', 2),
  line: array('u32', 12),
});

/** The lengths that a doorbell answers: 0 for every one, or a length, with a bit if only to one value. */
export const Answers = { ANY_LENGTH: 0, VALUE: 0x100 } as const;
const REMOVED = 1;

export const DoorbellBus = { pio: 0, mmio: 1, hypercall: 2 } as const;
export type DoorbellBusName = keyof typeof DoorbellBus;

/** At most three eighths are used by as many doorbells as the buses take. */
const ENTRY_BITS = 13;
const ENTRIES = 1 << ENTRY_BITS;
const MOST_TAKEN = ENTRIES / 2;

/** All that generated code has to know. Its hash is that of `placeOf`. */
export const DOORBELL_LAYOUT = {
  entries: ENTRIES,
  entryBytes: DOORBELL.size,
  key: DOORBELL.offset.key,
  value: DOORBELL.offset.value,
  answers: DOORBELL.offset.answers,
  event: DOORBELL.offset.event,
  removed: REMOVED,
  answersValue: Answers.VALUE,
  sequence: DOORBELL_READER.offset.sequence,
  hiddenPage: DOORBELL_READER.offset.hiddenPage,
  /** Number of a bus, from that bit of a key on. */
  busShift: 60,
  buses: DoorbellBus,
  /** 2^32 divided by the golden ratio, and other odd numbers. */
  multipliers: { hash: 0x9e37_79b1, high: 0x85eb_ca6b, value: 0xc2b2_ae35 },
} as const;

const BUS_SHIFT_HIGH = DOORBELL_LAYOUT.busShift - 32;
const WORDS = DOORBELL.size / 4;
const word = (field: 'key' | 'value' | 'answers' | 'event'): number => DOORBELL.offset[field] / 4;

/** Where probing for a doorbell begins; one for any value is looked for with `value` 0. */
function placeOf(keyLo: number, keyHi: number, valueLo: number, valueHi: number): number {
  const { hash, high, value } = DOORBELL_LAYOUT.multipliers;
  const mixed = keyLo ^ Math.imul(keyHi, high) ^ Math.imul(valueLo ^ valueHi, value);
  return Math.imul(mixed, hash) >>> (32 - ENTRY_BITS);
}

export type PublishedDoorbell = {
  readonly address: number;
  readonly length: number;
  readonly wildcard: boolean;
  readonly lo: number;
  readonly hi: number;
  readonly event: IoEvent;
};

/** Bytes of the table of a machine with so many vCPUs, aligned to 64. */
export const doorbellTableBytes = (cpus: number): number => ENTRIES * DOORBELL.size + cpus * DOORBELL_READER.size;

export type DoorbellTableOptions = {
  readonly buffer: ArrayBufferLike;
  /** Where `doorbellTableBytes` zeros are, aligned to 64. */
  readonly byteOffset: number;
  readonly cpus: number;
  /** Address of an event's words in the same memory; undefined if they are elsewhere: it is then left to the buses. */
  readonly addressOf: (event: IoEvent) => number | undefined;
};

export class DoorbellTable {
  readonly #words: Int32Array;
  readonly #readers: Int32Array;
  readonly #options: DoorbellTableOptions;
  /** Places that are not empty: of doorbells, or `REMOVED`. */
  #taken = 0;

  constructor(options: DoorbellTableOptions) {
    this.#options = options;
    const { buffer, byteOffset, cpus } = options;
    this.#words = new Int32Array(buffer, byteOffset, ENTRIES * WORDS);
    this.#readers = new Int32Array(buffer, byteOffset + this.#words.byteLength, (cpus * DOORBELL_READER.size) / 4);
    for (let cpu = 0; cpu < cpus; cpu++) this.hidePage(cpu, undefined);
  }

  /** Address of a vCPU's `DOORBELL_READER`. */
  readerAddress(cpu: number): number {
    return this.#options.byteOffset + this.#words.byteLength + cpu * DOORBELL_READER.size;
  }

  /** As `hideDoorbells`. */
  hidePage(cpu: number, gpa: number | undefined): void {
    hideDoorbells(this.#options.buffer, this.readerAddress(cpu), gpa);
  }

  /** Lets vCPUs ring a doorbell by themselves, if its event is in their memory. Returns what takes it out again. */
  publish(bus: DoorbellBusName, bell: PublishedDoorbell): (() => void) | undefined {
    const event = this.#options.addressOf(bell.event);
    const place = event === undefined ? undefined : this.#takePlace(bus, bell);
    if (event === undefined || place === undefined) return undefined;
    const words = this.#words;
    const at = place * WORDS;
    const [keyLo, keyHi] = keyOf(bus, bell.address);
    words[at + word('key')] = keyLo;
    words[at + word('key') + 1] = keyHi;
    words[at + word('value')] = bell.lo;
    words[at + word('value') + 1] = bell.hi;
    words[at + word('answers')] = bell.length | (bell.wildcard ? 0 : Answers.VALUE);
    Atomics.store(words, at + word('event'), event);
    return () => this.#remove(place);
  }

  #isTaken(place: number): boolean {
    const event = this.#words[this.#event(place)];
    return event !== 0 && event !== REMOVED;
  }

  #event(place: number): number {
    return (place & (ENTRIES - 1)) * WORDS + word('event');
  }

  /** Takes the first place that nobody looks at, unless the table is so full that probing takes long. */
  #takePlace(bus: DoorbellBusName, { address, lo, hi }: PublishedDoorbell): number | undefined {
    let place = placeOf(...keyOf(bus, address), lo, hi);
    while (this.#isTaken(place)) place++;
    if (this.#words[this.#event(place)] === REMOVED) return place & (ENTRIES - 1);
    if (this.#taken >= MOST_TAKEN) return undefined;
    this.#taken++;
    return place & (ENTRIES - 1);
  }

  #remove(place: number): void {
    Atomics.store(this.#words, this.#event(place), REMOVED);
    // Where probing would end at once behind it, it need not go past it either.
    if (this.#words[this.#event(place + 1)] === 0)
      for (let last = place; this.#words[this.#event(last)] === REMOVED; last--) {
        Atomics.store(this.#words, this.#event(last), 0);
        this.#taken--;
      }
    this.#settle();
  }

  /** Waits until every vCPU has done what it was about to: some ten nanoseconds, if its thread runs. */
  #settle(): void {
    for (let at = DOORBELL_READER.offset.sequence / 4; at < this.#readers.length; at += DOORBELL_READER.size / 4) {
      const seen = Atomics.load(this.#readers, at);
      while (seen & 1 && Atomics.load(this.#readers, at) === seen);
    }
  }

  /** The thread of a vCPU has ended, wherever it was. */
  forget(cpu: number): void {
    Atomics.and(this.#readers, (cpu * DOORBELL_READER.size + DOORBELL_READER.offset.sequence) / 4, ~1);
  }
}

/**
 * The vCPU with a reader at `reader` meets no doorbell in the page at a guest-physical address, or with `undefined` in none. Only for the thread that
 * runs it, or while none does.
 */
export function hideDoorbells(buffer: ArrayBufferLike, reader: number, gpa: number | undefined): void {
  const page = new Int32Array(buffer, reader + DOORBELL_READER.offset.hiddenPage, 2);
  page.set(gpa === undefined ? [-1, -1] : keyOf('mmio', gpa));
}

/** Halves of a key. */
function keyOf(bus: DoorbellBusName, address: number): [lo: number, hi: number] {
  return [address | 0, Math.floor(address / 0x1_0000_0000) | (DoorbellBus[bus] << BUS_SHIFT_HIGH)];
}

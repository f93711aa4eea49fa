/**
 * Doorbells: writes that are only a signal. A write that one answers does not reach the device at its address (Linux, Documentation/virt/kvm/api.rst,
 * KVM_IOEVENTFD).
 */
import type { PublishedDoorbell } from './doorbell-table.ts';
import { IoBusError } from './errors.ts';
import type { IoEvent, IoLen } from './ports.ts';

export type IoEventFd = {
  /** The port or guest-physical address at which the write begins. */
  readonly address: number;
  /** Bytes of the write. 0 stands for every length, without a value: what KVM's fast MMIO answers. */
  readonly length: 0 | 1 | 2 | 4 | 8;
  /** The only value that it answers; any value when left out. */
  readonly datamatch?: number | bigint;
};

/** What a bus is told about its doorbells. */
export type IoEventFds = {
  /**
   * From now on, writes that `where` describes signal `event`. Disposing takes it away again, and does nothing if it is gone.
   * @throws IoBusError `IO_BUS_EXISTS` if a write could mean two, `IO_BUS_INVALID`, `IO_BUS_FULL`
   */
  readonly assignIoeventfd: (where: IoEventFd, event: IoEvent) => Disposable;
  /** @throws IoBusError `IO_BUS_NOT_FOUND` unless exactly this was assigned, `IO_BUS_INVALID` */
  readonly deassignIoeventfd: (where: IoEventFd, event: IoEvent) => void;
};

type Doorbell = PublishedDoorbell & { readonly length: IoEventFd['length'] };
/** Tells processors of a doorbell that they can ring by themselves, if it is one, until what is returned is called. */
export type PublishDoorbell = (bell: PublishedDoorbell) => (() => void) | undefined;
type AtAddress = {
  readonly wildcards: Doorbell[];
  /** By the low doubleword of what they answer: a queue's number, of which a device may have many. */
  readonly matches: Map<number, Doorbell[]>;
};

/** How many a bus takes unless told otherwise: as many as devices on a bus of KVM (Linux, include/linux/kvm_host.h, NR_IOBUS_DEVS). */
export const IOEVENTFD_LIMIT = 1000;

const LENGTHS: readonly number[] = [0, 1, 2, 4, 8];
const WIDEST = 8;
const U32 = 0xffff_ffff;

export type DoorbellsOptions = {
  readonly limit?: number | undefined;
  /** Lengths that writes on the bus can have, and 0. */
  readonly lengths?: readonly number[];
  readonly publish?: PublishDoorbell | undefined;
};

export class Doorbells implements IoEventFds {
  readonly #at = new Map<number, AtAddress>();
  readonly #addressLimit: number;
  readonly #limit: number;
  readonly #lengths: readonly number[];
  readonly #publish: PublishDoorbell | undefined;
  readonly #unpublish = new Map<Doorbell, () => void>();
  /** How many are assigned. */
  count = 0;

  constructor(addressLimit: number, options: DoorbellsOptions = {}) {
    this.#addressLimit = addressLimit;
    this.#limit = options.limit ?? IOEVENTFD_LIMIT;
    this.#lengths = options.lengths ?? LENGTHS;
    this.#publish = options.publish;
  }

  /** Signals the doorbell that answers a write, if there is one; `lo` and `hi` are unsigned halves of the value. */
  ring(address: number, length: IoLen | 8, lo: number, hi: number): boolean {
    const at = this.#at.get(address);
    if (at === undefined) return false;
    const bell = answering(at.wildcards, length, lo, hi) ?? answering(at.matches.get(lo), length, lo, hi);
    bell?.event.signal();
    return bell !== undefined;
  }

  /** Whether a doorbell lies over an address. */
  covers(address: number): boolean {
    for (let back = 0; back < WIDEST; back++) {
      const at = this.#at.get(address - back);
      if (at !== undefined && all(at).some(({ length }) => Math.max(1, length) > back)) return true;
    }
    return false;
  }

  assignIoeventfd = (where: IoEventFd, event: IoEvent): Disposable => {
    const bell = this.#checked(where, event);
    const at = this.#at.get(bell.address) ?? { wildcards: [], matches: new Map<number, Doorbell[]>() };
    for (const present of all(at))
      if (collide(bell, present)) throw new IoBusError('IO_BUS_EXISTS', `${describe(bell)} meets ${describe(present)}`);
    if (this.count >= this.#limit)
      throw new IoBusError('IO_BUS_FULL', `${describe(bell)}: the bus has ${this.#limit} ioeventfds already`);
    this.#at.set(bell.address, at);
    if (bell.wildcard) at.wildcards.push(bell);
    else at.matches.set(bell.lo, [...(at.matches.get(bell.lo) ?? []), bell]);
    this.count++;
    const unpublish = this.#publish?.(bell);
    if (unpublish) this.#unpublish.set(bell, unpublish);
    return { [Symbol.dispose]: () => void this.#remove(bell) };
  };

  deassignIoeventfd = (where: IoEventFd, event: IoEvent): void => {
    const wanted = this.#checked(where, event);
    const at = this.#at.get(wanted.address);
    const bells = wanted.wildcard ? at?.wildcards : at?.matches.get(wanted.lo);
    const found = bells?.find((bell) => bell.length === wanted.length && bell.hi === wanted.hi && bell.event === event);
    if (!found) throw new IoBusError('IO_BUS_NOT_FOUND', `${describe(wanted)} is not assigned to this event`);
    this.#remove(found);
  };

  #remove(bell: Doorbell): void {
    const at = this.#at.get(bell.address);
    const bells = bell.wildcard ? at?.wildcards : at?.matches.get(bell.lo);
    const index = bells?.indexOf(bell) ?? -1;
    if (!at || !bells || index < 0) return;
    bells.splice(index, 1);
    this.count--;
    if (!bell.wildcard && bells.length === 0) at.matches.delete(bell.lo);
    if (at.wildcards.length === 0 && at.matches.size === 0) this.#at.delete(bell.address);
    this.#unpublish.get(bell)?.();
    this.#unpublish.delete(bell);
  }

  #checked({ address, length, datamatch }: IoEventFd, event: IoEvent): Doorbell {
    const invalid = (why: string): IoBusError =>
      new IoBusError('IO_BUS_INVALID', `ioeventfd at ${address}, length ${length}: ${why}`);
    if (!this.#lengths.includes(length)) throw invalid(`the length is one of ${this.#lengths.join(', ')}`);
    if (!Number.isSafeInteger(address) || address < 0 || address + Math.max(1, length) > this.#addressLimit)
      throw invalid(`not below 0x${this.#addressLimit.toString(16)}`);
    if (datamatch === undefined) return { address, length, wildcard: true, lo: 0, hi: 0, event };
    if (length === 0) throw invalid('a value needs a length');
    if (typeof datamatch === 'number' && !Number.isSafeInteger(datamatch)) throw invalid(`${datamatch} is not a whole number`);
    const value = BigInt(datamatch);
    if (value !== BigInt.asUintN(8 * length, value)) throw invalid(`${value} is not a value of that length`);
    return { address, length, wildcard: false, lo: Number(value & BigInt(U32)), hi: Number(value >> 32n), event };
  }
}

const all = ({ wildcards, matches }: AtAddress): readonly Doorbell[] => [...wildcards, ...[...matches.values()].flat()];

function answering(bells: readonly Doorbell[] | undefined, length: IoLen | 8, lo: number, hi: number): Doorbell | undefined {
  if (bells === undefined) return undefined;
  for (const bell of bells)
    if (bell.length === 0 || (bell.length === length && (bell.wildcard || (bell.lo === lo && bell.hi === hi)))) return bell;
  return undefined;
}

/** Whether one write could mean both. */
function collide(a: Doorbell, b: Doorbell): boolean {
  if (a.length === 0 || b.length === 0) return true;
  return a.length === b.length && (a.wildcard || b.wildcard || (a.lo === b.lo && a.hi === b.hi));
}

function describe({ address, length, wildcard, lo, hi }: Doorbell): string {
  const value = wildcard ? '' : ` for 0x${((BigInt(hi) << 32n) | BigInt(lo)).toString(16)}`;
  return `the ioeventfd at 0x${address.toString(16)}, length ${length}${value}`;
}

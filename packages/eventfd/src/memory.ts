/** The words of an eventfd in memory, and sleeping on them: by `Atomics` where threads share it, by a list of waiters where they do not. */
import { EventFdError } from './errors.ts';
import { EVENTFD_LAYOUT } from './layout.ts';
import type { Side, Words } from './protocol.ts';

export type Place = { readonly buffer: ArrayBufferLike; readonly byteOffset: number };

/** Whoever waits in this thread on a word of memory that no other thread has. */
type Waiters = Map<number, Set<() => void>>;
const local = new WeakMap<ArrayBufferLike, Waiters>();

export type Sleep = 'woken' | 'late';

export class MemoryWords implements Words {
  readonly #count: BigUint64Array;
  readonly #words: Int32Array;
  readonly #at: { readonly count: number; readonly readers: number; readonly writers: number; readonly closed: number };
  readonly shared: boolean;

  constructor({ buffer, byteOffset }: Place) {
    const { size, align } = EVENTFD_LAYOUT;
    if (!Number.isInteger(byteOffset) || byteOffset < 0 || byteOffset % align !== 0 || byteOffset + size > buffer.byteLength)
      throw new EventFdError('EVENTFD_INVALID', `an eventfd needs ${size} bytes of memory, aligned to ${align}`);
    this.#count = new BigUint64Array(buffer);
    this.#words = new Int32Array(buffer);
    const word = (offset: number): number => (byteOffset + offset) / 4;
    this.#at = {
      count: (byteOffset + EVENTFD_LAYOUT.counter) / 8,
      readers: word(EVENTFD_LAYOUT.readers),
      writers: word(EVENTFD_LAYOUT.writers),
      closed: word(EVENTFD_LAYOUT.closed),
    };
    this.shared = typeof SharedArrayBuffer !== 'undefined' && buffer instanceof SharedArrayBuffer;
  }

  reset(initial: bigint): void {
    for (const at of [this.#at.readers, this.#at.writers, this.#at.closed]) Atomics.store(this.#words, at, 0);
    Atomics.store(this.#count, this.#at.count, initial);
  }

  count(): bigint {
    return Atomics.load(this.#count, this.#at.count);
  }
  exchangeCount(value: bigint): bigint {
    return Atomics.exchange(this.#count, this.#at.count, value);
  }
  compareExchangeCount(expected: bigint, value: bigint): bigint {
    return Atomics.compareExchange(this.#count, this.#at.count, expected, value);
  }
  epoch(side: Side): number {
    return Atomics.load(this.#words, this.#at[side]);
  }
  compareExchangeEpoch(side: Side, expected: number, value: number): number {
    return Atomics.compareExchange(this.#words, this.#at[side], expected, value);
  }
  isClosed(): boolean {
    return Atomics.load(this.#words, this.#at.closed) !== 0;
  }
  setClosed(): void {
    Atomics.store(this.#words, this.#at.closed, 1);
  }

  wake(side: Side): void {
    if (this.shared) {
      Atomics.notify(this.#words, this.#at[side]);
      return;
    }
    const waiters = local.get(this.#words.buffer)?.get(this.#at[side]);
    if (!waiters) return;
    const all = [...waiters];
    waiters.clear();
    for (const resolve of all) resolve();
  }

  /** Sleeps while the side's word is `epoch`; `ms` may be Infinity. */
  sleep(side: Side, epoch: number, ms: number): Sleep {
    if (!this.shared)
      throw new EventFdError('EVENTFD_CANNOT_BLOCK', 'nobody else can end this: the memory of the eventfd is not shared');
    try {
      return Atomics.wait(this.#words, this.#at[side], epoch, ms) === 'timed-out' ? 'late' : 'woken';
    } catch (cause) {
      // ECMA-262, DoWait: a TypeError if the agent's [[CanBlock]] is false.
      throw new EventFdError('EVENTFD_CANNOT_BLOCK', 'this thread must not block', { cause });
    }
  }

  /** The same without blocking the thread. */
  async sleepAsync(side: Side, epoch: number, ms: number): Promise<Sleep> {
    if (!this.shared) return this.#sleepLocally(side, ms);
    const { async: pending, value } = Atomics.waitAsync(this.#words, this.#at[side], epoch, ms);
    if (!pending) return value === 'timed-out' ? 'late' : 'woken';
    // Waiting in this way alone does not keep a process alive.
    const alive = setInterval(() => undefined, 0x3fff_ffff);
    try {
      return (await value) === 'timed-out' ? 'late' : 'woken';
    } finally {
      clearInterval(alive);
    }
  }

  #sleepLocally(side: Side, ms: number): Promise<Sleep> {
    const { buffer } = this.#words;
    let words = local.get(buffer);
    if (!words) local.set(buffer, (words = new Map()));
    const at = this.#at[side];
    const waiters = words.get(at) ?? new Set();
    words.set(at, waiters);
    return new Promise((resolve) => {
      const timer = ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(() => end('late'), ms);
      const woken = (): void => end('woken');
      const end = (how: Sleep): void => {
        waiters.delete(woken);
        clearTimeout(timer);
        resolve(how);
      };
      waiters.add(woken);
    });
  }
}

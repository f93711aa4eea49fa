import { array } from '@tsvisor/state-layout';
import { ThreadError } from './errors.ts';

/**
 * What threads that meet in shared memory do to one another. All operations are atomic and sequentially consistent; a word is named by its
 * distance from the start of the state, in words. The protocols are functions of these, so that test/threads/model.ts runs them in every order.
 */
export type Words = {
  readonly load: (word: number) => number;
  readonly store: (word: number, value: number) => void;
  /** This and the next two return what was there. */
  readonly add: (word: number, n: number) => number;
  readonly exchange: (word: number, value: number) => number;
  readonly compareExchange: (word: number, expected: number, value: number) => number;
  /** Wakes all who sleep on the word. */
  readonly wake: (word: number) => void;
  /** Sleeps while the word is `value` and nobody wakes it, for `ms` at most; false: that long. */
  readonly sleep: (word: number, value: number, ms: number) => boolean;
};

/** Some state in memory that threads share; it can be posted. */
export type Place = { readonly buffer: SharedArrayBuffer; readonly byteOffset: number };

const LINE_BYTES = 64;
/** A field of a layout: a word, or what one side writes together, on a cache line of its own. The word is its element 0. */
export const line = array('i32', LINE_BYTES / 4);

export const FOREVER = Number.POSITIVE_INFINITY;

export class SharedWords implements Words {
  readonly #words: Int32Array;
  readonly #base: number;

  /** @throws ThreadError `THREADS_INVALID` */
  constructor({ buffer, byteOffset }: Place, bytes: number) {
    if (!(typeof SharedArrayBuffer !== 'undefined' && buffer instanceof SharedArrayBuffer))
      throw new ThreadError('THREADS_INVALID', 'threads meet in shared memory only');
    if (
      !Number.isInteger(byteOffset) ||
      byteOffset < 0 ||
      byteOffset % LINE_BYTES !== 0 ||
      byteOffset + bytes > buffer.byteLength
    )
      throw new ThreadError('THREADS_INVALID', `${bytes} bytes, aligned to ${LINE_BYTES}, are not at ${byteOffset}`);
    this.#words = new Int32Array(buffer);
    this.#base = byteOffset / 4;
  }

  load(word: number): number {
    return Atomics.load(this.#words, this.#base + word);
  }
  store(word: number, value: number): void {
    Atomics.store(this.#words, this.#base + word, value);
  }
  add(word: number, n: number): number {
    return Atomics.add(this.#words, this.#base + word, n);
  }
  exchange(word: number, value: number): number {
    return Atomics.exchange(this.#words, this.#base + word, value);
  }
  compareExchange(word: number, expected: number, value: number): number {
    return Atomics.compareExchange(this.#words, this.#base + word, expected, value);
  }
  wake(word: number): void {
    Atomics.notify(this.#words, this.#base + word);
  }

  sleep(word: number, value: number, ms: number): boolean {
    try {
      return Atomics.wait(this.#words, this.#base + word, value, ms) !== 'timed-out';
    } catch (cause) {
      // ECMA-262, DoWait: a TypeError if the agent's [[CanBlock]] is false.
      throw new ThreadError('THREADS_CANNOT_BLOCK', 'this thread must not block', { cause });
    }
  }

  /** The same without blocking the thread or keeping the process alive; undefined if the word is not `value`. */
  sleepAsync(word: number, value: number): Promise<unknown> | undefined {
    const { async: pending, value: woken } = Atomics.waitAsync(this.#words, this.#base + word, value);
    return pending ? woken : undefined;
  }
}

import { EventFdError } from './errors.ts';
import { EVENTFD_LAYOUT, HIGHEST, OVERFLOW } from './layout.ts';
import type { Place } from './memory.ts';
import { MemoryWords } from './memory.ts';
import type { Attempt, Side } from './protocol.ts';
import { add, close, prepareRead, prepareWrite, signal, take } from './protocol.ts';

export type EventFdOptions = {
  /** What the counter begins with; 0 to 2^64 − 2, by default 0. */
  readonly initial?: bigint | number;
  /** Reading takes one instead of all (EFD_SEMAPHORE). */
  readonly semaphore?: boolean;
  /** `read` and `write` throw `EVENTFD_AGAIN` instead of blocking (EFD_NONBLOCK). */
  readonly nonBlocking?: boolean;
  /** Where it is to be: `EVENTFD_LAYOUT.size` bytes, aligned to `.align`. Without it, memory of its own, which threads can share. */
  readonly memory?: Place;
};

/** What another thread needs to open the same eventfd; it can be posted. */
export type EventFdHandle = Place & { readonly semaphore: boolean; readonly nonBlocking: boolean };

export type WaitOptions = {
  /** Milliseconds until `EVENTFD_TIMEOUT`. */
  readonly timeoutMs?: number;
};
export type AsyncWaitOptions = WaitOptions & {
  /** Ends the waiting with its reason. */
  readonly signal?: AbortSignal;
};

/**
 * Linux's eventfd(2): a 64-bit counter that one side adds to and another takes, waking who waits. Any number of threads may use it at once,
 * through objects of their own made from one handle; signals that come before they are read are one wake-up.
 */
export class EventFd {
  readonly #words: MemoryWords;
  readonly handle: EventFdHandle;

  private constructor(words: MemoryWords, handle: EventFdHandle) {
    this.#words = words;
    this.handle = handle;
  }

  /** @throws EventFdError `EVENTFD_INVALID` */
  static create(options: EventFdOptions = {}): EventFd {
    const { semaphore = false, nonBlocking = false } = options;
    const place = options.memory ?? { buffer: new SharedArrayBuffer(EVENTFD_LAYOUT.size), byteOffset: 0 };
    const words = new MemoryWords(place);
    words.reset(checked(options.initial ?? 0n));
    return new EventFd(words, { buffer: place.buffer, byteOffset: place.byteOffset, semaphore, nonBlocking });
  }

  /** The eventfd of a handle. @throws EventFdError `EVENTFD_INVALID` */
  static open(handle: EventFdHandle): EventFd {
    return new EventFd(new MemoryWords(handle), handle);
  }

  /**
   * Adds `n` and wakes who waits. Never blocks and never fails, as the kernel's eventfd_signal: what goes beyond 2^64 − 2 is an overflow, which
   * reading ends.
   * @throws EventFdError `EVENTFD_INVALID` unless n is an integer from 0 to 2^64 − 2
   */
  signal(n: bigint | number = 1n): void {
    signal(this.#words, checked(n));
  }

  /** Adds `n` if the sum stays below 2^64 − 1; whether it did. @throws EventFdError `EVENTFD_INVALID` */
  tryWrite(n: bigint | number): boolean {
    return add(this.#words, checked(n));
  }

  /** Takes the count, or with a semaphore 1; undefined if it is zero. */
  tryRead(): bigint | undefined {
    return take(this.#words, this.handle.semaphore) || undefined;
  }

  /**
   * Takes the count, or with a semaphore 1; blocks the thread while it is zero.
   * @throws EventFdError `EVENTFD_AGAIN`, `EVENTFD_TIMEOUT`, `EVENTFD_CLOSED`, or `EVENTFD_CANNOT_BLOCK`
   */
  read(options: WaitOptions = {}): bigint {
    return this.#blocking('readers', options, () => prepareRead(this.#words, this.handle.semaphore));
  }

  /**
   * Adds `n`; blocks the thread while the sum would go beyond 2^64 − 2.
   * @throws EventFdError as `read`, and `EVENTFD_INVALID`
   */
  write(n: bigint | number, options: WaitOptions = {}): void {
    const value = checked(n);
    this.#blocking('writers', options, () => prepareWrite(this.#words, value));
  }

  /** As `read`, without blocking the thread, whatever the mode. @throws EventFdError `EVENTFD_TIMEOUT`, `EVENTFD_CLOSED` */
  readAsync(options: AsyncWaitOptions = {}): Promise<bigint> {
    return this.#waiting('readers', options, () => prepareRead(this.#words, this.handle.semaphore));
  }

  /** As `write`, without blocking the thread. @throws EventFdError `EVENTFD_INVALID`, `EVENTFD_TIMEOUT`, `EVENTFD_CLOSED` */
  async writeAsync(n: bigint | number, options: AsyncWaitOptions = {}): Promise<void> {
    const value = checked(n);
    await this.#waiting('writers', options, () => prepareWrite(this.#words, value));
  }

  /** What is read, one after the other, until the eventfd is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<bigint, void, undefined> {
    for (;;) {
      try {
        yield await this.readAsync();
      } catch (error) {
        if (error instanceof EventFdError && error.code === 'EVENTFD_CLOSED') return;
        throw error;
      }
    }
  }

  /** poll(2): whether reading would not block, whether writing 1 would not, and whether signals were lost to an overflow. */
  get readable(): boolean {
    return this.#words.count() !== 0n;
  }
  get writable(): boolean {
    return this.#words.count() < HIGHEST;
  }
  get overflowed(): boolean {
    return this.#words.count() === OVERFLOW;
  }
  get closed(): boolean {
    return this.#words.isClosed();
  }

  /** Ends all waiting, here and in other threads, with `EVENTFD_CLOSED`. What was signalled before can still be read. */
  close(): void {
    close(this.#words);
  }
  [Symbol.dispose](): void {
    this.close();
  }

  #blocking<T>(side: Side, { timeoutMs = Number.POSITIVE_INFINITY }: WaitOptions, prepare: () => Attempt<T>): T {
    const end = endOf(timeoutMs);
    for (;;) {
      const attempt = prepare();
      if (attempt === 'closed') throw closedError();
      if ('value' in attempt) return attempt.value;
      if (this.handle.nonBlocking) throw new EventFdError('EVENTFD_AGAIN', 'it would block');
      if (this.#words.sleep(side, attempt.epoch, timeUntil(end)) === 'late') throw timeoutError(timeoutMs);
    }
  }

  async #waiting<T>(side: Side, options: AsyncWaitOptions, prepare: () => Attempt<T>): Promise<T> {
    const { timeoutMs = Number.POSITIVE_INFINITY, signal: abort } = options;
    const end = endOf(timeoutMs);
    // Waiting cannot be taken back, only ended: all who wait look again, and one of them sees why.
    const wake = (): void => this.#words.wake(side);
    abort?.addEventListener('abort', wake);
    try {
      for (;;) {
        abort?.throwIfAborted();
        const attempt = prepare();
        if (attempt === 'closed') throw closedError();
        if ('value' in attempt) return attempt.value;
        if ((await this.#words.sleepAsync(side, attempt.epoch, timeUntil(end))) === 'late') throw timeoutError(timeoutMs);
      }
    } finally {
      abort?.removeEventListener('abort', wake);
    }
  }
}

const { performance } = globalThis;
/** Who waits without end does not look at the time: where a signal wakes its reader on the signaller's core, that waits meanwhile. */
const endOf = (ms: number): number => (ms === Number.POSITIVE_INFINITY ? ms : performance.now() + ms);
const timeUntil = (end: number): number => (end === Number.POSITIVE_INFINITY ? end : Math.max(0, end - performance.now()));

const closedError = (): EventFdError => new EventFdError('EVENTFD_CLOSED', 'the eventfd is closed');
const timeoutError = (ms: number): EventFdError => new EventFdError('EVENTFD_TIMEOUT', `nothing happened within ${ms} ms`);

function checked(n: bigint | number): bigint {
  const value = typeof n === 'bigint' ? n : Number.isSafeInteger(n) ? BigInt(n) : -1n;
  if (value < 0n || value > HIGHEST) throw new EventFdError('EVENTFD_INVALID', `${n} is not an integer from 0 to 2^64 − 2`);
  return value;
}

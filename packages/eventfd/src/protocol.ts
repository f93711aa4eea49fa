/**
 * Who sleeps when, and who wakes whom. Each side has a word: an epoch, and in bit 0 whether someone sleeps in it or is about to. Sleepers set
 * the bit, look once more, and sleep while the word is what they saw; whoever changes what they look at begins the next epoch if the bit is
 * set, and wakes all. A sleeper that finds what it wants leaves the bit, because it may be another's as well: that costs a wake of nobody.
 *
 * A bit alone would lose wake-ups where several sleep: one is about to, is woken, and then sleeps all the same if another has set the bit
 * again (docs/adr/0009). Sleeping on the counter would lose them with one.
 *
 * All steps that other threads can come between are operations of `Words`; test/interleavings.test.ts runs these functions in every order.
 */
import { HIGHEST, OVERFLOW } from './layout.ts';

export type Side = 'readers' | 'writers';

/** The words of one eventfd. Every operation is atomic and sequentially consistent. */
export type Words = {
  readonly count: () => bigint;
  readonly exchangeCount: (value: bigint) => bigint;
  /** Returns what was there; `value` is there now if that was `expected`. */
  readonly compareExchangeCount: (expected: bigint, value: bigint) => bigint;
  readonly epoch: (side: Side) => number;
  /** Returns what was there; `value` is there now if that was `expected`. */
  readonly compareExchangeEpoch: (side: Side, expected: number, value: number) => number;
  readonly isClosed: () => boolean;
  readonly setClosed: () => void;
  /** Wakes all who sleep on a side's word. */
  readonly wake: (side: Side) => void;
};

/** What came of looking: a value; nothing yet, and sleeping while the side's word is `epoch` is safe; or the eventfd is closed. */
export type Attempt<T> = { readonly value: T } | { readonly epoch: number } | 'closed';

const SLEEPERS = 1;
const EPOCH = 2;

function changed(words: Words, side: Side): void {
  const epoch = words.epoch(side);
  if ((epoch & SLEEPERS) === 0) return;
  // If another was faster, it wakes those who looked before this change.
  if (words.compareExchangeEpoch(side, epoch, (epoch - SLEEPERS + EPOCH) | 0) === epoch) words.wake(side);
}

/** Adds without ever blocking; beyond the highest value it stops at the overflow. */
export function signal(words: Words, n: bigint): void {
  for (;;) {
    const count = words.count();
    const next = n > OVERFLOW - count ? OVERFLOW : count + n;
    if (words.compareExchangeCount(count, next) === count) break;
  }
  changed(words, 'readers');
}

/** Takes everything, or with a semaphore one; 0 if there is nothing. */
export function take(words: Words, semaphore: boolean): bigint {
  let taken = 0n;
  if (semaphore) {
    for (let count = words.count(); count !== 0n && taken === 0n; ) {
      const seen = words.compareExchangeCount(count, count - 1n);
      if (seen === count) taken = 1n;
      else count = seen;
    }
  } else if (words.count() !== 0n) taken = words.exchangeCount(0n);
  if (taken !== 0n) changed(words, 'writers');
  return taken;
}

/** Adds if the sum is not beyond the highest value. */
export function add(words: Words, n: bigint): boolean {
  for (;;) {
    const count = words.count();
    if (count > HIGHEST - n) return false;
    if (words.compareExchangeCount(count, count + n) !== count) continue;
    changed(words, 'readers');
    return true;
  }
}

function prepare<T>(words: Words, side: Side, attempt: () => T | undefined): Attempt<T> {
  const first = attempt();
  if (first !== undefined) return { value: first };
  let epoch = words.epoch(side);
  while ((epoch & SLEEPERS) === 0) {
    const seen = words.compareExchangeEpoch(side, epoch, epoch | SLEEPERS);
    epoch = seen === epoch ? epoch | SLEEPERS : seen;
  }
  const second = attempt();
  if (second !== undefined) return { value: second };
  return words.isClosed() ? 'closed' : { epoch };
}

export const prepareRead = (words: Words, semaphore: boolean): Attempt<bigint> =>
  prepare(words, 'readers', () => take(words, semaphore) || undefined);

export const prepareWrite = (words: Words, n: bigint): Attempt<true> =>
  prepare(words, 'writers', () => add(words, n) || undefined);

/** Nobody waits any more, from now on. */
export function close(words: Words): void {
  words.setClosed();
  changed(words, 'readers');
  changed(words, 'writers');
}

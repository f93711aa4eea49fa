/**
 * How a halted vCPU's thread sleeps, and whoever has something for it wakes it. The sender sets its bit, then kicks, which counts SIGNAL up; the
 * sleeper looks for bits, sets PARKED, and sleeps while PARKED is 1, unless SIGNAL changed since before it looked. Who makes PARKED 0 wakes it.
 * Sleeping on SIGNAL instead would lose wake-ups: a kicker that was held up between its look at PARKED and its claim takes away the flag of a
 * later sleep (a mutant in test/threads/parking.test.ts).
 */
import { defineLayout } from '@tsvisor/state-layout';
import { line, type Place, SharedWords, type Words } from './words.ts';

/** The state of one vCPU: zeroed, aligned to 64. */
export const PARKING = defineLayout('parking', { signal: line, parked: line }, { size: 128 });

export const SIGNAL = PARKING.offset.signal / 4;
export const PARKED = PARKING.offset.parked / 4;

export function kick(words: Words): void {
  words.add(SIGNAL, 1);
  if (words.load(PARKED) === 1 && words.exchange(PARKED, 0) === 1) words.wake(PARKED);
}

export function park(words: Words, ready: () => boolean, timeoutMs: number): void {
  const seen = words.load(SIGNAL);
  if (ready()) return;
  words.store(PARKED, 1);
  if (words.load(SIGNAL) === seen) words.sleep(PARKED, 1, timeoutMs);
  words.store(PARKED, 0);
}

/** Any thread makes one of its own from the same place; one of them parks. */
export class Parking {
  readonly #words: SharedWords;

  /** @throws ThreadError `THREADS_INVALID` */
  constructor(place: Place) {
    this.#words = new SharedWords(place, PARKING.size);
  }

  /** Ends `park`, if it sleeps or is about to. Never blocks. What `ready` looks at is to be set before. */
  kick(): void {
    kick(this.#words);
  }

  /**
   * Returns at once if `ready`; else sleeps until a kick, or for `timeoutMs`, which may be Infinity. Kicks before the call count only in so far as
   * `ready` sees what they were for. May return early: the caller looks again.
   * @throws ThreadError `THREADS_CANNOT_BLOCK`
   */
  park(ready: () => boolean, timeoutMs: number): void {
    park(this.#words, ready, timeoutMs);
  }
}

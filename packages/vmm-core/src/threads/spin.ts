import { type Place, SharedWords } from './words.ts';

/** Node's global is an accessor, which costs more than the time does. */
const { performance } = globalThis;

/** Tells the core that this is a loop of waiting, where the engine can. */
const pause: () => void = (Atomics as { readonly pause?: () => void }).pause ?? (() => undefined);

const LOOKS_PER_TIME = 8;
/** Limits below this are not worth the look at the time. */
const LEAST_US = 1;
/** So many times nothing is tried after it failed too often; twice as many the next time, up to the most. */
const REST = 32;
const MOST_REST = 8192;

/** What pays where a core is free: a thread that sleeps on an idle one takes some 40 µs to wake. */
export const SPIN_US = 20;

/**
 * Waits awake for what usually comes within microseconds; for less and less long, and at last hardly ever, where it does not. It has to come two
 * times out of three: when there is no core left for the one who is waited for, every failure costs that one the whole limit.
 */
export class Spin {
  readonly #maxUs: number;
  #limitUs: number;
  #rest = REST;
  #resting = 0;

  /** @param maxUs 0: never */
  constructor(maxUs: number) {
    this.#maxUs = maxUs;
    this.#limitUs = maxUs;
  }

  until(done: () => boolean): boolean {
    if (done()) return true;
    if (this.#maxUs < LEAST_US) return false;
    if (this.#resting > 0 && --this.#resting > 0) return false;
    const end = performance.now() + this.#limitUs / 1000;
    do {
      for (let i = 0; i < LOOKS_PER_TIME; i++) {
        pause();
        if (!done()) continue;
        this.#limitUs = Math.min(this.#limitUs * 1.5, this.#maxUs);
        if (this.#limitUs === this.#maxUs) this.#rest = REST;
        return true;
      }
    } while (performance.now() < end);
    this.#limitUs /= 2;
    if (this.#limitUs < LEAST_US) {
      this.#limitUs = this.#maxUs / 2;
      this.#resting = this.#rest;
      this.#rest = Math.min(this.#rest * 2, MOST_REST);
    }
    return false;
  }
}

/** Words on which a thread waits awake for a while before it sleeps. */
export class PatientWords extends SharedWords {
  readonly #spin: Spin;
  readonly #isChanged = (): boolean => this.load(this.#word) !== this.#value;
  #word = 0;
  #value = 0;

  constructor(place: Place, bytes: number, spinUs: number) {
    super(place, bytes);
    this.#spin = new Spin(spinUs);
  }

  override sleep(word: number, value: number, ms: number): boolean {
    this.#word = word;
    this.#value = value;
    return this.#spin.until(this.#isChanged) || super.sleep(word, value, ms);
  }
}

/** Node's global is an accessor, which costs more than the time does. */
const { performance } = globalThis;

/** Tells the core that this is a loop of waiting, where the engine can. */
const pause: () => void = (Atomics as { readonly pause?: () => void }).pause ?? (() => undefined);

const LOOKS_PER_TIME = 8;
/** Limits below this are not worth the look at the time. */
const LEAST_US = 1;
/** So many times nothing is tried after it has failed again and again. */
const REST = 32;

/** Waits awake for what usually comes within microseconds; for less and less long, and at last hardly ever, where it does not. */
export class Spin {
  readonly #maxUs: number;
  #limitUs: number;
  #rest = 0;

  /** @param maxUs 0: never */
  constructor(maxUs: number) {
    this.#maxUs = maxUs;
    this.#limitUs = maxUs;
  }

  until(done: () => boolean): boolean {
    if (done()) return true;
    if (this.#limitUs < LEAST_US) {
      if (this.#maxUs < LEAST_US || ++this.#rest < REST) return false;
      this.#rest = 0;
      this.#limitUs = this.#maxUs;
    }
    const end = performance.now() + this.#limitUs / 1000;
    do {
      for (let i = 0; i < LOOKS_PER_TIME; i++) {
        pause();
        if (!done()) continue;
        this.#limitUs = this.#maxUs;
        return true;
      }
    } while (performance.now() < end);
    this.#limitUs /= 2;
    return false;
  }
}

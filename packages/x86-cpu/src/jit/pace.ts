/**
 * Whether a block that has run often does so often enough at a time. To compile it costs as much as some ten thousand runs of it in the interpreter: what
 * runs at a lower rate pays that back so late that it may be over before, and takes other threads' processors meanwhile. What does not end is worth it
 * at last, at any rate.
 */
export class Pace {
  readonly #runsPerMs: number;
  readonly #candidates = new Map<number, { readonly since: number; readonly runs: number }>();

  /** @param runsPerMs of a block that is hot; 0: all are */
  constructor(runsPerMs: number) {
    this.#runsPerMs = runsPerMs;
  }

  /** A block ran as often as was asked for: 0 if it is hot, from then on, else how often it has to run before it is asked for again. `now` in ms. */
  report(header: number, now: number): number {
    if (this.#runsPerMs === 0) return 0;
    const candidate = this.#candidates.get(header);
    if (candidate !== undefined && (candidate.runs >= MOST_RUNS || candidate.runs >= (now - candidate.since) * this.#runsPerMs)) {
      this.#candidates.set(header, { since: now, runs: Number.POSITIVE_INFINITY });
      return 0;
    }
    const runs = candidate === undefined ? FIRST : 2 * candidate.runs;
    this.#candidates.set(header, { since: now, runs });
    return runs;
  }

  /** The block is not the interpreter's any more, or is to prove itself again. */
  forget(header: number): void {
    this.#candidates.delete(header);
  }

  /** Headers mean other blocks now. */
  clear(): void {
    this.#candidates.clear();
  }
}

/** Runs over which the rate is taken, twice as many each time. */
const FIRST = 4000;
/** After so many in a row the rate does not matter any more. */
export const MOST_RUNS = 64_000;

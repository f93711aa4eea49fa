/** Processors on several threads that let one of them be alone, by the words that generated code knows as well (ports.ts, `ExclusiveWords`). */
import type { ExclusiveAccess, ExclusiveWords } from '../../src/ports.ts';

const NOBODY = 0;
const SLEEPER = 1;
const INSIDE = 1;
const SLEEPERS = 2;
const STAND_ASIDE = -2;
/** Words: who is alone, requests (there are none), and of each processor its state and where its `exitRequest` is. */
const [ALONE, HEAD, STATES, EACH] = [0, 1, 2, 2];

export const wordsOf = (cpus: number): number => STATES + EACH * cpus;

export class StopOthers implements ExclusiveAccess {
  readonly #memory: Int32Array;
  readonly #at: number;
  readonly #me: number;
  readonly #cpus: number;
  readonly words?: ExclusiveWords;

  /**
   * @param at index of the words, zeroed
   * @param looks how often generated code looks before it calls; undefined: it does not know the words
   */
  constructor(memory: WebAssembly.Memory, at: number, me: number, cpus: number, looks?: number) {
    this.#memory = new Int32Array(memory.buffer);
    this.#at = at;
    this.#me = me;
    this.#cpus = cpus;
    if (looks === undefined) return;
    this.words = {
      exclusive: 4 * (at + ALONE),
      id: this.#id,
      head: 4 * (at + HEAD),
      states: 4 * (at + STATES),
      stateBytes: 4 * EACH,
      processors: cpus,
      me,
      looks,
      wait: () => this.#stopOthers(),
      enterGuest: () => this.enterGuest(),
    };
  }

  /** Where this processor is told to leave. */
  announce(exitRequest: number): void {
    Atomics.store(this.#memory, this.#stateOf(this.#me) + 1, exitRequest);
  }

  /** Around each call of `run`. */
  enterGuest(): void {
    for (;;) {
      this.#setState(INSIDE);
      const alone = Atomics.load(this.#memory, this.#at + ALONE);
      if (alone === NOBODY || (alone & ~SLEEPER) === this.#id) return;
      this.leaveGuest();
      this.#sleep(this.#at + ALONE, alone, SLEEPER);
    }
  }
  leaveGuest(): void {
    this.#setState(0);
  }

  enter = (): void => {
    this.leaveGuest();
    const at = this.#at + ALONE;
    for (let alone: number; (alone = Atomics.compareExchange(this.#memory, at, NOBODY, this.#id)) !== NOBODY; )
      this.#sleep(at, alone, SLEEPER);
    this.#stopOthers();
    this.#setState(INSIDE);
  };
  serve = (): void => {
    this.leaveGuest();
    this.enterGuest();
  };
  leave = (): void => {
    Atomics.store(this.#memory, this.#at + ALONE, NOBODY);
    Atomics.notify(this.#memory, this.#at + ALONE);
  };

  get #id(): number {
    return 2 * (this.#me + 1);
  }
  #stateOf(cpu: number): number {
    return this.#at + STATES + EACH * cpu;
  }
  #setState(state: number): void {
    const at = this.#stateOf(this.#me);
    if (Atomics.exchange(this.#memory, at, state) & SLEEPERS) Atomics.notify(this.#memory, at);
  }
  #stopOthers(): void {
    for (let cpu = 0; cpu < this.#cpus; cpu++) {
      if (cpu === this.#me) continue;
      const at = this.#stateOf(cpu);
      Atomics.compareExchange(this.#memory, Atomics.load(this.#memory, at + 1) >> 2, 0, STAND_ASIDE);
      for (let state: number; (state = Atomics.load(this.#memory, at)) & INSIDE; ) this.#sleep(at, state, SLEEPERS);
    }
  }
  /** Sleeps while a word has a value, and says so in it. */
  #sleep(at: number, value: number, bit: number): void {
    if (!(value & bit) && Atomics.compareExchange(this.#memory, at, value, value | bit) !== value) return;
    Atomics.wait(this.#memory, at, value | bit);
  }
}

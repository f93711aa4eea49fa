/** Processors on several threads that let one of them be alone: a word says who is, and one for each of them whether it runs guest code. */
import type { ExclusiveAccess } from '../../src/ports.ts';

const NOBODY = 0;
const OUTSIDE = 0;
const INSIDE = 1;

/** Where a processor is told to leave (`Processor.addresses`). */
export type Kick = { readonly exitRequest: number; readonly kicked: number };

export class StopOthers implements ExclusiveAccess {
  readonly #words: Int32Array;
  readonly #memory: Int32Array;
  readonly #me: number;
  readonly #cpus: number;
  /** Where the processors are told to leave, once they are there. */
  kicks: readonly Kick[] = [];

  /** @param words zeroed: one, and one for each processor */
  constructor(memory: WebAssembly.Memory, words: Int32Array, me: number, cpus: number) {
    this.#words = words;
    this.#memory = new Int32Array(memory.buffer);
    this.#me = me;
    this.#cpus = cpus;
  }

  /** Around each call of `run`. */
  enterGuest(): void {
    for (;;) {
      this.#set(INSIDE);
      const alone = Atomics.load(this.#words, 0);
      if (alone === NOBODY || alone === this.#id) return;
      this.leaveGuest();
      Atomics.wait(this.#words, 0, alone);
    }
  }
  leaveGuest(): void {
    this.#set(OUTSIDE);
  }

  enter = (): void => {
    this.leaveGuest();
    for (let alone: number; (alone = Atomics.compareExchange(this.#words, 0, NOBODY, this.#id)) !== NOBODY; )
      Atomics.wait(this.#words, 0, alone);
    for (let cpu = 0; cpu < this.#cpus; cpu++) {
      if (cpu === this.#me || Atomics.load(this.#words, 1 + cpu) === OUTSIDE) continue;
      const { exitRequest, kicked } = this.kicks[cpu];
      Atomics.store(this.#memory, kicked >> 2, 1);
      Atomics.store(this.#memory, exitRequest >> 2, -1);
      while (Atomics.load(this.#words, 1 + cpu) === INSIDE) Atomics.wait(this.#words, 1 + cpu, INSIDE);
    }
    this.#set(INSIDE);
  };
  serve = (): void => {
    this.leaveGuest();
    this.enterGuest();
  };
  leave = (): void => {
    Atomics.store(this.#words, 0, NOBODY);
    Atomics.notify(this.#words, 0);
  };

  get #id(): number {
    return this.#me + 1;
  }
  #set(state: number): void {
    Atomics.store(this.#words, 1 + this.#me, state);
    Atomics.notify(this.#words, 1 + this.#me);
  }
}

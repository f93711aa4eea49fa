/** Runs a program in both tiers and compares them wherever the compiled one stops. */
import { MAX_INSTRUCTIONS } from '../../src/jit/region.ts';
import { Random } from '../host-oracle/random.ts';
import type { Ending, TierMachine } from './machine.ts';
import type { Program } from './program.ts';
import { assemble } from './program.ts';

/** More than what a call of `run` may go beyond its budget: a block does not start that does not fit 64 instructions. */
const OVERSHOOT = 65;
/** What the compiled tier may go beyond that: a region looks at its budget where it is entered and where a loop begins. */
const MORE = MAX_INSTRUCTIONS + OVERSHOOT;
/** Deliveries and other steps that retire nothing, between two instructions. */
const MOST_STEPS = 8;
const BUDGETS = [1, 7, 50, 64, 65, 100, 129, 333, 1000, 5000];

export type Outcome = {
  readonly ending: Ending | string;
  readonly difference: string | undefined;
  readonly instructions: number;
  readonly stops: number;
};

/** What `action` ended with; a throw of the engine is a way to end, too. */
function outcomeOf(action: () => Ending): Ending | string {
  try {
    return action();
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

class Comparison {
  readonly #reference: TierMachine;
  readonly #tested: TierMachine;
  #ended: Ending | string;

  constructor(reference: TierMachine, tested: TierMachine) {
    this.#reference = reference;
    this.#tested = tested;
  }

  /** The reference takes an interrupt where the compiled tier did. */
  #step(): void {
    const [reference, tested] = [this.#reference, this.#tested];
    const takes = tested.taken[reference.taken.length] === reference.instructions;
    // One that came with a device access is taken at the end of a block; whether it is possible there, the reference sees to.
    if (takes) reference.interrupt = true;
    this.#ended = outcomeOf(() => reference.step(takes));
  }

  /** No interrupt waits or was taken, so that the reference needs no guiding. */
  get #undisturbed(): boolean {
    return !this.#reference.interrupt && this.#tested.taken.length === this.#reference.taken.length;
  }

  /** Brings the interpreter to where the compiled tier stopped; says how they differ there. */
  follow(ending: Ending | string): string | undefined {
    const [reference, tested] = [this.#reference, this.#tested];
    const target = tested.instructions;
    while (!this.#ended && this.#undisturbed && reference.instructions + OVERSHOOT < target)
      this.#ended = outcomeOf(() => reference.run(target - OVERSHOOT - reference.instructions));
    while (!this.#ended && reference.instructions < target) this.#step();
    const first = this.#agree(ending, target);
    if (first !== undefined) return `${first} after ${target} instructions${this.#ended ? ` (${this.#ended})` : ''}`;
    // What arrived while interrupts were off waits in both.
    reference.interrupt = tested.interrupt;
    reference.holdLike(tested);
    return undefined;
  }

  /** After as many instructions: steps over what retires nothing until both are the same and have ended alike. */
  #agree(ending: Ending | string, target: number): string | undefined {
    const [reference, tested] = [this.#reference, this.#tested];
    let first: string | undefined;
    for (let n = 0; n < MOST_STEPS && reference.instructions === target; n++) {
      const difference = tested.difference(reference, ending !== undefined);
      if (difference === undefined && this.#ended === ending) return undefined;
      first ??= difference;
      if (this.#ended) return first ?? `ended with ${ending}, not ${this.#ended},`;
      this.#step();
    }
    return first ?? (ending ? `ended with ${ending} too early` : `the interpreter is at ${reference.instructions}`);
  }
}

/** `fresh` forgets earlier translations first. */
export function compareTiers(reference: TierMachine, tested: TierMachine, program: Program, fresh = false): Outcome {
  const start = assemble(program);
  const random = new Random(program.seed ^ 0x5a5a_5a5a);
  for (const machine of [reference, tested]) machine.start(start, fresh);
  const comparison = new Comparison(reference, tested);
  const interrupts = random.chance(40) ? 30 : 0;
  const withAccesses = random.chance(30) ? 2 + random.below(5) : 0;
  if (withAccesses) tested.arrives = (accesses) => accesses % withAccesses === 0;
  const few = random.chance(30);
  let stops = 0;
  let ending: Ending | string;
  let difference: string | undefined;
  for (; tested.instructions < program.fuel && !ending && difference === undefined; stops++) {
    if (random.chance(interrupts)) {
      tested.interrupt = true;
      reference.interrupt = true;
    }
    const budget = few ? program.fuel : random.pick(BUDGETS);
    const before = tested.instructions;
    ending = outcomeOf(() => tested.run(budget));
    const retired = tested.instructions - before;
    difference = comparison.follow(ending);
    if (retired >= Math.max(budget, OVERSHOOT) + OVERSHOOT + MORE) difference ??= `retired ${retired} instructions of ${budget}`;
  }
  return { difference, ending, instructions: tested.instructions, stops };
}

/** The smallest program found that still differs, by leaving out blocks' items one by one. */
export function minimise(program: Program, differs: (candidate: Program) => boolean): Program {
  let best = program;
  for (let changed = true; changed; ) {
    changed = false;
    const attempt = (candidate: Program): boolean => {
      if (!differs(candidate)) return false;
      best = candidate;
      changed = true;
      return true;
    };
    for (let n = best.blocks.length - 1; n >= 0; n--) {
      const withItems = (items: Program['blocks'][number]['items']): Program => ({
        ...best,
        blocks: best.blocks.map((block, k) => (k === n ? { ...block, items } : block)),
      });
      if (best.blocks[n].items.length > 0 && attempt(withItems([]))) continue;
      for (let k = best.blocks[n].items.length - 1; k >= 0; k--)
        attempt(withItems(best.blocks[n].items.filter((_, i) => i !== k)));
    }
  }
  return best;
}

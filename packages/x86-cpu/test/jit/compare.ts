/** Runs a program in both tiers and compares them wherever the compiled one stops. */
import { Random } from '../host-oracle/random.ts';
import type { Ending, TierMachine } from './machine.ts';
import type { Program } from './program.ts';
import { assemble } from './program.ts';

/** Instructions a call of `run` may go beyond its budget. */
const OVERSHOOT = 64;
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

  /** Brings the interpreter to where the compiled tier stopped; says how they differ there. */
  follow(ending: Ending | string): string | undefined {
    const [reference, tested] = [this.#reference, this.#tested];
    const target = tested.instructions;
    while (!this.#ended && reference.instructions + OVERSHOOT < target)
      this.#ended = outcomeOf(() => reference.run(target - OVERSHOOT - reference.instructions));
    while (!this.#ended && reference.instructions < target) this.#ended = outcomeOf(() => reference.step());
    if (ending) return this.#atEnd(ending, target);
    // Waiting for an interrupt may have led beyond; the next stop will do.
    if (reference.instructions > target) return undefined;
    let first: string | undefined;
    for (let n = 0; n < MOST_STEPS && reference.instructions === target; n++) {
      const difference = tested.difference(reference);
      if (difference === undefined) return undefined;
      first ??= difference;
      if (this.#ended) break;
      this.#ended = outcomeOf(() => reference.step());
    }
    return `${first ?? 'the interpreter has stopped'} after ${target} instructions${this.#ended ? ` (${this.#ended})` : ''}`;
  }

  #atEnd(ending: Ending | string, target: number): string | undefined {
    const [reference, tested] = [this.#reference, this.#tested];
    for (let n = 0; n < MOST_STEPS && !this.#ended; n++) this.#ended = outcomeOf(() => reference.run(1));
    if (this.#ended !== ending) return `ended with ${ending}, not ${this.#ended}, after ${target} instructions`;
    // A refusal is final: nothing sees the state, and instructions of the call that it ended are not counted.
    if (ending === 'error') return undefined;
    if (reference.instructions !== target) return `ended after ${target} instructions, not ${reference.instructions}`;
    const difference = tested.difference(reference);
    return difference === undefined ? undefined : `${difference} at the end (${ending}) after ${target} instructions`;
  }
}

export function compareTiers(reference: TierMachine, tested: TierMachine, program: Program, fresh = false): Outcome {
  const start = assemble(program);
  const random = new Random(program.seed ^ 0x5a5a_5a5a);
  for (const machine of [reference, tested]) machine.start(start, fresh);
  const comparison = new Comparison(reference, tested);
  const interrupts = random.chance(40) ? 30 : 0;
  const few = random.chance(30);
  let stops = 0;
  let ending: Ending | string;
  for (; tested.instructions < program.fuel && stops < program.fuel; stops++) {
    if (
      random.chance(interrupts) &&
      !tested.interrupt &&
      !reference.interrupt &&
      reference.instructions === tested.instructions
    ) {
      tested.interrupt = true;
      reference.interrupt = true;
    }
    const budget = few ? program.fuel : random.pick(BUDGETS);
    ending = outcomeOf(() => tested.run(budget));
    const difference = comparison.follow(ending);
    const instructions = tested.instructions;
    if (difference !== undefined) return { difference, ending, instructions, stops };
    const taken = tested.taken.slice(0, Math.min(tested.taken.length, reference.taken.length));
    if (taken.some((at, n) => at !== reference.taken[n]))
      return { difference: `interrupts at ${tested.taken}, not ${reference.taken}`, ending, instructions, stops };
    if (ending) break;
  }
  return { difference: undefined, ending, instructions: tested.instructions, stops };
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

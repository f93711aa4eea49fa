/** Machines that many random programs run on, one after the other. */
import { RegionPool } from '../../src/jit/region-pool.ts';
import { compileHere } from '../../src/jit/service.ts';
import type { Outcome } from './compare.ts';
import { compareTiers, minimise } from './compare.ts';
import type { GeneratorOptions } from './generator.ts';
import { makeProgram } from './generator.ts';
import { TierMachine } from './machine.ts';
import { programText } from './report.ts';

export type SessionOptions = GeneratorOptions & {
  /** Executions before a block is compiled, of one machine each; from 8 on, blocks that ran less often join a region unasked. */
  readonly heats?: readonly number[] | undefined;
  /** Forget all translations before each program. */
  readonly fresh?: boolean;
  /** Every so many programs one has its compiled code checked while it is built; 0 never. */
  readonly checkedEvery?: number | undefined;
};

const HEATS = [3, 8, 24, 70];
/** Every other machine takes what fits from regions of earlier programs, which lay at the same addresses. */
const pooling = (): NonNullable<ConstructorParameters<typeof TierMachine>[0]['compiler']> => {
  const pool = new RegionPool(POOL_BYTES);
  return (service) => compileHere(service, { pool });
};
const POOL_BYTES = 1 << 20;
const CHECKED_HEAT = 2;
const CHECKED_EVERY = 50;

export class Session {
  readonly #options: SessionOptions;
  readonly #reference = new TierMachine({ tier: 'interp' });
  readonly #machines: readonly TierMachine[];
  readonly #checked = new TierMachine({ tier: 'jit', heat: CHECKED_HEAT, checked: true });
  readonly #checkedEvery: number;
  programs = 0;
  instructions = 0;
  stops = 0;
  readonly endings: Record<string, number> = {};

  constructor(options: SessionOptions = {}) {
    this.#options = options;
    this.#machines = (options.heats ?? HEATS).map(
      (heat, n) => new TierMachine({ tier: 'jit', heat, ...(n % 2 === 0 ? {} : { compiler: pooling() }) }),
    );
    this.#checkedEvery = options.checkedEvery ?? CHECKED_EVERY;
  }

  /** Regions compiled so far. */
  get regions(): number {
    return [...this.#machines, this.#checked].reduce((sum, { processor }) => sum + (processor.stats().regions ?? 0), 0);
  }

  /** How many of them had been there before. */
  get shared(): number {
    return this.#machines.reduce((sum, { processor }) => sum + (processor.stats().regionsShared ?? 0), 0);
  }

  #machineOf(seed: number): TierMachine {
    return this.#checkedEvery && seed % this.#checkedEvery === 0 ? this.#checked : this.#machines[seed % this.#machines.length];
  }

  /** Runs the program of a seed; returns how the tiers differ, if they do. */
  run(seed: number): string | undefined {
    const { fresh = false } = this.#options;
    const outcome: Outcome = compareTiers(this.#reference, this.#machineOf(seed), makeProgram(seed, this.#options), fresh);
    this.programs++;
    this.instructions += outcome.instructions;
    this.stops += outcome.stops;
    const ending = outcome.ending ?? 'fuel';
    this.endings[ending] = (this.endings[ending] ?? 0) + 1;
    return outcome.difference;
  }

  /** The smallest form of a seed's program that still differs, and how. */
  explain(seed: number): string {
    const tested = this.#machineOf(seed);
    const differenceOf = (program: ReturnType<typeof makeProgram>): string | undefined =>
      compareTiers(this.#reference, tested, program, true).difference;
    const program = makeProgram(seed, this.#options);
    if (differenceOf(program) === undefined) return 'Alone it runs alike: what ran before matters.';
    const small = minimise(program, (one) => differenceOf(one) !== undefined);
    return `${programText(small)}\n${differenceOf(small)}`;
  }
}

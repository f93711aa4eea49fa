/** Feeds random cases to the host and to an engine, and collects where they disagree. */
import { decode } from '../../src/decode/decoder.ts';
import { DecodeStatus, Insn } from '../../src/decode/instruction.ts';
import { rows } from '../../src/decode/lookup.ts';
import type { OpcodeRow } from '../../src/decode/opcodes.ts';
import type { Engine, OracleCase } from './case.ts';
import { type Disassembler, differences, type FpComparer, report } from './compare.ts';
import { exclusionOf, hostHas, isApproximate, isInteger, storesModel } from './excluded.ts';
import { CaseGenerator, type GeneratorOptions } from './generator.ts';
import { hostFeatures, hostIsAmd, runOnHost } from './host.ts';
import { SequencePool } from './sequences.ts';

/** Modes that cases run in: 64-bit, 32-bit flat, and 32- and 16-bit with segments that are not. */
export type OracleMode = '64' | '32' | '32s' | '16s';

export type OracleOptions = {
  readonly seed: number;
  readonly cases: number;
  readonly rows: readonly OpcodeRow[];
  readonly modes: readonly OracleMode[];
  readonly engine: Engine;
  readonly generator?: GeneratorOptions;
  /** Leaves cases out; of `runOracle`. */
  readonly only?: (one: OracleCase) => boolean;
  readonly fp?: FpComparer;
  readonly disassemble?: Disassembler;
  /** Called after each batch with the number of cases done. */
  readonly progress?: (done: number, failed: number) => void;
  /** Of sequences: how often each is done. */
  readonly rounds?: number;
  /** Cases per run of the harness. */
  readonly batch?: number;
};

/** One instruction's failures in one mode: the first of them in full. */
export type OracleFailure = { readonly sem: string; readonly mode: OracleMode; count: number; readonly reports: string[] };

export type OracleSummary = { readonly cases: number; readonly rounds: number; readonly failures: readonly OracleFailure[] };

/** The rows of general-register instructions that the host can judge. */
export function integerRows(): OpcodeRow[] {
  const features = hostFeatures();
  const amd = hostIsAmd();
  return rows.filter((row) => isInteger(row) && exclusionOf(row, amd) === undefined && hostHas(row, features));
}

/** The rows of x87, MMX and vector instructions that the host can judge. */
export function vectorRows(): OpcodeRow[] {
  const features = hostFeatures();
  const amd = hostIsAmd();
  return rows.filter(
    (row) =>
      !isInteger(row) &&
      !isApproximate(row) &&
      !storesModel(row) &&
      exclusionOf(row, amd) === undefined &&
      hostHas(row, features),
  );
}

const insn = new Insn();
/** Whether a case changes memory atomically: with LOCK, or as XCHG always does. */
export const isLocked = ({ bytes, mode }: OracleCase): boolean =>
  decode(bytes, 0, bytes.length, mode, insn) === DecodeStatus.Ok && (insn.lock || insn.row.sem === 'xchg');

const REPORTS = 2;

/** Collects cases into batches, runs both sides and keeps the differences. */
class Comparison {
  readonly #options: OracleOptions;
  readonly #generator: CaseGenerator;
  readonly #failures = new Map<string, OracleFailure>();
  #pending: { one: OracleCase; sem: string; mode: OracleMode }[] = [];
  #image: Uint8Array;
  done = 0;
  #failed = 0;

  constructor(options: OracleOptions, generator: CaseGenerator) {
    this.#options = options;
    this.#generator = generator;
    this.#image = generator.image();
  }

  get taken(): number {
    return this.done + this.#pending.length;
  }

  take(one: OracleCase, sem: string, mode: OracleMode): void {
    this.#pending.push({ one, sem, mode });
    if (this.#pending.length === (this.#options.batch ?? BATCH)) this.flush();
  }

  flush(): void {
    if (this.#pending.length === 0) return;
    const { engine, fp, disassemble, progress } = this.#options;
    const cases = this.#pending.map(({ one }) => one);
    const expected = runOnHost(this.#image, cases);
    const got = engine.run(this.#image, cases);
    this.#pending.forEach(({ one, sem, mode }, i) => {
      const lines = differences(one, expected[i], got[i], fp);
      if (!lines) return;
      this.#failed++;
      const key = `${sem} ${mode}`;
      const failure = this.#failures.get(key) ?? { sem, mode, count: 0, reports: [] };
      this.#failures.set(key, failure);
      if (failure.count++ < REPORTS) failure.reports.push(report(one, lines, disassemble));
    });
    this.done += this.#pending.length;
    this.#pending = [];
    this.#image = this.#generator.image();
    progress?.(this.done, this.#failed);
  }

  get failures(): OracleFailure[] {
    return [...this.#failures.values()];
  }
}

const BATCH = 8192;

/**
 * Runs rounds of one case per encoding of every row until `cases` are done; the last round is finished, so that every encoding gets as
 * many as any other.
 */
export function runOracle(options: OracleOptions): OracleSummary {
  const generator = new CaseGenerator(options.seed, options.generator);
  const comparison = new Comparison(options, generator);
  let rounds = 0;
  while (comparison.taken < options.cases) {
    for (const mode of options.modes)
      for (const row of options.rows)
        for (const one of generator.casesOf(row, Number.parseInt(mode, 10) as 16 | 32 | 64, mode.endsWith('s')))
          if (options.only?.(one) ?? true) comparison.take(one, row.sem, mode);
    rounds++;
  }
  comparison.flush();
  return { cases: comparison.done, rounds, failures: comparison.failures };
}

/** Runs sequences of up to `LONGEST` instructions made from the rows; modes 64 and 32 only. */
export function runSequences(options: OracleOptions): OracleSummary {
  const generator = new CaseGenerator(options.seed);
  const comparison = new Comparison(options, generator);
  const pools = options.modes.map((mode) => ({
    mode,
    pool: new SequencePool(mode === '64' ? 64 : 32, generator.random, options.rows),
  }));
  while (comparison.taken < options.cases)
    for (const { mode, pool } of pools)
      comparison.take(
        pool.make(2 + generator.random.below(LONGEST - 1), options.rounds ?? 1, options.generator?.fp),
        'sequence',
        mode,
      );
  comparison.flush();
  return { cases: comparison.done, rounds: 1, failures: comparison.failures };
}

/** Instructions; with a branch before each they fit the harness. */
const LONGEST = 14;

/** All failures as text. */
export const failureText = (summary: OracleSummary): string =>
  summary.failures.map((f) => `${f.sem} in mode ${f.mode}: ${f.count} cases differ\n${f.reports.join('\n')}`).join('\n\n');

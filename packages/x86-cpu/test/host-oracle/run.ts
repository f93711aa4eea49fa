/** Feeds random cases to the host and to an engine, and collects where they disagree. */
import { rows } from '../../src/decode/lookup.ts';
import type { OpcodeRow } from '../../src/decode/opcodes.ts';
import type { Engine, OracleCase } from './case.ts';
import { type Disassembler, differences, type FpComparer, report } from './compare.ts';
import { exclusionOf, hostHas, isInteger } from './excluded.ts';
import { CaseGenerator, type GeneratorOptions } from './generator.ts';
import { hostFeatures, runOnHost } from './host.ts';

/** Modes that cases run in: 64-bit, 32-bit flat, and 32- and 16-bit with segments that are not. */
export type OracleMode = '64' | '32' | '32s' | '16s';

export type OracleOptions = {
  readonly seed: number;
  readonly cases: number;
  readonly rows: readonly OpcodeRow[];
  readonly modes: readonly OracleMode[];
  readonly engine: Engine;
  readonly generator?: GeneratorOptions;
  readonly fp?: FpComparer;
  readonly disassemble?: Disassembler;
  /** Called after each batch with the number of cases done. */
  readonly progress?: (done: number, failed: number) => void;
  /** Cases per run of the harness. */
  readonly batch?: number;
};

/** One instruction's failures in one mode: the first of them in full. */
export type OracleFailure = { readonly sem: string; readonly mode: OracleMode; count: number; readonly reports: string[] };

export type OracleSummary = { readonly cases: number; readonly rounds: number; readonly failures: readonly OracleFailure[] };

/** The rows of general-register instructions that the host can judge. */
export function integerRows(): OpcodeRow[] {
  const features = hostFeatures();
  return rows.filter((row) => isInteger(row) && exclusionOf(row) === undefined && hostHas(row, features));
}

const REPORTS = 2;

/**
 * Runs rounds of one case per encoding of every row until `cases` are done; the last round is finished, so that every encoding gets as
 * many as any other.
 */
export function runOracle(options: OracleOptions): OracleSummary {
  const { engine, modes, batch = 8192 } = options;
  const generator = new CaseGenerator(options.seed, options.generator);
  const failures = new Map<string, OracleFailure>();
  let done = 0;
  let failed = 0;
  let image = generator.image();
  let pending: { one: OracleCase; row: OpcodeRow; mode: OracleMode }[] = [];

  const flush = (): void => {
    const cases = pending.map(({ one }) => one);
    const expected = runOnHost(image, cases);
    const got = engine.run(image, cases);
    pending.forEach(({ one, row, mode }, i) => {
      const lines = differences(one, expected[i], got[i], options.fp);
      if (!lines) return;
      failed++;
      const key = `${row.sem} ${mode}`;
      let failure = failures.get(key);
      if (!failure) {
        failure = { sem: row.sem, mode, count: 0, reports: [] };
        failures.set(key, failure);
      }
      if (failure.count++ < REPORTS) failure.reports.push(report(one, lines, options.disassemble));
    });
    done += pending.length;
    pending = [];
    image = generator.image();
    options.progress?.(done, failed);
  };

  let rounds = 0;
  while (done + pending.length < options.cases) {
    for (const mode of modes) {
      for (const row of options.rows) {
        for (const one of generator.casesOf(row, Number.parseInt(mode, 10) as 16 | 32 | 64, mode.endsWith('s'))) {
          pending.push({ one, row, mode });
          if (pending.length === batch) flush();
        }
      }
    }
    rounds++;
  }
  if (pending.length > 0) flush();
  return { cases: done, rounds, failures: [...failures.values()] };
}

/** All failures as text. */
export const failureText = (summary: OracleSummary): string =>
  summary.failures.map((f) => `${f.sem} in mode ${f.mode}: ${f.count} cases differ\n${f.reports.join('\n')}`).join('\n\n');

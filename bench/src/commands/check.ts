import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BenchError } from '../errors.ts';
import { parseResults, type Results } from '../figures.ts';
import { type Comparison, compareResults, MARGINS } from '../regressions.ts';
import { checksumErrors, resultsOutcome } from '../report/text.ts';
import { table, times } from '../table.ts';
import type { CommandContext, Outcome } from './command.ts';
import { measureSuites, type SuiteOptions } from './suite.ts';

/** The results that were recorded last. */
export const RECORDED = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'results', 'latest.json');

export type CheckOptions = {
  /** A file with results to judge; absent: they are measured now. */
  readonly from: string | undefined;
  /** The file to compare with. */
  readonly against: string;
  readonly rounds: number;
};

function readResults(path: string): Results {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new BenchError('BENCH_USAGE', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  return parseResults(text, path);
}

/** As the recorded results were measured. */
function optionsOf({ suites }: Results, rounds: number): SuiteOptions {
  const [{ scale, tier }] = suites;
  return { scale, tier, rounds, only: [] };
}

const percent = (factor: number): string => `${((factor - 1) * 100).toFixed(0)} %`;

function comparisonTable(comparisons: readonly Comparison[]): string {
  const rows = comparisons.map(({ text, recorded, now, held }) => [
    text,
    times(recorded),
    times(now),
    `${now >= recorded ? '+' : ''}${percent(now / recorded)}`,
    held ? 'held' : 'NOT HELD',
  ]);
  return table(['ratio of CPU seconds', 'recorded', 'now', 'change', ''], rows);
}

/** Whether this project has become slower beside its peers: ratios within one run against ratios within a recorded run. */
export async function check({ from, against, rounds }: CheckOptions, { progress }: CommandContext): Promise<Outcome> {
  const recorded = readResults(against);
  if (recorded.suites.length === 0) throw new BenchError('BENCH_USAGE', `${against} holds no suite`);
  const widths = recorded.suites.map(({ bits }) => bits);
  const now = from === undefined ? await measureSuites(widths, optionsOf(recorded, rounds), progress) : readResults(from);
  const comparisons = compareResults(now, recorded);
  if (comparisons.length === 0) throw new BenchError('BENCH_HOST', 'there is nothing to compare: no peer is in both results');
  const errors = now.suites.flatMap(checksumErrors);
  const shown = comparisons.filter(({ kind, held }) => kind !== 'workload' || !held);
  const held = comparisons.every((comparison) => comparison.held) && errors.length === 0;
  const text = [
    comparisonTable(shown),
    ...now.leftOut,
    ...now.suites.flatMap(({ absent }) => absent),
    ...errors.map((error) => `WRONG CHECKSUM: ${error}`),
    `limits: geometric means +${percent(MARGINS.mean)}, boot +${percent(MARGINS.boot)}, ` +
      `single workloads +${percent(MARGINS.workload)} (listed only beyond that): ${held ? 'held' : 'NOT HELD'}`,
  ].join('\n');
  return { ...resultsOutcome(now), text, ok: held };
}

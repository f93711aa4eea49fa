import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { workloadNames } from '../bench-lines.ts';
import type { Bits, Contender, Job, Tier } from '../contenders/contender.ts';
import { runEarlier } from '../contenders/earlier-runs.ts';
import { callRoll, suiteContenders } from '../contenders/roster.ts';
import { BenchError, isBenchError } from '../errors.ts';
import { contenderFigures, FORMAT, NATIVE, type Results, type SuiteFigures } from '../figures.ts';
import { guestFolder, reportedNames } from '../guest-program.ts';
import { describeHost } from '../host.ts';
import { resultsOutcome } from '../report/text.ts';
import { runSuite, type SuiteRun } from '../suite-run.ts';
import { seconds } from '../table.ts';
import { openWorkspace } from '../workspace.ts';
import type { CommandContext, Outcome } from './command.ts';

export type SuiteOptions = {
  readonly scale: number;
  readonly rounds: number;
  readonly tier: Tier;
  /** Names of workloads; empty: all. */
  readonly only: readonly string[];
};

type Progress = CommandContext['progress'];

/** All names, or those asked for in the order in which the guest runs them. */
export function chooseWorkloads(all: readonly string[], only: readonly string[]): string[] {
  const unknown = only.filter((name) => !all.includes(name));
  if (unknown.length > 0)
    throw new BenchError('BENCH_USAGE', `no such workload: ${unknown.join(', ')} (there are ${all.join(', ')})`);
  return only.length === 0 ? [...all] : all.filter((name) => only.includes(name));
}

async function runRounds(
  contenders: readonly Contender[],
  job: Job,
  rounds: number,
  progress: Progress,
): Promise<Map<Contender, SuiteRun[]>> {
  const runs = new Map<Contender, SuiteRun[]>(contenders.map((contender) => [contender, []]));
  await runEarlier(contenders, progress, (contender) => runSuite(contender, job, () => undefined));
  // Interleaved: what disturbs the host for a while disturbs all contenders.
  for (let round = 1; round <= rounds; round++) {
    for (const contender of contenders) {
      progress(`round ${round}/${rounds}, ${contender.name}`);
      const run = await runSuite(contender, job, (name, { busiest, all, guestCpu }) =>
        progress(`${name}: ${contender.name === NATIVE ? seconds(guestCpu) : `${seconds(busiest)} / ${seconds(all)}`}`),
      );
      for (const failure of run.failures) progress(failure);
      runs.get(contender)?.push(run);
    }
  }
  return runs;
}

/** The guest workloads of one width under every contender; or, in a sentence, why they cannot be measured here. */
async function measureSuite(bits: Bits, options: SuiteOptions, progress: Progress): Promise<SuiteFigures | string> {
  const all = workloadNames(readFileSync(join(guestFolder, 'bench.c'), 'utf8'));
  const workloads = chooseWorkloads(all, options.only);
  const contenders = suiteContenders(bits);
  const { present, absent } = await callRoll(contenders);
  const native = contenders[0].missing();
  if (native !== undefined) return `${bits}-bit suite: left out, ${native}`;

  const { scale, rounds, tier } = options;
  const workspace = await openWorkspace(bits, 'workloads', progress);
  const say: Progress = (text) => progress(`${bits} bits, ${text}`);
  const runs = await runRounds(present, { ...workspace.job, workloads, scale, tier }, rounds, say);
  workspace.dispose();
  return {
    bits,
    kernel: workspace.kernelVersion,
    memoryMiB: workspace.job.memoryMiB,
    scale,
    rounds,
    tier,
    host: describeHost(),
    names: reportedNames(workloads),
    whole: workloads.length === all.length,
    contenders: [...runs].map(([contender, results]) => contenderFigures(contender.name, contender.describe(), results)),
    absent,
  };
}

/**
 * The suites of these widths, one after the other.
 * @throws BenchError when the host keeps all of them from being measured; one alone is left out
 */
export async function measureSuites(bits: readonly Bits[], options: SuiteOptions, progress: Progress): Promise<Results> {
  const suites: SuiteFigures[] = [];
  const leftOut: string[] = [];
  let failure: BenchError | undefined;
  for (const width of bits) {
    const measured = await measureSuite(width, options, progress).catch((error: unknown) => {
      if (!isBenchError(error) || error.code !== 'BENCH_HOST') throw error;
      failure = error;
      return `${width}-bit suite: left out, ${error.message}`;
    });
    if (typeof measured === 'string') leftOut.push(measured);
    else suites.push(measured);
  }
  if (suites.length === 0 && failure !== undefined) throw failure;
  return { format: FORMAT, suites, leftOut };
}

/** The guest workloads under every contender: the same checksums, CPU seconds side by side, boot, memory, and what must hold of them. */
export const suite = async (bits: readonly Bits[], options: SuiteOptions, { progress }: CommandContext): Promise<Outcome> =>
  resultsOutcome(await measureSuites(bits, options, progress));

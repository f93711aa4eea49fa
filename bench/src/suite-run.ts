import { parseBenchLine } from './bench-lines.ts';
import { type Moment, runConsole } from './console-run.ts';
import type { Contender, Job } from './contenders/contender.ts';
import { type CpuUse, cpuBetween } from './cpu-time.ts';
import { type BenchError, isBenchError } from './errors.ts';

/** One workload under one contender. */
export type WorkloadResult = CpuUse & {
  readonly checksum: string;
  /** By the clock of the guest, or of the host for `native`. */
  readonly guestSeconds: number;
  /** CPU by the guest's scheduler, or the host's, child processes included. */
  readonly guestCpu: number;
};

export type SuiteRun = {
  readonly results: ReadonlyMap<string, WorkloadResult>;
  /** Why the run did not come to its end; the results before that count. */
  readonly failure?: BenchError;
};

/** Seconds that a boot may be silent, and a workload at full scale, generous: they end guests that hang. */
const BOOT_SILENCE = 60;
const WORKLOAD_SILENCE = 300;

/** Runs workloads in one guest and reads the contender's CPU clocks at their first and last lines. */
export async function runSuite(
  contender: Contender,
  job: Job,
  onResult: (name: string, result: WorkloadResult) => void,
): Promise<SuiteRun> {
  const results = new Map<string, WorkloadResult>();
  let started: { workload: string; at: Moment } | undefined;
  const run = runConsole({
    command: contender.command(job),
    name: contender.name,
    silence: Math.max(BOOT_SILENCE, WORKLOAD_SILENCE * job.scale),
    onLine: (text, now) => {
      const line = parseBenchLine(text);
      if (line?.kind === 'start') started = { workload: line.workload, at: now() };
      if (line?.kind === 'bench' && started?.workload === line.workload) {
        const { checksum, guestSeconds, guestCpu, workload } = line;
        const result = { ...cpuBetween(started.at.cpu, now().cpu), checksum, guestSeconds, guestCpu };
        results.set(workload, result);
        onResult(workload, result);
      }
      return line?.kind === 'done' ? 'end' : undefined;
    },
  });
  try {
    await run;
    return { results };
  } catch (error) {
    if (!isBenchError(error)) throw error;
    return { results, failure: error };
  }
}

/** Of several rounds, each workload's run with the least CPU time of all threads: disturbances only ever add. */
export function bestOf(rounds: readonly SuiteRun[]): Map<string, WorkloadResult> {
  const best = new Map<string, WorkloadResult>();
  for (const [name, result] of rounds.flatMap(({ results }) => [...results])) {
    const before = best.get(name);
    if (before === undefined || result.all < before.all) best.set(name, result);
  }
  return best;
}

import { parseBenchLine } from './bench-lines.ts';
import { type Moment, runConsole } from './console-run.ts';
import type { Contender, Job } from './contenders/contender.ts';
import { type CpuUse, cpuBetween } from './cpu-time.ts';
import { isBenchError } from './errors.ts';
import { reportedNames } from './guest-program.ts';

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
  /** What went wrong, in words. */
  readonly failures: readonly string[];
};

/** Seconds that a boot may be silent, and a workload at full scale, generous: they end guests that hang. */
const BOOT_SILENCE = 60;
const WORKLOAD_SILENCE = 300;

type OnResult = (name: string, result: WorkloadResult) => void;

/** Workloads that began and did not end, and what went wrong with the guest. */
type GuestEnd = { readonly stuck: readonly string[]; readonly failure: string | undefined };

/** One guest: reads the contender's CPU clocks at the first and last lines of the workloads. */
async function runGuest(contender: Contender, job: Job, onResult: OnResult): Promise<GuestEnd> {
  const stuck: string[] = [];
  let started: { workload: string; at: Moment } | undefined;
  const run = runConsole({
    command: contender.command(job),
    name: contender.name,
    silence: Math.max(BOOT_SILENCE, WORKLOAD_SILENCE * job.scale),
    onLine: (text, now) => {
      const line = parseBenchLine(text);
      if (line?.kind === 'start' && started !== undefined) stuck.push(started.workload);
      if (line?.kind === 'start') started = { workload: line.workload, at: now() };
      if (line?.kind === 'bench' && started?.workload === line.workload) {
        const { checksum, guestSeconds, guestCpu, workload } = line;
        onResult(workload, { ...cpuBetween(started.at.cpu, now().cpu), checksum, guestSeconds, guestCpu });
        started = undefined;
      }
      return line?.kind === 'done' ? 'end' : undefined;
    },
  });
  const failure = await run.then(
    () => undefined,
    (error: unknown) => {
      if (isBenchError(error)) return error.message;
      throw error;
    },
  );
  if (started !== undefined) stuck.push(started.workload);
  return { stuck, failure };
}

/** Runs workloads in one guest, and after one that does not end, the others in another guest. */
export async function runSuite(contender: Contender, job: Job, onResult: OnResult): Promise<SuiteRun> {
  const results = new Map<string, WorkloadResult>();
  const failures: string[] = [];
  const hopeless = new Set<string>();
  for (;;) {
    const open = (name: string): boolean => !results.has(name) && !hopeless.has(name);
    const workloads = job.workloads.filter((name) => reportedNames([name]).some(open));
    if (workloads.length === 0) return { results, failures };
    const { stuck, failure } = await runGuest(contender, { ...job, workloads }, (name, result) => {
      results.set(name, result);
      onResult(name, result);
    });
    for (const name of stuck) {
      hopeless.add(name);
      failures.push(`${name} did not end: ${failure ?? `${contender.name} went on without it`}`);
    }
    if (stuck.length > 0) continue;
    if (failure !== undefined || workloads.some((name) => reportedNames([name]).some(open))) {
      failures.push(failure ?? `${contender.name} ended before its workloads`);
      return { results, failures };
    }
  }
}

/** Of several rounds, each workload's run with the least CPU time of all threads: disturbances only ever add. */
export function bestOf(rounds: readonly Pick<SuiteRun, 'results'>[]): Map<string, WorkloadResult> {
  const best = new Map<string, WorkloadResult>();
  for (const [name, result] of rounds.flatMap(({ results }) => [...results])) {
    const before = best.get(name);
    if (before === undefined || result.all < before.all) best.set(name, result);
  }
  return best;
}

import { parseBenchLine } from './bench-lines.ts';
import { type Moment, runConsole } from './console-run.ts';
import type { Contender, Job } from './contenders/contender.ts';
import { cpuBetween, type TimedUse } from './cpu-time.ts';
import { isBenchError } from './errors.ts';
import { reportedNames } from './guest-program.ts';

/** One workload under one contender. */
export type WorkloadResult = TimedUse & {
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
  /** From the start of the process to the guest's init; nothing without a guest. */
  readonly boot: TimedUse | undefined;
  /** The most memory that was resident, MiB, read at the end of the workloads; nothing without a guest. */
  readonly peakMiB: number | undefined;
};

/** Seconds that a boot may be silent, and a workload at full scale, generous: they end guests that hang. */
const BOOT_SILENCE = 180;
const WORKLOAD_SILENCE = 300;

type OnResult = (name: string, result: WorkloadResult) => void;

/** Workloads that began and did not end, and what went wrong with the guest. */
type GuestEnd = Pick<SuiteRun, 'boot' | 'peakMiB'> & { readonly stuck: readonly string[]; readonly failure: string | undefined };

const useBetween = (from: Moment | undefined, to: Moment): TimedUse => ({
  ...cpuBetween(from?.cpu ?? new Map(), to.cpu),
  wall: to.wall - (from?.wall ?? 0),
});

/** One guest: reads the contender's CPU clocks at the first and last lines of the workloads. */
async function runGuest(contender: Contender, job: Job, onResult: OnResult): Promise<GuestEnd> {
  const stuck: string[] = [];
  let started: { workload: string; at: Moment } | undefined;
  let boot: TimedUse | undefined;
  let peakMiB: number | undefined;
  const run = runConsole({
    command: contender.command(job),
    name: contender.name,
    silence: Math.max(BOOT_SILENCE, WORKLOAD_SILENCE * job.scale),
    onLine: (text, now) => {
      const line = parseBenchLine(text);
      if (line?.kind === 'init') boot = useBetween(undefined, now());
      if (line?.kind === 'start' && started !== undefined) stuck.push(started.workload);
      if (line?.kind === 'start') started = { workload: line.workload, at: now() };
      if (line?.kind === 'bench' && started?.workload === line.workload) {
        const { checksum, guestSeconds, guestCpu, workload } = line;
        onResult(workload, { ...useBetween(started.at, now()), checksum, guestSeconds, guestCpu });
        started = undefined;
      }
      if (line?.kind !== 'done') return undefined;
      peakMiB = now().peakMiB;
      return 'end';
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
  return { stuck, failure, boot, peakMiB };
}

/** Runs workloads in one guest, and after one that does not end, the others in another guest. */
export async function runSuite(contender: Contender, job: Job, onResult: OnResult): Promise<SuiteRun> {
  const results = new Map<string, WorkloadResult>();
  const failures: string[] = [];
  const hopeless = new Set<string>();
  let boot: TimedUse | undefined;
  let peakMiB: number | undefined;
  for (;;) {
    const open = (name: string): boolean => !results.has(name) && !hopeless.has(name);
    const workloads = job.workloads.filter((name) => reportedNames([name]).some(open));
    if (workloads.length === 0) return { results, failures, boot, peakMiB };
    const guest = await runGuest(contender, { ...job, workloads }, (name, result) => {
      results.set(name, result);
      onResult(name, result);
    });
    const { stuck, failure } = guest;
    boot ??= guest.boot;
    peakMiB = guest.peakMiB === undefined ? peakMiB : Math.max(peakMiB ?? 0, guest.peakMiB);
    for (const name of stuck) {
      hopeless.add(name);
      failures.push(`${name} did not end: ${failure ?? `${contender.name} went on without it`}`);
    }
    if (stuck.length > 0) continue;
    if (failure !== undefined || workloads.some((name) => reportedNames([name]).some(open))) {
      failures.push(failure ?? `${contender.name} ended before its workloads`);
      return { results, failures, boot, peakMiB };
    }
  }
}

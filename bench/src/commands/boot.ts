import { parseBenchLine } from '../bench-lines.ts';
import { runConsole } from '../console-run.ts';
import type { Contender, Job, Tier } from '../contenders/contender.ts';
import { qemu } from '../contenders/qemu.ts';
import { tsvisor } from '../contenders/tsvisor.ts';
import { type CpuUse, cpuBetween } from '../cpu-time.ts';
import { BenchError } from '../errors.ts';
import { describeHost } from '../host.ts';
import { median } from '../statistics.ts';
import { seconds, table, times } from '../table.ts';
import { openWorkspace } from '../workspace.ts';
import { type CommandContext, type Outcome, verdict } from './command.ts';

/** Largest allowed ratio of CPU seconds, all threads, to QEMU's. */
const LIMIT = 3;
const SILENCE = 60;

export type BootOptions = { readonly rounds: number; readonly tier?: Tier };
/** From the start of the process to the first line of the guest's init. */
export type BootTime = CpuUse & { readonly wall: number };

export async function measureBoot(contender: Contender, job: Job): Promise<BootTime> {
  let result: BootTime | undefined;
  await runConsole({
    command: contender.command(job),
    name: contender.name,
    silence: SILENCE,
    onLine: (line, now) => {
      if (parseBenchLine(line)?.kind !== 'init') return undefined;
      const { cpu, wall } = now();
      result = { ...cpuBetween(new Map(), cpu), wall };
      return 'end';
    },
  });
  if (result === undefined) throw new BenchError('BENCH_GUEST', `${contender.name} ended before the guest's init`);
  return result;
}

/** The medians of all figures, each for itself. */
export const medianBoot = (runs: readonly BootTime[]): BootTime => ({
  busiest: median(runs.map(({ busiest }) => busiest)),
  all: median(runs.map(({ all }) => all)),
  wall: median(runs.map(({ wall }) => wall)),
});

/** Boot to init: CPU seconds beside QEMU's. */
export async function boot(options: BootOptions, { progress }: CommandContext): Promise<Outcome> {
  const workspace = await openWorkspace('boot', progress);
  const all = [tsvisor, qemu];
  const present = all.filter((contender) => contender.missing() === undefined);
  const runs = new Map<Contender, BootTime[]>(present.map((contender) => [contender, []]));
  // Interleaved: what disturbs the host for a while disturbs all contenders.
  for (let round = 1; round <= options.rounds; round++) {
    for (const contender of present) {
      const result = await measureBoot(contender, { ...workspace.job, tier: options.tier ?? 'interp' });
      progress(`round ${round}/${options.rounds}, ${contender.name}: ${seconds(result.all)} s of CPU, ${seconds(result.wall)} s`);
      runs.get(contender)?.push(result);
    }
  }
  workspace.dispose();
  return bootReport(all, runs, workspace.kernelVersion, workspace.job.memoryMiB);
}

function bootReport(
  all: readonly Contender[],
  runs: ReadonlyMap<Contender, BootTime[]>,
  kernel: string,
  memoryMiB: number,
): Outcome {
  const medians = new Map([...runs].map(([contender, results]) => [contender, medianBoot(results)]));
  const rows = [...medians].map(([{ name }, { busiest, all, wall }]) => [name, seconds(busiest), seconds(all), seconds(wall)]);
  const [ours, theirs] = [medians.get(tsvisor), medians.get(qemu)];
  const ratio = ours &&
    theirs && { busiest: ours.busiest / theirs.busiest, all: ours.all / theirs.all, wall: ours.wall / theirs.wall };
  if (ratio !== undefined) rows.push(['ratio', times(ratio.busiest), times(ratio.all), times(ratio.wall)]);
  const held = ratio === undefined || ratio.all <= LIMIT;
  const lines = [
    `Boot to init: ${kernel}, ${memoryMiB} MiB, one processor, median of ${runs.get(tsvisor)?.length ?? 0}`,
    ...all.map((contender) => contender.missing() ?? contender.describe()).map((text) => `  ${text}`),
    `  ${describeHost()}`,
    table(['', 'emulating thread, CPU s', 'all threads, CPU s', 'wall s'], rows),
    ...(ratio === undefined ? [] : [`CPU seconds of all threads, ${times(ratio.all)} QEMU's; ${verdict(times(LIMIT), held)}`]),
  ];
  const data = {
    kernel,
    memoryMiB,
    host: describeHost(),
    contenders: [...runs].map(([contender, results]) => ({
      name: contender.name,
      version: contender.describe(),
      median: medians.get(contender),
      runs: results,
    })),
    ...(ratio === undefined ? {} : { ratio }),
  };
  return { text: lines.join('\n'), data, ok: held };
}

import { parseBenchLine } from '../bench-lines.ts';
import { runConsole } from '../console-run.ts';
import type { Bits, Contender, Job, Tier } from '../contenders/contender.ts';
import { runEarlier } from '../contenders/earlier-runs.ts';
import { callRoll, emulators } from '../contenders/roster.ts';
import { cpuBetween, type TimedUse } from '../cpu-time.ts';
import { BenchError } from '../errors.ts';
import { FIRST_RUN, OURS } from '../figures.ts';
import { describeHost } from '../host.ts';
import { BOOT } from '../limits.ts';
import { medianUse } from '../statistics.ts';
import { seconds, table, times } from '../table.ts';
import { MEMORY_MIB, openWorkspace } from '../workspace.ts';
import { type CommandContext, type Outcome, verdict } from './command.ts';

/** On a busy host, v86 needs a minute. */
const SILENCE = 180;

export type BootOptions = { readonly rounds: number; readonly bits: Bits; readonly tier: Tier };

/** From the start of the process to the first line of the guest's init. */
export async function measureBoot(contender: Contender, job: Job): Promise<TimedUse> {
  let result: TimedUse | undefined;
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

/** Boot to init: CPU seconds beside QEMU's, and v86's if the guest is of 32 bits. */
export async function boot({ bits, rounds, tier }: BootOptions, { progress }: CommandContext): Promise<Outcome> {
  const { present, absent } = await callRoll(emulators(bits));
  const workspace = await openWorkspace(bits, 'boot', progress);
  const runs = new Map<Contender, TimedUse[]>(present.map((contender) => [contender, []]));
  const job = { ...workspace.job, tier };
  await runEarlier(present, progress, (contender) => measureBoot(contender, job));
  // Interleaved: what disturbs the host for a while disturbs all contenders.
  for (let round = 1; round <= rounds; round++) {
    for (const contender of present) {
      const result = await measureBoot(contender, job);
      progress(`round ${round}/${rounds}, ${contender.name}: ${seconds(result.all)} s of CPU, ${seconds(result.wall)} s`);
      runs.get(contender)?.push(result);
    }
  }
  workspace.dispose();
  const heading = `Boot to init: ${workspace.kernelVersion}, ${MEMORY_MIB} MiB, one processor, tier ${tier}, median of ${rounds}`;
  return bootReport(heading, runs, absent);
}

const ratioOf = (ours: TimedUse, theirs: TimedUse): TimedUse => ({
  busiest: ours.busiest / theirs.busiest,
  all: ours.all / theirs.all,
  wall: ours.wall / theirs.wall,
});

function bootReport(heading: string, runs: ReadonlyMap<Contender, TimedUse[]>, absent: readonly string[]): Outcome {
  const boots = [...runs].map(([contender, results]) => ({
    name: contender.name,
    version: contender.describe(),
    median: medianUse(results),
    runs: results,
  }));
  const ours = boots.find(({ name }) => name === OURS)?.median;
  const first = boots.find(({ name }) => name === FIRST_RUN)?.median;
  const peers = boots.filter(({ name }) => name !== OURS && name !== FIRST_RUN);
  const toPeers = (mine: TimedUse | undefined) =>
    mine === undefined ? [] : peers.map(({ name, median }) => ({ name, ratio: ratioOf(mine, median) }));
  const ratios = toPeers(ours);
  const rows = [
    ...boots.map(({ name, median: { busiest, all, wall } }) => [name, seconds(busiest), seconds(all), seconds(wall)]),
    ...ratios.map(({ name, ratio: { busiest, all, wall } }) => [`to ${name}`, times(busiest), times(all), times(wall)]),
    ...toPeers(first).map(({ name, ratio: { busiest, all, wall } }) => [
      `first run to ${name}`,
      ...[times(busiest), times(all), times(wall)],
    ]),
  ];
  const judged = ratios.find(({ name }) => name === BOOT.peer)?.ratio.all;
  const held = judged === undefined || judged <= BOOT.limit;
  const text = [
    heading,
    ...[...boots.map(({ version }) => version), ...absent, describeHost()].map((line) => `  ${line}`),
    table(['', 'emulating thread, CPU s', 'all threads, CPU s', 'wall s'], rows),
    ...(judged === undefined
      ? []
      : [`CPU seconds of all threads to ${BOOT.peer}: ${times(judged)}; ${verdict(times(BOOT.limit), held)}`]),
  ].join('\n');
  return { text, data: { heading, host: describeHost(), contenders: boots, ratios, firstRun: toPeers(first), absent }, ok: held };
}

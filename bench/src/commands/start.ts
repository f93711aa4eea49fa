import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runConsole } from '../console-run.ts';
import type { Job } from '../contenders/contender.ts';
import { tsvisor } from '../contenders/tsvisor.ts';
import { cpuBetween, type TimedUse } from '../cpu-time.ts';
import { BenchError } from '../errors.ts';
import { describeHost } from '../host.ts';
import { MARKER, markedKernel } from '../marker-kernel.ts';
import { median } from '../statistics.ts';
import { seconds } from '../table.ts';
import { openWorkspace } from '../workspace.ts';
import { type CommandContext, type Outcome, verdict } from './command.ts';

/** Largest allowed median, seconds. */
const LIMIT = 1;
const SILENCE = 30;

export type StartOptions = { readonly runs: number };

async function measureStart(job: Job): Promise<TimedUse> {
  let result: TimedUse | undefined;
  await runConsole({
    name: tsvisor.name,
    command: tsvisor.command(job),
    silence: SILENCE,
    onLine: () => undefined,
    onRest: (rest, now) => {
      if (!rest.includes(MARKER)) return undefined;
      const { cpu, wall } = now();
      result = { ...cpuBetween(new Map(), cpu), wall };
      return 'end';
    },
  });
  if (result === undefined) throw new BenchError('BENCH_GUEST', `${tsvisor.name} ended before the guest's first instruction`);
  return result;
}

/**
 * From the start of the process to what the guest's first instructions write to the serial port. The kernel is as large as Debian's,
 * because it is Debian's with another entry; nothing is warm but V8's cache of compiled code, as after a first `npm start`.
 */
export async function start({ runs }: StartOptions, { progress }: CommandContext): Promise<Outcome> {
  const workspace = await openWorkspace(64, 'boot', progress);
  const kernel = join(workspace.folder, 'marked-kernel');
  writeFileSync(kernel, await markedKernel(readFileSync(workspace.job.kernel)));
  const job = { ...workspace.job, kernel };
  const { wall: first } = await measureStart(job);
  progress(`to fill the caches: ${seconds(first)} s`);
  const results: TimedUse[] = [];
  for (let run = 1; run <= runs; run++) {
    const result = await measureStart(job);
    progress(`run ${run}/${runs}: ${seconds(result.wall)} s, ${seconds(result.all)} s of CPU`);
    results.push(result);
  }
  workspace.dispose();
  const walls = results.map(({ wall }) => wall);
  const wall = median(walls);
  const cpu = median(results.map(({ all }) => all));
  const held = wall < LIMIT;
  const text = [
    `Process start to first guest instruction, seen on the serial port: median of ${runs}`,
    `  ${tsvisor.describe()}`,
    `  ${describeHost()}`,
    `${seconds(wall)} s (${seconds(Math.min(...walls))} to ${seconds(Math.max(...walls))}), ${seconds(cpu)} s of CPU`,
    verdict(`${seconds(LIMIT)} s`, held),
  ].join('\n');
  return {
    text,
    data: { version: tsvisor.describe(), host: describeHost(), first, median: { wall, cpu }, runs: results },
    ok: held,
  };
}

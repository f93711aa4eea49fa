import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { runConsole } from '../console-run.ts';
import { runEarlier } from '../contenders/earlier-runs.ts';
import { EARLIER_RUNS, tsvisorCommand } from '../contenders/tsvisor.ts';
import { BenchError } from '../errors.ts';
import { buildWorkloads, hasCompiler } from '../guest-program.ts';
import { describeHost } from '../host.ts';
import { median } from '../statistics.ts';
import { seconds, table, times } from '../table.ts';
import type { CommandContext, Outcome } from './command.ts';

const SILENCE = 180;
const CPUS = 2;

/** What runs as often at a time as there are processors, and how much faster that is to be than with one. */
const LOADS = [
  { name: 'integer', workload: 'int_loop', scale: 4, limit: 1.85 },
  { name: 'fork', workload: 'fork', scale: 4, limit: 1.5 },
  { name: 'processes', workload: 'forkexec', scale: 2, limit: undefined },
  { name: 'system calls', workload: 'syscall', scale: 2, limit: undefined },
  { name: 'page faults', workload: 'pagefault', scale: 2, limit: undefined },
  { name: 'pipes', workload: 'pipe', scale: 1, limit: undefined },
] as const;
type LoadName = (typeof LOADS)[number]['name'];

export type SmpOptions = { readonly rounds: number };

/** The first run of each load compiles what is hot in it; the second is measured. */
const guestScript = (): string =>
  LOADS.flatMap(({ name, workload, scale }) => {
    const run = (scale: number): string =>
      `${Array.from({ length: CPUS }, () => `BENCH_SCALE=${scale} bench ${workload} > /dev/null &`).join(' ')} wait`;
    return [run(scale / 4), `echo "START ${name}"`, run(scale), `echo "END ${name}"`];
  }).join('\n');

async function measure(cpus: number, program: string): Promise<Map<LoadName, number>> {
  const walls = new Map<LoadName, number>();
  let began = 0;
  await runConsole({
    command: tsvisorCommand([
      'run',
      '--memory',
      '256M',
      '--cpus',
      String(cpus),
      '--exec',
      guestScript(),
      '--file',
      `${program}:/bin/bench`,
    ]),
    name: `tsvisor with ${cpus} processors`,
    silence: SILENCE,
    onLine: (line, now) => {
      const [, event, name] = /^(START|END) (.+)$/.exec(line.trim()) ?? [];
      if (event === 'START') began = now().wall;
      else if (event === 'END') walls.set(name as LoadName, now().wall - began);
      return undefined;
    },
  });
  return walls;
}

/** Throughput of two vCPUs on threads of their own beside one: the same work, by two processes at a time. */
export async function smp({ rounds }: SmpOptions, { progress }: CommandContext): Promise<Outcome> {
  const skipped = (why: string): Outcome => ({ text: `SMP: skipped, ${why}`, data: { skipped: why }, ok: true });
  if (availableParallelism() < CPUS) return skipped('the host has one processor');
  if (!hasCompiler(64)) return skipped('gcc does not build static programs here');
  const folder = mkdtempSync(join(tmpdir(), 'tsvisor-smp-'));
  const results = { one: [] as Map<LoadName, number>[], two: [] as Map<LoadName, number>[] };
  try {
    const program = join(folder, 'bench');
    buildWorkloads(program, 64, 'sse');
    const contenders = [
      { name: '1 processor', earlierRuns: EARLIER_RUNS, cpus: 1, into: results.one },
      { name: `${CPUS} processors`, earlierRuns: EARLIER_RUNS, cpus: CPUS, into: results.two },
    ];
    await runEarlier(contenders, progress, ({ cpus }) => measure(cpus, program));
    for (let round = 1; round <= rounds; round++) {
      for (const { name, cpus, into } of contenders) {
        const walls = await measure(cpus, program);
        into.push(walls);
        progress(
          `round ${round}/${rounds}, ${name}: ${[...walls].map(([load, wall]) => `${load} ${seconds(wall)} s`).join(', ')}`,
        );
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const wallOf = (runs: readonly Map<LoadName, number>[], name: LoadName): number =>
    median(
      runs.map((walls) => {
        const wall = walls.get(name);
        if (wall === undefined) throw new BenchError('BENCH_GUEST', `the guest ended before ${name}`);
        return wall;
      }),
    );
  const rows = LOADS.map(({ name, limit }) => {
    const [one, two] = [wallOf(results.one, name), wallOf(results.two, name)];
    const ratio = one / two;
    return { name, one, two, ratio, limit, held: limit === undefined || ratio >= limit };
  });
  const text = [
    `SMP: two processes' work, wall seconds with one vCPU and with ${CPUS} on threads; median of ${rounds}; the same guests ran ${EARLIER_RUNS} times before`,
    `  ${describeHost()}`,
    table(
      ['', '1 vCPU', `${CPUS} vCPUs`, 'throughput', ''],
      rows.map(({ name, one, two, ratio, limit, held }) => [
        name,
        seconds(one),
        seconds(two),
        times(ratio),
        limit === undefined ? '' : `${held ? 'held' : 'NOT HELD'} (at least ${times(limit)})`,
      ]),
    ),
  ].join('\n');
  return { text, data: { rows }, ok: rows.every(({ held }) => held) };
}

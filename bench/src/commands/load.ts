import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { ensurePackages } from '@tsvisor/scripts/debian-packages';
import { workloadNames } from '../bench-lines.ts';
import { tsvisorCommand } from '../contenders/tsvisor.ts';
import { BenchError } from '../errors.ts';
import { buildWorkloads, guestFolder, hasCompiler } from '../guest-program.ts';
import { LineSplitter } from '../lines.ts';
import { table } from '../table.ts';
import { type CommandContext, type Outcome, verdict } from './command.ts';

const MEMORY_MIB = 256;
/** Twice as many stressors need more. */
const SMP_MEMORY_MIB = 512;
const SAMPLE_MS = 5000;
/** Of the first third, in which caches fill, nothing is asked. */
const SETTLED = 1 / 3;
/** How much more resident memory the last third may have than the middle one. */
const GROWTH = 1.05;
/** Share of the workloads' full work in each round. */
const SCALE = 0.2;
/** What Debian's stress-ng tests with `--verify` beside the workloads: arithmetic, memory, locks, processes, pages, files. */
const STRESSORS =
  '--cpu 1 --cpu-method all --vm 1 --vm-bytes 24M --vm-method all --matrix 1 --qsort 1 --hash 1 --crypt 1 --str 1 --vecmath 1 ' +
  '--fork 1 --pipe 1 --futex 1 --mmap 1 --mmap-bytes 16M --switch 1 --sigsegv 1 --hdd 1 --hdd-bytes 8M';

/**
 * What several processors do to one another: locks of all kinds, processes that wait for each other on different ones, page tables that change
 * under all of them, code that one writes and another runs, and what the scheduler moves between them. Not mutex: as root its threads have real-time
 * priority, and Linux's own threads, RCU's above all, get one twentieth of each processor together with all other stressors.
 */
const SMP_STRESSORS = [
  'atomic futex sem pipe fork vm-rw fault mprotect tlb-shootdown icache lockbus membarrier switch yield sigfd eventfd mremap',
  'madvise cache pthread msg',
]
  .flatMap((line) => line.split(' '))
  .map((name) => `--${name} 2`)
  .concat('--vm 2 --vm-bytes 16M --cpu 2 --cpu-method all --mremap-bytes 4M')
  .join(' ');

const BEAT_SECONDS = 10;
const BEATS_PER_REPORT = 6;
/** A guest that has said nothing for so long has stalled. */
const STALL_MS = 120_000;

export type LoadOptions = { readonly minutes: number; readonly cpus: number };

/** `host:guest` pairs of a program and of the libraries that the host's loader would give it. */
function programFiles(program: string, guest: string, env: Readonly<Record<string, string>>): string[] {
  const { stdout, status } = spawnSync('ldd', [program], { encoding: 'utf8', env: { ...process.env, ...env } });
  if (status !== 0) throw new BenchError('BENCH_HOST', `ldd cannot tell the libraries of ${program}`);
  const libraries = [...stdout.matchAll(/(?:=>\s+)?(\/\S+)\s+\(0x/g)].map(([, path]) => path);
  const place = (path: string): string =>
    /ld-linux/.test(path) ? `/lib64/${basename(path)}` : `/lib/x86_64-linux-gnu/${basename(path)}`;
  return [`${program}:${guest}`, ...libraries.map((path) => `${path}:${place(path)}`)];
}

/** What Linux says when something hangs or is wrong. */
const KERNEL_COMPLAINTS = 'BUG|WARNING|stall|lockup|hung|warp|clocksource.*unstable|Oops|segfault|trap';

const guestScript = ({ minutes, cpus }: LoadOptions, workloads: readonly string[]): string =>
  [
    'mkdir -p /tmp',
    'export LD_LIBRARY_PATH=/lib/x86_64-linux-gnu BENCH_TMP=/tmp',
    // Whether all goes on is seen by this, also while the processors are so busy that a round takes long.
    `while sleep ${BEAT_SECONDS}; do echo BEAT; done &`,
    'beat=$!',
    `(stress-ng --verify ${cpus > 1 ? SMP_STRESSORS : STRESSORS} --temp-path /tmp --timeout ${Math.round(minutes * 60)}s --metrics-brief; echo STRESS $?) &`,
    'stress=$!',
    `end=$(($(date +%s) + ${Math.round(minutes * 60)}))`,
    `while [ $(date +%s) -lt $end ]; do BENCH_SCALE=${SCALE} bench ${workloads.join(' ')} || exit 9; echo ROUND; done`,
    'wait $stress',
    'kill $beat',
    `dmesg | grep -E '${KERNEL_COMPLAINTS}' | sed 's/^/KERNEL /'`,
  ].join('\n');

const residentMiB = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1024;

const LAST_LINES = 60;
const lastLines = (path: string): string[] => readFileSync(path, 'utf8').trimEnd().split(/\r?\n/).slice(-LAST_LINES);

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Mixed load in one guest for as long as wanted: workloads in a loop beside stress-ng; checksums, failures and resident memory. */
export async function load(options: LoadOptions, { progress }: CommandContext): Promise<Outcome> {
  if (!hasCompiler(64))
    return { text: 'Load: skipped, gcc does not build static programs here', data: { skipped: 'gcc' }, ok: true };
  const packages = await ensurePackages(['stress-ng']);
  const stress = packages.find('usr/bin/stress-ng');
  if (stress === undefined) return { text: 'Load: skipped, stress-ng cannot be had', data: { skipped: 'stress-ng' }, ok: true };
  const folder = mkdtempSync(join(tmpdir(), 'tsvisor-load-'));
  try {
    const program = join(folder, 'bench');
    buildWorkloads(program, 64, 'sse');
    // These start programs by /proc/self/exe and the guest's own busybox; the rest runs anywhere.
    const workloads = workloadNames(readFileSync(join(guestFolder, 'bench.c'), 'utf8')).filter((name) => name !== 'gzip');
    const files = [...programFiles(stress, '/bin/stress-ng', packages.env), `${program}:/bin/bench`];
    return await run(options, folder, workloads, files, progress);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(
  load: LoadOptions,
  folder: string,
  workloads: readonly string[],
  files: readonly string[],
  progress: (text: string) => void,
): Promise<Outcome> {
  const { minutes, cpus } = load;
  const memoryMiB = cpus > 1 ? SMP_MEMORY_MIB : MEMORY_MIB;
  const consoleFile = join(folder, 'console.log');
  const script = guestScript(load, workloads);
  const options = [
    'run',
    '--memory',
    `${memoryMiB}M`,
    '--cpus',
    String(cpus),
    '--exec',
    script,
    '--serial',
    `file:${consoleFile}`,
    '--timeout',
    String(Math.round(minutes * 60) + 300),
  ];
  const command = tsvisorCommand([...options, ...files.flatMap((file) => ['--file', file])]);
  const child = spawn(command.file, command.args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...command.env },
  });
  const checksums = new Map<string, Set<string>>();
  const failures: string[] = [];
  let rounds = 0;
  let stress: number | undefined;
  let beats = 0;
  let longestGap = 0;
  let lastBeat = performance.now();
  const lines = new LineSplitter((line) => {
    const [, name, , checksum] = /^BENCH (\S+) (\S+) (\S+)/.exec(line) ?? [];
    if (name !== undefined && checksum !== undefined) checksums.set(name, (checksums.get(name) ?? new Set()).add(checksum));
    else if (line === 'ROUND') progress(`${++rounds} rounds, ${residentMiB(child.pid as number).toFixed(0)} MiB resident`);
    else if (line === 'BEAT') {
      const now = performance.now();
      longestGap = Math.max(longestGap, now - lastBeat);
      lastBeat = now;
      if (++beats % BEATS_PER_REPORT === 0)
        progress(
          `${Math.round((beats * BEAT_SECONDS) / 60)} minutes, ${residentMiB(child.pid as number).toFixed(0)} MiB resident`,
        );
    } else if (line.startsWith('STRESS ')) stress = Number(line.slice(7));
    else if (/stress-ng: (?!info|metrc)|not verified|^KERNEL /.test(line)) failures.push(line);
  });
  child.stdout.on('data', (bytes: Uint8Array) => lines.push(bytes));
  const samples: number[] = [];
  const timer = setInterval(() => samples.push(residentMiB(child.pid as number)), SAMPLE_MS);
  const status = await new Promise<number | null>((resolve) => child.on('exit', resolve));
  clearInterval(timer);
  for (const [name, seen] of checksums) if (seen.size > 1) failures.push(`${name} has ${seen.size} checksums`);
  if (status !== 0) failures.push(`the guest ended with status ${status}; its last words:`, ...lastLines(consoleFile));
  if (longestGap > STALL_MS) failures.push(`the guest said nothing for ${Math.round(longestGap / 1000)} s`);
  if (stress !== 0) failures.push(`stress-ng ended with ${stress ?? 'nothing'}`);

  const settled = samples.slice(Math.floor(samples.length * SETTLED));
  const half = Math.floor(settled.length / 2);
  const [middle, last] = [mean(settled.slice(0, half)), mean(settled.slice(half))];
  const flat = last <= middle * GROWTH;
  const mib = (value: number): string => `${value.toFixed(0)} MiB`;
  const text = [
    `Mixed load: ${minutes} minutes, ${cpus} processors, ${rounds} rounds of ${workloads.length} workloads beside stress-ng, ${memoryMiB} MiB`,
    table(
      ['resident memory', ''],
      [
        ['middle third', mib(middle)],
        ['last third', mib(last)],
        ['peak', mib(Math.max(...samples))],
        ['longest silence', `${(longestGap / 1000).toFixed(0)} s`],
      ],
    ),
    ...failures,
    `no failure: ${verdict('0', failures.length === 0)}`,
    `resident memory ${(last / middle).toFixed(3)}×; ${verdict(`${GROWTH}×`, flat)}`,
  ].join('\n');
  return { text, data: { minutes, rounds, samples, failures, status, stress }, ok: failures.length === 0 && flat };
}

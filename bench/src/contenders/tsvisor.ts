import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from '../console-run.ts';
import { BenchError } from '../errors.ts';
import { FIRST_RUN, OURS } from '../figures.ts';
import { type Contender, guestParameters, type Job } from './contender.ts';

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const entry = join(root, 'apps', 'runner', 'dist', 'main.js');
/** Compiled code of guests that ran here before. */
const CODE = join(root, '.cache', 'bench-code');
/** Runs before those that are measured: what is hot in the first or warm in the first two, the third one has. */
export const EARLIER_RUNS = 3;

/** Builds the command as it is published. */
export function buildCommand(): void {
  const turbo = join(root, 'node_modules', 'turbo', 'bin', 'turbo');
  const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', TURBO_NO_UPDATE_NOTIFIER: '1' };
  const args = [turbo, 'run', 'build', '--filter=@tsvisor/runner', '--output-logs=errors-only'];
  const { status } = spawnSync(process.execPath, args, { cwd: root, env, stdio: ['ignore', 2, 2] });
  if (status !== 0 || !existsSync(entry)) throw new BenchError('BENCH_HOST', 'the tsvisor command cannot be built here');
}

/** The `tsvisor` command as it is published, with this Node and V8's cache of compiled code. `codeFolder`: of the guest's. */
export const tsvisorCommand = ([command, ...args]: readonly string[], codeFolder = CODE): Command => ({
  file: process.execPath,
  args: [entry, command, '--code-cache', codeFolder, ...args],
  env: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(root, '.cache', 'compile') },
});

const runArguments = (job: Job): string[] => [
  'run',
  ...['--kernel', job.kernel, '--initrd', job.initramfs],
  ...['--tier', job.tier ?? 'auto'],
  ...['--memory', `${job.memoryMiB}M`, '--append', guestParameters(job)],
];

const version = `Node ${process.versions.node} (V8 ${process.versions.v8})`;

/** A guest that ran before. */
export const tsvisor: Contender = {
  name: OURS,
  describe: () => `${OURS}, ${version}; the same guest ran ${EARLIER_RUNS} times before`,
  missing: () => undefined,
  earlierRuns: EARLIER_RUNS,
  command: (job) => tsvisorCommand(runArguments(job)),
};

/** A guest that never ran before. */
export const tsvisorFirst: Contender = {
  name: FIRST_RUN,
  describe: () => `${FIRST_RUN}: no compiled code of earlier runs`,
  missing: () => undefined,
  command: (job) => tsvisorCommand(runArguments(job), 'none'),
};

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from '../console-run.ts';
import { type Contender, guestParameters } from './contender.ts';

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const entry = join(root, 'apps', 'runner', 'src', 'main.ts');

/** The `tsvisor` command as `npm start` runs it: this Node, the sources, V8's cache of compiled code. */
export const tsvisorCommand = (args: readonly string[]): Command => ({
  file: process.execPath,
  args: ['--conditions=tsvisor-source', entry, ...args],
  env: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(root, '.cache', 'compile') },
});

export const tsvisor: Contender = {
  name: 'tsvisor',
  describe: () => `tsvisor, Node ${process.versions.node} (V8 ${process.versions.v8})`,
  missing: () => (existsSync(entry) ? undefined : `there is no ${entry}`),
  command: (job) =>
    tsvisorCommand([
      'run',
      ...['--kernel', job.kernel, '--initrd', job.initramfs],
      ...['--tier', job.tier ?? 'auto'],
      ...['--memory', `${job.memoryMiB}M`, '--append', guestParameters(job)],
    ]),
};

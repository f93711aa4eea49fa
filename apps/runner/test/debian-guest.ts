/** The command run on Debian's real kernels, and what the tests of it look at. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cacheFolder, type DebianFiles, readCache } from '../src/debian/cache.ts';
import { debianFiles } from '../src/debian/fetch.ts';
import type { DebianArch } from '../src/options.ts';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

/** `tsvisor run` with the arguments, ended after `timeout` ms. */
export function tsvisor(args: readonly string[], timeout: number, input = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--conditions=tsvisor-source', main, 'run', ...args], {
    encoding: 'utf8',
    input,
    timeout,
  });
  return { status, stdout, stderr };
}

/** What a start of the command would use; or why there is nothing to use. */
export async function debian(arch: DebianArch): Promise<DebianFiles | string> {
  const cacheRoot = cacheFolder();
  const progress = (text: string): unknown => text !== '' && process.stderr.write(`boot tests: ${text}\n`);
  try {
    return readCache(cacheRoot, arch) ?? (await debianFiles({ arch, cacheRoot, progress }));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A test's title: with the reason, where it is skipped. */
export const title = (text: string, files: DebianFiles | string): string =>
  typeof files === 'string' ? `${text} (skipped: ${files})` : text;

/** What no boot may report. */
export const COMPLAINTS =
  /WARNING|BUG|\b[Oo]ops\b|unchecked MSR|[Ss]purious|lockup|[Rr][Cc][Uu].*stall|Call Trace|warp|clocksource.*unstable/;

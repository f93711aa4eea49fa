import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type CpioEntry, openKernel, readCpio } from '@tsvisor/boot';
import { runConsole } from './console-run.ts';
import { tsvisorCommand } from './contenders/tsvisor.ts';
import { BenchError } from './errors.ts';

/** Debian's amd64 kernel and busybox, as the runner fetched them. */
export type DebianGuest = {
  /** Path of the runner's kernel file. */
  readonly kernel: string;
  /** Path of the runner's initramfs, without an init. */
  readonly initramfs: string;
  readonly version: string;
};

const FETCH_SILENCE = 600;
const FOLDER = /^debian-amd64-(\d+)$/;

/** The newest form of the cache that is complete; the runner writes `version` last. */
export function newestCache(names: readonly string[]): string | undefined {
  const numbered = names.filter((name) => FOLDER.test(name));
  return numbered.sort((a, b) => Number(FOLDER.exec(b)?.[1]) - Number(FOLDER.exec(a)?.[1]))[0];
}

function cached(): DebianGuest | undefined {
  const base = process.env.XDG_CACHE_HOME?.startsWith('/') ? process.env.XDG_CACHE_HOME : join(homedir(), '.cache');
  const root = join(base, 'tsvisor');
  const complete = existsSync(root) ? readdirSync(root).filter((name) => existsSync(join(root, name, 'version'))) : [];
  const name = newestCache(complete);
  if (name === undefined) return undefined;
  const at = (file: string): string => join(root, name, file);
  return { kernel: at('kernel'), initramfs: at('initramfs.cpio'), version: readFileSync(at('version'), 'utf8').trim() };
}

/**
 * The runner's kernel and busybox. If there are none, the runner is started once, for a moment: it fetches them before it makes a
 * machine.
 * @throws BenchError BENCH_HOST
 */
export async function debianGuest(progress: (text: string) => void): Promise<DebianGuest> {
  const present = cached();
  if (present !== undefined) return present;
  progress("letting the runner fetch Debian's kernel");
  const command = tsvisorCommand(['run', '--serial', 'null', '--timeout', '0.1']);
  const failure = await runConsole({ command, name: 'tsvisor', onLine: () => undefined, silence: FETCH_SILENCE }).catch(
    (error: unknown) => error,
  );
  const fetched = cached();
  if (fetched === undefined) throw new BenchError('BENCH_HOST', `there is no kernel to boot: ${String(failure)}`);
  return fetched;
}

/** The kernel as a plain ELF file. */
export const readVmlinux = async (guest: DebianGuest): Promise<Uint8Array> =>
  (await openKernel(readFileSync(guest.kernel))).elfBytes;

/** The busybox program in the runner's initramfs. */
export function readBusybox(guest: DebianGuest): Uint8Array {
  const isBusybox = (entry: CpioEntry): entry is CpioEntry & { type: 'file' } =>
    entry.type === 'file' && entry.path === 'bin/busybox';
  const data = readCpio(readFileSync(guest.initramfs)).find(isBusybox)?.data;
  if (!(data instanceof Uint8Array)) throw new BenchError('BENCH_HOST', `${guest.initramfs} holds no busybox`);
  return data;
}

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type CpioEntry, openKernel, readCpio } from '@tsvisor/boot';
import { runConsole } from './console-run.ts';
import type { Bits } from './contenders/contender.ts';
import { tsvisorCommand } from './contenders/tsvisor.ts';
import { directKernel } from './direct-kernel.ts';
import { BenchError } from './errors.ts';

/** Debian's kernel and busybox, as the runner fetched them. */
export type DebianGuest = {
  /** Path of the runner's kernel file. */
  readonly kernel: string;
  /** Path of the runner's initramfs, without an init. */
  readonly initramfs: string;
  readonly version: string;
};

type DebianArch = 'amd64' | 'i386';

const FETCH_SILENCE = 600;

/** The newest form of the cache that is complete; the runner writes `version` last. */
export function newestCache(names: readonly string[], arch: DebianArch): string | undefined {
  const form = (name: string): number => (name.startsWith(`debian-${arch}-`) ? Number(name.split('-')[2]) : Number.NaN);
  return names.filter((name) => Number.isInteger(form(name))).sort((a, b) => form(b) - form(a))[0];
}

function cached(arch: DebianArch): DebianGuest | undefined {
  const base = process.env.XDG_CACHE_HOME?.startsWith('/') ? process.env.XDG_CACHE_HOME : join(homedir(), '.cache');
  const root = join(base, 'tsvisor');
  const complete = existsSync(root) ? readdirSync(root).filter((name) => existsSync(join(root, name, 'version'))) : [];
  const name = newestCache(complete, arch);
  if (name === undefined) return undefined;
  const at = (file: string): string => join(root, name, file);
  return { kernel: at('kernel'), initramfs: at('initramfs.cpio'), version: readFileSync(at('version'), 'utf8').trim() };
}

/**
 * The runner's kernel and busybox. If there are none, the runner is started once, for a moment: it fetches them before it makes a
 * machine.
 * @throws BenchError BENCH_HOST
 */
export async function debianGuest(bits: Bits, progress: (text: string) => void): Promise<DebianGuest> {
  const arch = bits === 64 ? 'amd64' : 'i386';
  const present = cached(arch);
  if (present !== undefined) return present;
  progress(`letting the runner fetch Debian's ${arch} kernel`);
  const command = tsvisorCommand(['run', '--debian', arch, '--serial', 'null', '--timeout', '0.1']);
  const failure = await runConsole({ command, name: 'tsvisor', onLine: () => undefined, silence: FETCH_SILENCE }).catch(
    (error: unknown) => error,
  );
  const fetched = cached(arch);
  if (fetched === undefined) throw new BenchError('BENCH_HOST', `there is no kernel to boot: ${String(failure)}`);
  return fetched;
}

/** The kernel as other emulators load it without unpacking it: plain ELF, or where that has no PVH entry, a bzImage. */
export async function readUnpacked(guest: DebianGuest): Promise<Uint8Array> {
  const bytes = readFileSync(guest.kernel);
  const { elf, elfBytes } = await openKernel(bytes);
  return elf.width === 64 ? elfBytes : directKernel(bytes);
}

/** The busybox program in the runner's initramfs. */
export function readBusybox(guest: DebianGuest): Uint8Array {
  const isBusybox = (entry: CpioEntry): entry is CpioEntry & { type: 'file' } =>
    entry.type === 'file' && entry.path === 'bin/busybox';
  const data = readCpio(readFileSync(guest.initramfs)).find(isBusybox)?.data;
  if (!(data instanceof Uint8Array)) throw new BenchError('BENCH_HOST', `${guest.initramfs} holds no busybox`);
  return data;
}

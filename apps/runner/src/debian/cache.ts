import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileError } from '../errors.ts';
import type { DebianArch } from '../options.ts';

/** Raised when what lies in the cache changes its form: older folders are then left alone and not read. */
const FORMAT = 1;
/** A folder of a process that died is removed after this time. */
const STALE_MS = 6 * 3600 * 1000;

export type DebianFiles = {
  /** A bzImage with its payload unpacked. */
  readonly kernel: Uint8Array;
  /** The unchanging part of the initramfs. */
  readonly initramfs: Uint8Array;
  /** Version of the kernel package. */
  readonly version: string;
};

/** ${XDG_CACHE_HOME:-~/.cache}/tsvisor (XDG Base Directory Specification: a relative value is ignored). */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_CACHE_HOME;
  return join(base?.startsWith('/') ? base : join(homedir(), '.cache'), 'tsvisor');
}

const folderOf = (root: string, arch: DebianArch): string => join(root, `debian-${arch}-${FORMAT}`);

/** What an earlier start left, or undefined. A folder is complete or does not exist: it appears by a rename. */
export function readCache(root: string, arch: DebianArch): DebianFiles | undefined {
  const folder = folderOf(root, arch);
  if (!existsSync(join(folder, 'version'))) return undefined;
  try {
    return {
      kernel: readFileSync(join(folder, 'kernel')),
      initramfs: readFileSync(join(folder, 'initramfs.cpio')),
      version: readFileSync(join(folder, 'version'), 'utf8').trim(),
    };
  } catch (error) {
    throw fileError(`cannot read the cache folder ${folder}`, error);
  }
}

export function writeCache(root: string, arch: DebianArch, files: DebianFiles): void {
  const folder = folderOf(root, arch);
  const temporary = join(root, `tmp-${process.pid}-${Date.now()}-cache`);
  try {
    mkdirSync(temporary, { recursive: true });
    writeFileSync(join(temporary, 'kernel'), files.kernel);
    writeFileSync(join(temporary, 'initramfs.cpio'), files.initramfs);
    writeFileSync(join(temporary, 'version'), `${files.version}\n`);
    try {
      renameSync(temporary, folder);
    } catch (error) {
      // Another process was faster: its folder is as good.
      if (!existsSync(join(folder, 'version'))) throw error;
    }
  } catch (error) {
    throw fileError(`cannot write the cache folder ${folder}`, error);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** A folder for this process alone; also removes what dead processes left. */
export function workFolder(root: string): string {
  try {
    mkdirSync(root, { recursive: true });
    for (const name of readdirSync(root).filter((entry) => entry.startsWith('tmp-'))) {
      const stat = statSync(join(root, name), { throwIfNoEntry: false });
      if (stat !== undefined && Date.now() - stat.mtimeMs > STALE_MS) rmSync(join(root, name), { recursive: true, force: true });
    }
    const folder = join(root, `tmp-${process.pid}-${Date.now()}`);
    mkdirSync(folder);
    return folder;
  } catch (error) {
    throw fileError(`cannot write the cache folder ${root}`, error);
  }
}

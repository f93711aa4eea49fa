import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { isMultiboot, kernelWidth } from '@tsvisor/boot';
import { cacheFolder, type DebianFiles, readCache } from './debian/cache.ts';
import { fileError, RunnerError } from './errors.ts';
import { makeToken } from './guest/channel.ts';
import { joinArchives, overlayArchive } from './guest/overlay.ts';
import type { DebianArch, RunOptions } from './options.ts';
import type { BootConfig } from './ports.ts';

/** What a machine is started with, and what the session must know about it. */
export type Prepared = {
  readonly boot: BootConfig;
  /** What the second UART's marks carry. */
  readonly token: string;
  /** The guest runs our init: it says when it is ready for input, and the end of input ends its shell. */
  readonly ourInit: boolean;
};

export type PrepareConfig = {
  readonly options: RunOptions;
  readonly terminal: { readonly rows: number; readonly columns: number; readonly term: string };
  readonly progress: (text: string) => void;
  readonly cacheRoot?: string;
};

/**
 * Gathers kernel, initramfs and command line.
 * @throws RunnerError, BootError
 */
export async function prepare(config: PrepareConfig): Promise<Prepared> {
  const { options } = config;
  if (options.bios !== undefined)
    return { boot: { firmware: readInput('the firmware', options.bios) }, token: makeToken(), ourInit: false };
  const ownKernel = options.kernel === undefined ? undefined : readInput('the kernel', options.kernel);
  const ownInitrd =
    options.initrd === undefined || options.initrd === 'none' ? undefined : readInput('the initrd', options.initrd);
  // A file that is no kernel is refused before anything is fetched for it.
  const width = ownKernel === undefined ? undefined : kernelWidth(ownKernel);
  if (ownKernel !== undefined && isMultiboot(ownKernel)) return prepareMultiboot(options, ownKernel, ownInitrd);
  const arch = options.debian ?? (width === 32 ? 'i386' : 'amd64');
  const needDebian = ownKernel === undefined || options.initrd === undefined;
  const debian = needDebian ? await debianFiles(arch, config) : undefined;
  const token = makeToken();
  const ourInit = options.initrd === undefined;
  const initrd = options.initrd === 'none' ? undefined : initramfs(config, token, ownInitrd ?? debian?.initramfs, ourInit);
  return {
    boot: {
      kernel: ownKernel ?? debian?.kernel ?? new Uint8Array(0),
      ...(initrd === undefined ? {} : { initrd }),
      cmdline: commandLine(options, ourInit),
    },
    token,
    ourInit: ourInit || options.exec !== undefined,
  };
}

/** Such a kernel gets nothing that it was not given: no initramfs of ours, and a command line that begins with its name. */
function prepareMultiboot(options: RunOptions, kernel: Uint8Array, initrd: Uint8Array | undefined): Prepared {
  for (const [option, given] of [
    ['--exec', options.exec !== undefined],
    ['--file', options.files.length > 0],
    ['--debian', options.debian !== undefined],
  ] as const)
    if (given) throw new RunnerError('RUNNER_USAGE', `${option} needs a Linux kernel, and this is a Multiboot one`);
  return {
    boot: {
      kernel,
      ...(initrd === undefined ? {} : { initrd }),
      cmdline: `${basename(options.kernel ?? '')} ${options.append.trim()}`.trim(),
    },
    token: makeToken(),
    ourInit: false,
  };
}

function readInput(what: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw fileError(`cannot read ${what} ${path}`, error);
  }
}

/** A start with a warm cache loads none of the code that fetches. */
async function debianFiles(arch: DebianArch, config: PrepareConfig): Promise<DebianFiles> {
  const cacheRoot = config.cacheRoot ?? cacheFolder();
  const cached = readCache(cacheRoot, arch);
  if (cached !== undefined) return cached;
  const fetch = await import('./debian/fetch.ts');
  return fetch.debianFiles({ arch, cacheRoot, progress: config.progress });
}

function initramfs(config: PrepareConfig, token: string, base: Uint8Array | undefined, ourInit: boolean): Uint8Array | undefined {
  const { options, terminal } = config;
  // An initramfs of the user's that is to be booted as it is, stays as it is.
  if (!ourInit && options.exec === undefined && options.files.length === 0) return base;
  const overlay = overlayArchive({
    token,
    terminal,
    files: options.files,
    replaceInit: ourInit,
    ...(options.exec === undefined ? {} : { command: options.exec }),
  });
  return base === undefined ? overlay : joinArchives(base, overlay);
}

/** As a QEMU user would write it by hand; what `--append` adds comes last, because the kernel takes the last of two. */
function commandLine(options: RunOptions, ourInit: boolean): string {
  const words = ['console=ttyS0'];
  // A panic must end the run, not stop it: nobody watches.
  if (options.exec !== undefined) words.push('quiet', 'panic=-1');
  if (options.exec !== undefined && !ourInit) words.push('rdinit=/.tsvisor/init');
  if (options.append.trim() !== '') words.push(options.append.trim());
  return words.join(' ');
}

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expandKernel } from '@tsvisor/boot';
import { oneLine, RunnerError } from '../errors.ts';
import { baseInitramfs } from '../guest/busybox.ts';
import type { DebianArch } from '../options.ts';
import { PrivateApt, type RunCommand, runCommand } from './apt.ts';
import { type DebianFiles, readCache, workFolder, writeCache } from './cache.ts';

/** Debian's metapackages: the newest kernel for virtual machines, the one for any 32-bit processor, and that for those with PAE. */
const METAPACKAGE: Readonly<Record<DebianArch, string>> = {
  amd64: 'linux-image-cloud-amd64',
  i386: 'linux-image-686',
  'i386-pae': 'linux-image-686-pae',
};

export type FetchConfig = {
  readonly arch: DebianArch;
  readonly cacheRoot: string;
  /** Told what is being done; an empty text means done. */
  readonly progress: (text: string) => void;
  readonly run?: RunCommand;
};

/**
 * Debian's kernel and busybox, from the cache or, the first time, from the host's package sources.
 * @throws RunnerError RUNNER_NO_APT, RUNNER_FETCH, RUNNER_FILE
 */
export async function debianFiles(config: FetchConfig): Promise<DebianFiles> {
  const cached = readCache(config.cacheRoot, config.arch);
  if (cached !== undefined) return cached;
  const folder = workFolder(config.cacheRoot);
  try {
    const files = await fetchAndUnpack(config, folder);
    writeCache(config.cacheRoot, config.arch, files);
    return files;
  } finally {
    config.progress('');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function fetchAndUnpack(config: FetchConfig, folder: string): Promise<DebianFiles> {
  const { arch, progress, run = runCommand } = config;
  const apt = new PrivateApt(folder, arch, run);
  const metapackage = METAPACKAGE[arch];
  progress(`fetching Debian's package index (${arch})`);
  const kernelDeb = await apt.fetch(`${metapackage} (Debian's kernel)`, async () => {
    const names = await kernelPackages(apt, metapackage);
    if (names.length > 0) progress(`fetching ${names[0]}`);
    return names;
  });
  progress('fetching busybox-static');
  const busyboxDeb = await apt.fetch('busybox-static', async () =>
    (await apt.show('busybox-static')).length > 0 ? ['busybox-static'] : [],
  );
  progress(`unpacking ${basename(kernelDeb)}`);
  const root = join(folder, 'root');
  mkdirSync(root);
  await unpack(run, kernelDeb, root, './boot');
  await unpack(run, busyboxDeb, root, './bin', './usr/bin');
  const boot = join(root, 'boot');
  const image = readdirSync(boot).find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new RunnerError('RUNNER_FETCH', `${basename(kernelDeb)} holds no kernel`);
  const busybox = ['bin/busybox', 'usr/bin/busybox']
    .map((path) => join(root, path))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
  if (busybox === undefined) throw new RunnerError('RUNNER_FETCH', `${basename(busyboxDeb)} holds no busybox`);
  return {
    kernel: await expandKernel(readFileSync(join(boot, image))),
    initramfs: baseInitramfs(readFileSync(busybox)),
    version: image.slice('vmlinuz-'.length),
  };
}

/** The kernels that a metapackage's versions depend on, newest first, as far as the index has them. */
async function kernelPackages(apt: PrivateApt, metapackage: string): Promise<string[]> {
  const dependencies = (await apt.show(metapackage)).map(
    (record) => /\blinux-image-\d[\w.+~-]*/.exec(record.get('Depends') ?? '')?.[0],
  );
  const names = [...new Set(dependencies.filter((name) => name !== undefined))];
  const known = await Promise.all(names.map((name) => apt.show(name)));
  return names.filter((_, i) => known[i].length > 0);
}

/** Unpacks some folders of a .deb. A folder that it does not have is no error; that a needed file is absent shows afterwards. */
async function unpack(run: RunCommand, deb: string, root: string, ...folders: string[]): Promise<void> {
  const script = 'deb=$1; root=$2; shift 2; dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner --wildcards "$@"';
  const result = await run('sh', ['-c', script, 'sh', deb, root, ...folders.map((folder) => `${folder}/*`)]);
  if (result.status !== 0 && !/Not found in archive/.test(result.stderr))
    throw new RunnerError('RUNNER_FETCH', `cannot unpack ${basename(deb)}: ${oneLine(result.stderr)}`);
}

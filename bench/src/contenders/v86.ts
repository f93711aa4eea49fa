import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from '@tsvisor/scripts/debian-packages';
import { BenchError } from '../errors.ts';
import { CONSOLE, type Contender, guestParameters } from './contender.ts';

const driver = join(dirname(fileURLToPath(import.meta.url)), 'v86-main.ts');

/** The package's folder, whose exported file is build/libv86.mjs. */
function packageFolder(): string | undefined {
  try {
    return dirname(dirname(fileURLToPath(import.meta.resolve('v86'))));
  } catch {
    return undefined;
  }
}

function version(): string {
  const text = readFileSync(join(packageFolder() ?? '', 'package.json'), 'utf8');
  return /"version": *"([^"]+)"/.exec(text)?.[1] ?? '?';
}

/** The package brings no firmware. Without one that starts the option ROM of its kernel loader, it boots nothing. */
let firmware: { readonly bios: string; readonly vga: string } | undefined;

/** v86 in a Node process of its own, driven by v86-main.ts. It has no long mode: 32-bit guests only. */
export const v86: Contender = {
  name: 'v86',
  prepare: async () => {
    const { find } = await ensurePackages(['seabios']);
    const [bios, vga] = ['bios.bin', 'vgabios-stdvga.bin'].map((name) => find(`usr/share/seabios/${name}`));
    if (bios !== undefined && vga !== undefined) firmware = { bios, vga };
  },
  describe: () => `v86 ${version()}, Node ${process.versions.node}`,
  missing: () =>
    packageFolder() === undefined
      ? 'v86 is not installed (npm: v86)'
      : firmware === undefined
        ? 'v86 is left out: there is no firmware for it (Debian: seabios)'
        : undefined,
  command: (job) => {
    if (firmware === undefined) throw new BenchError('BENCH_HOST', 'there is no firmware for v86');
    return {
      file: process.execPath,
      args: [
        ...[driver, '--bios', firmware.bios, '--vga-bios', firmware.vga, '--memory', String(job.memoryMiB)],
        ...['--kernel', job.unpacked, '--initrd', job.initramfs, '--append', `${CONSOLE} ${guestParameters(job)}`],
      ],
    };
  },
};

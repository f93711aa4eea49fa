import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bits, Job } from './contenders/contender.ts';
import { debianGuest, readBusybox, readUnpacked } from './guest-kernel.ts';
import { buildWorkloads, guestFolder, hasCompiler } from './guest-program.ts';
import { benchInitramfs } from './initramfs.ts';

/** Guest RAM of every measurement, the same for all contenders. */
export const MEMORY_MIB = 256;

/** The files of a measurement, in a folder of their own. */
export type Workspace = {
  /** A job without workloads: boot and power off. */
  readonly job: Job;
  readonly kernelVersion: string;
  readonly folder: string;
  /** Removes the folder. */
  readonly dispose: () => void;
};

/**
 * Makes the files that contenders run.
 * @param wanted `workloads`: builds the program where the host has a compiler
 * @throws BenchError BENCH_HOST
 */
export async function openWorkspace(
  bits: Bits,
  wanted: 'boot' | 'workloads',
  progress: (text: string) => void,
): Promise<Workspace> {
  const guest = await debianGuest(bits, progress);
  const folder = mkdtempSync(join(tmpdir(), 'tsvisor-bench-'));
  const dispose = (): void => rmSync(folder, { recursive: true, force: true });
  process.on('exit', dispose);
  const put = (name: string, bytes: Uint8Array): string => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  const busybox = readBusybox(guest);
  const withWorkloads = wanted === 'workloads' && hasCompiler(bits);
  const [bench, bench387] = [join(folder, 'bench'), join(folder, 'bench387')];
  if (withWorkloads) {
    progress(`building the workloads (${bits} bits)`);
    buildWorkloads(bench, bits, 'sse');
    buildWorkloads(bench387, bits, 'x87');
  }
  const hostBusybox = put('busybox', busybox);
  chmodSync(hostBusybox, 0o755);
  const init = readFileSync(join(guestFolder, 'init'));
  const initramfs = benchInitramfs({
    init,
    busybox,
    ...(withWorkloads ? { programs: { bench: readFileSync(bench), bench387: readFileSync(bench387) } } : {}),
  });
  return {
    job: {
      kernel: guest.kernel,
      unpacked: put('unpacked-kernel', await readUnpacked(guest)),
      initramfs: put('initramfs.cpio', initramfs),
      memoryMiB: MEMORY_MIB,
      workloads: [],
      scale: 1,
      ...(withWorkloads ? { host: { bench, bench387, busybox: hostBusybox, files: join(folder, 'files') } } : {}),
    },
    kernelVersion: guest.version,
    folder,
    dispose,
  };
}

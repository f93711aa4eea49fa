import { spawnSync } from 'node:child_process';
import { CONSOLE, type Contender, guestParameters } from './contender.ts';

const PROGRAM = 'qemu-system-x86_64';

const version = (): string | undefined => {
  const { status, stdout } = spawnSync(PROGRAM, ['--version'], { encoding: 'utf8' });
  return status === 0 ? /version ([\d.]+)/.exec(stdout)?.[1] : undefined;
};

/**
 * QEMU's translator with its usual PC, without a display and a network card. It enters the unpacked kernel by PVH, so that neither
 * contender spends time on the kernel's own decompressor.
 */
export const qemu: Contender = {
  name: 'QEMU TCG',
  describe: () => `QEMU ${version() ?? '?'} TCG`,
  missing: () => (version() === undefined ? `${PROGRAM} is not installed (Debian: qemu-system-x86)` : undefined),
  command: (job) => ({
    file: PROGRAM,
    args: [
      ...['-accel', 'tcg', '-smp', '1', '-m', String(job.memoryMiB), '-display', 'none', '-vga', 'none', '-nic', 'none'],
      ...['-no-reboot', '-monitor', 'none', '-serial', 'stdio'],
      ...['-kernel', job.vmlinux, '-initrd', job.initramfs, '-append', `${CONSOLE} ${guestParameters(job)}`],
    ],
  }),
};

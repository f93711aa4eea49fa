import { spawnSync } from 'node:child_process';
import { type Bits, CONSOLE, type Contender, guestParameters } from './contender.ts';

const PROGRAM: Readonly<Record<Bits, string>> = { 64: 'qemu-system-x86_64', 32: 'qemu-system-i386' };

const version = (program: string): string | undefined => {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return status === 0 ? /version ([\d.]+)/.exec(stdout)?.[1] : undefined;
};

/**
 * QEMU's translator with its usual PC, without a display and a network card. It enters the unpacked kernel, so that no contender
 * spends time on the kernel's own decompressor.
 */
export const qemuOf = (bits: Bits): Contender => ({
  name: 'QEMU TCG',
  describe: () => `QEMU ${version(PROGRAM[bits]) ?? '?'} TCG (${PROGRAM[bits]})`,
  missing: () =>
    version(PROGRAM[bits]) === undefined ? `${PROGRAM[bits]} is not installed (Debian: qemu-system-x86)` : undefined,
  command: (job) => ({
    file: PROGRAM[bits],
    args: [
      ...['-accel', 'tcg', '-smp', '1', '-m', String(job.memoryMiB), '-display', 'none', '-vga', 'none', '-nic', 'none'],
      ...['-no-reboot', '-monitor', 'none', '-serial', 'stdio'],
      ...['-kernel', job.unpacked, '-initrd', job.initramfs, '-append', `${CONSOLE} ${guestParameters(job)}`],
    ],
  }),
});

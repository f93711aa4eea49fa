import { BenchError } from '../errors.ts';
import { hasCompiler, X87_WORKLOADS } from '../guest-program.ts';
import type { Bits, Contender } from './contender.ts';

/** The workloads on the bare processor: the reference for checksums, and the limit of what is possible. */
export const nativeOf = (bits: Bits): Contender => ({
  name: 'native',
  describe: () => 'native: the same program on the host',
  missing: () =>
    process.arch !== 'x64'
      ? `the host's processor is ${process.arch}`
      : hasCompiler(bits)
        ? undefined
        : `gcc cannot build static ${bits}-bit programs here (Debian: ${bits === 64 ? 'gcc and libc6-dev' : 'gcc-multilib'})`,
  command: ({ host, workloads, scale }) => {
    if (host === undefined) throw new BenchError('BENCH_HOST', 'the workloads have not been built');
    // As the guest's init runs them: one program after the other.
    const programs = [
      [host.bench, ...workloads],
      [host.bench387, ...workloads.filter((name) => X87_WORKLOADS.includes(name))],
    ].filter((words) => words.length > 1);
    return {
      file: '/bin/sh',
      args: ['-ec', programs.map((words) => words.map((word) => `'${word}'`).join(' ')).join('\n')],
      env: { BENCH_SCALE: String(scale), BENCH_BUSYBOX: host.busybox, BENCH_TMP: host.files },
    };
  },
});

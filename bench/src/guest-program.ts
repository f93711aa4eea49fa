import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bits } from './contenders/contender.ts';
import { BenchError } from './errors.ts';

/** Sources of the guest's side. */
export const guestFolder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'guest');

/** Workloads that guest/init runs a second time from a program whose arithmetic is the x87's; their names then end in `_x87`. */
export const X87_WORKLOADS: readonly string[] = ['matmul', 'mandel'];

export type Arithmetic = 'sse' | 'x87';

const CFLAGS = ['-O2', '-static', '-s', '-Wall', '-Wno-unused-result'];
const FLAGS: Readonly<Record<Bits, Readonly<Record<Arithmetic, readonly string[]>>>> = {
  64: {
    sse: [],
    // Vectors would be SSE's again.
    x87: ['-mfpmath=387', '-fno-tree-vectorize'],
  },
  32: {
    sse: ['-m32', '-march=pentium4', '-mfpmath=sse'],
    x87: ['-m32', '-march=i686', '-mno-sse', '-mfpmath=387'],
  },
};

/** Whether gcc builds static programs of this width: a compiler alone does not, it needs the C library of that width, too. */
export const hasCompiler = (bits: Bits): boolean =>
  spawnSync('gcc', [...CFLAGS, ...FLAGS[bits].sse, '-x', 'c', '-o', '/dev/null', '-'], {
    input: '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n',
    stdio: ['pipe', 'ignore', 'ignore'],
  }).status === 0;

/** The names under which the programs report these workloads, in their order. */
export const reportedNames = (workloads: readonly string[]): string[] => [
  ...workloads,
  ...workloads.filter((name) => X87_WORKLOADS.includes(name)).map((name) => `${name}_x87`),
];

/**
 * Builds the workloads: static, because the same file runs on the host and in guests without a C library.
 * @param arithmetic of floating-point numbers
 * @throws BenchError BENCH_HOST with the compiler's first words
 */
export function buildWorkloads(output: string, bits: Bits, arithmetic: Arithmetic): void {
  const flags = [...CFLAGS, ...FLAGS[bits][arithmetic], ...(arithmetic === 'x87' ? ['-DSUFFIX="_x87"'] : [])];
  const result = spawnSync('gcc', [...flags, '-o', output, join(guestFolder, 'bench.c')], { encoding: 'utf8' });
  if (result.status === 0) return;
  const words = (result.error?.message ?? result.stderr).trim().split('\n').slice(0, 3).join('; ');
  throw new BenchError('BENCH_HOST', `cannot build the workloads: ${words}`);
}

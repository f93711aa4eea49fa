import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BenchError } from './errors.ts';

/** Sources of the guest's side. */
export const guestFolder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'guest');

/** Workloads that guest/init runs a second time from a program whose arithmetic is the x87's; their names then end in `_x87`. */
export const X87_WORKLOADS: readonly string[] = ['matmul', 'mandel'];

const CFLAGS = ['-O2', '-static', '-s', '-Wall', '-Wno-unused-result'];
/** Vectors would be SSE's again. */
const X87_CFLAGS = ['-mfpmath=387', '-fno-tree-vectorize', '-DSUFFIX="_x87"'];

export const hasCompiler = (): boolean => spawnSync('gcc', ['--version'], { stdio: 'ignore' }).status === 0;

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
export function buildWorkloads(output: string, arithmetic: 'sse' | 'x87'): void {
  const flags = arithmetic === 'x87' ? [...CFLAGS, ...X87_CFLAGS] : CFLAGS;
  const result = spawnSync('gcc', [...flags, '-o', output, join(guestFolder, 'bench.c')], { encoding: 'utf8' });
  if (result.status === 0) return;
  const words = (result.error?.message ?? result.stderr).trim().split('\n').slice(0, 3).join('; ');
  throw new BenchError('BENCH_HOST', `cannot build the workloads: ${words}`);
}

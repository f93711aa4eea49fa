import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BenchError } from './errors.ts';

/** Sources of the guest's side. */
export const guestFolder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'guest');

const CFLAGS = ['-O2', '-static', '-s', '-Wall', '-Wno-unused-result'];

export const hasCompiler = (): boolean => spawnSync('gcc', ['--version'], { stdio: 'ignore' }).status === 0;

/**
 * Builds the workloads: static, because the same file runs on the host and in guests without a C library.
 * @throws BenchError BENCH_HOST with the compiler's first words
 */
export function buildWorkloads(output: string): void {
  const result = spawnSync('gcc', [...CFLAGS, '-o', output, join(guestFolder, 'bench.c')], { encoding: 'utf8' });
  if (result.status === 0) return;
  const words = (result.error?.message ?? result.stderr).trim().split('\n').slice(0, 3).join('; ');
  throw new BenchError('BENCH_HOST', `cannot build the workloads: ${words}`);
}

import type { Tier } from './contenders/contender.ts';
import { BenchError } from './errors.ts';

/**
 * A number given on the command line.
 * @throws BenchError BENCH_USAGE
 */
export function numberOption(
  name: string,
  text: string | undefined,
  fallback: number,
  rule: { min: number; whole?: boolean },
): number {
  if (text === undefined) return fallback;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value) || value < rule.min || (rule.whole === true && !Number.isInteger(value)))
    throw new BenchError(
      'BENCH_USAGE',
      `${name} takes a ${rule.whole === true ? 'whole ' : ''}number of at least ${rule.min}, not '${text}'`,
    );
  return value;
}

/**
 * The engine's tier, given on the command line.
 * @throws BenchError BENCH_USAGE
 */
export function tierOption(text: string | undefined): Tier {
  if (text === undefined || text === 'interp') return 'interp';
  if (text === 'jit') return 'jit';
  throw new BenchError('BENCH_USAGE', `--tier takes interp or jit, not '${text}'`);
}

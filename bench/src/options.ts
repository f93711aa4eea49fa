import { type Bits, TIERS, type Tier } from './contenders/contender.ts';
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
export function tierOption(text = 'auto'): Tier {
  const tier = TIERS.find((name) => name === text);
  if (tier === undefined) throw new BenchError('BENCH_USAGE', `--tier takes ${TIERS.join(', ')}, not '${text}'`);
  return tier;
}

/**
 * The guest's width, given on the command line.
 * @throws BenchError BENCH_USAGE
 */
export function bitsOption(text = '64'): Bits {
  if (text === '64') return 64;
  if (text === '32') return 32;
  throw new BenchError('BENCH_USAGE', `--bits takes 64 or 32, not '${text}'`);
}

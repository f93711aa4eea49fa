import { describe, expect, it } from 'vitest';
import { compareResults } from './regressions.ts';
import { contender, resultsOf, suiteOf } from './testing/suites.ts';

const qemu = contender('QEMU TCG', { crc32: [2, 2], sieve: [2, 2] });
const ours = (crc32: number, sieve: number) =>
  resultsOf(suiteOf({ contenders: [contender('tsvisor', { crc32: [crc32, crc32], sieve: [sieve, sieve] }), qemu] }));
const lost = (now: ReturnType<typeof ours>, recorded: ReturnType<typeof ours>) =>
  compareResults(now, recorded).flatMap(({ text, held }) => (held ? [] : [text]));

describe('the comparison with recorded results', () => {
  it('holds when nothing changed, or all became faster', () => {
    expect(compareResults(ours(1, 1), ours(1, 1))).toHaveLength(4);
    expect(lost(ours(1, 1), ours(1, 1))).toEqual([]);
    expect(lost(ours(0.5, 0.5), ours(1, 1))).toEqual([]);
  });

  it('fails when a geometric mean is more than 10 % worse', () => {
    expect(lost(ours(1.09, 1.09), ours(1, 1))).toEqual([]);
    expect(lost(ours(1.12, 1.12), ours(1, 1))).toEqual([
      '64-bit geometric mean, emulating thread, to QEMU TCG',
      '64-bit geometric mean, all threads, to QEMU TCG',
    ]);
  });

  it('gives a single workload a wider margin', () => {
    expect(lost(ours(1.2, 0.9), ours(1, 1))).toEqual([]);
    expect(lost(ours(1.4, 0.8), ours(1, 1))).toEqual(['64-bit crc32, emulating thread, to QEMU TCG']);
  });

  it('is of ratios: a slower host changes nothing', () => {
    const slow = contender('QEMU TCG', { crc32: [4, 4], sieve: [4, 4] });
    const now = resultsOf(suiteOf({ contenders: [contender('tsvisor', { crc32: [2, 2], sieve: [2, 2] }), slow] }));
    expect(lost(now, ours(1, 1))).toEqual([]);
  });

  it('leaves out what only one of both has', () => {
    const alone = resultsOf(suiteOf({ contenders: [contender('tsvisor', { crc32: [1, 1] })] }));
    expect(compareResults(alone, ours(1, 1))).toEqual([]);
    expect(compareResults(resultsOf(suiteOf({ bits: 32 })), ours(1, 1))).toEqual([]);
  });

  it('refuses other amounts of work, and another tier', () => {
    for (const rest of [{ scale: 0.1 }, { tier: 'interp' as const }, { whole: false }])
      expect(() => compareResults(resultsOf(suiteOf(rest)), ours(1, 1))).toThrow(
        expect.objectContaining({ code: 'BENCH_USAGE' }),
      );
  });
});

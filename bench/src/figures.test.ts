import { describe, expect, it } from 'vitest';
import { contenderFigures, parseResults } from './figures.ts';
import { ratiosOf } from './ratios.ts';
import type { SuiteRun, WorkloadResult } from './suite-run.ts';
import { contender, resultsOf, suiteOf } from './testing/suites.ts';

const round = (busiest: number, all: number, checksum = 'a', peakMiB = 300): SuiteRun => {
  const result: WorkloadResult = { busiest, all, wall: all, checksum, guestSeconds: all, guestCpu: all };
  return { results: new Map([['crc32', result]]), failures: [], boot: { busiest, all, wall: 1 }, peakMiB };
};

describe('the figures of several rounds', () => {
  it('are medians, each for itself; the memory is the most of all', () => {
    const figures = contenderFigures('x', 'x 1', [round(1, 9, 'a', 301), round(2, 8, 'a', 303), round(3, 7, 'a', 302)]);
    expect(figures.workloads.crc32).toMatchObject({ busiest: 2, all: 8, checksum: 'a' });
    expect(figures.workloads.crc32.runs).toHaveLength(3);
    expect(figures).toMatchObject({ boot: { busiest: 2, all: 8 }, peakMiB: 303 });
  });

  it('have every checksum that came', () => {
    expect(contenderFigures('x', '', [round(1, 1), round(1, 1, 'b')]).workloads.crc32.checksum).toBe('a, b');
  });
});

describe('ratios', () => {
  it('are those of one run, by workload and as geometric means', () => {
    const [{ peer, mean, boot, workloads }] = ratiosOf(suiteOf());
    expect({ peer, mean, boot }).toEqual({
      peer: 'QEMU TCG',
      mean: { emulating: 0.5, all: 1 },
      boot: { emulating: 1, all: 1 },
    });
    expect(workloads.get('sieve')).toEqual({ emulating: 0.5, all: 1 });
  });

  it('of times that are shorter than the steps of the clock, or were not measured, are none', () => {
    const contenders = [contender('tsvisor', { crc32: [0.001, 2] }), contender('QEMU TCG', { crc32: [2, 2], sieve: [1, 1] })];
    const [{ mean, workloads, boot }] = ratiosOf(suiteOf({ contenders }));
    expect(workloads.get('crc32')).toEqual({ emulating: undefined, all: 1 });
    expect(mean).toEqual({ emulating: undefined, all: 1 });
    expect(boot.all).toBeUndefined();
  });
});

describe('a file with results', () => {
  it('comes back as it was written', () => {
    const results = resultsOf(suiteOf());
    expect(parseResults(JSON.stringify(results), 'f')).toEqual(results);
  });

  it('of another kind is refused', () => {
    for (const text of ['', '{}', '{"format":1,"suites":[{"bits":16}]}', '{"format":2,"suites":[]}'])
      expect(() => parseResults(text, 'f')).toThrow(expect.objectContaining({ code: 'BENCH_USAGE' }));
  });
});

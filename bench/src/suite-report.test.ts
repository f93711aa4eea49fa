import { describe, expect, it } from 'vitest';
import { suiteReport } from './suite-report.ts';
import { bestOf, type WorkloadResult } from './suite-run.ts';

const result = (busiest: number, all: number, checksum = '0000beef'): WorkloadResult => ({
  busiest,
  all,
  checksum,
  guestSeconds: busiest,
  guestCpu: busiest,
});

const base = {
  names: ['crc32', 'sieve'],
  scale: 1,
  rounds: 1,
  kernel: '6.1',
  contenders: ['native', 'tsvisor', 'QEMU'],
  native: new Map([
    ['crc32', result(0.1, 0.1)],
    ['sieve', result(0.1, 0.1)],
  ]),
  ours: new Map([
    ['crc32', result(1, 2)],
    ['sieve', result(2, 2)],
  ]),
  theirs: new Map([
    ['crc32', result(2, 2)],
    ['sieve', result(1, 1)],
  ]),
  peer: true,
  failures: [],
};

describe('the report of the suite', () => {
  it('compares CPU seconds per workload and by their geometric mean', () => {
    const { text, ok, data } = suiteReport(base);
    expect(ok).toBe(true);
    expect(text).toMatch(/^crc32 +0\.100 +1\.000 \/ 2\.000 +2\.000 \/ 2\.000 +0\.50× +1\.00× +ok$/m);
    expect(text).toMatch(/^geometric mean +1\.00× +1\.41×$/m);
    expect(text).toContain('2 of 2 checksums as native');
    expect(data).toMatchObject({ geometricMean: { emulating: 1 } });
  });

  it('fails on a checksum that differs from native, and says whose', () => {
    const theirs = new Map([...base.theirs, ['sieve', result(1, 1, '00000bad')] as const]);
    const { text, ok } = suiteReport({ ...base, theirs });
    expect(ok).toBe(false);
    expect(text).toContain('QEMU: 00000bad, not 0000beef');
  });

  it('fails on a workload that did not end', () => {
    const { text, ok } = suiteReport({ ...base, ours: new Map() });
    expect(ok).toBe(false);
    expect(text).toContain('tsvisor: none');
  });

  it('leaves out a contender that is not installed, and its ratios', () => {
    const { text, ok } = suiteReport({ ...base, theirs: new Map(), peer: false, contenders: ['qemu is not installed'] });
    expect(ok).toBe(true);
    expect(text).toContain('qemu is not installed');
    expect(text).not.toContain('geometric mean');
  });

  it('gives no ratio of times that are shorter than the steps of the clock', () => {
    const { text } = suiteReport({ ...base, ours: new Map([...base.ours, ['crc32', result(0.001, 0.001)] as const]) });
    expect(text).toMatch(/^crc32 .* – +– +ok$/m);
  });
});

describe('several rounds', () => {
  it('count with the run of the least CPU time', () => {
    const rounds = [3, 1, 2].map((all) => ({ results: new Map([['crc32', result(all, all)]]) }));
    expect(bestOf(rounds).get('crc32')?.all).toBe(1);
  });
});

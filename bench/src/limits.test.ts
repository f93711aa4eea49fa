import { describe, expect, it } from 'vitest';
import { linesOf, lineText } from './limits.ts';
import { contender, suiteOf } from './testing/suites.ts';

describe('what must hold', () => {
  it('of the 64-bit suite: means, single workloads, boot and memory', () => {
    expect(linesOf(suiteOf()).map(lineText)).toEqual([
      'geometric mean of emulating thread to QEMU TCG: 0.50×, limit 0.80×: held',
      'geometric mean of all threads to QEMU TCG: 1.00×, limit 1.20×: held',
      'worst workload (crc32), emulating thread to QEMU TCG: 0.50×, limit 1.50×: held',
      'boot to init, all threads to QEMU TCG: 1.00×, limit 1.30×: held',
      'peak resident memory: 300 MiB, limit 456 MiB: held',
    ]);
  });

  it('of the 32-bit suite: means to v86 and QEMU', () => {
    const [ours, theirs] = [contender('tsvisor', { crc32: [1, 2] }), contender('v86', { crc32: [1.5, 4] })];
    const texts = linesOf(suiteOf({ bits: 32, contenders: [ours, theirs] })).map(lineText);
    expect(texts.slice(0, 3)).toEqual([
      'geometric mean of emulating thread to v86: 0.67×, limit 0.60×: NOT HELD',
      'geometric mean of all threads to v86: 0.50×, limit 0.60×: held',
      'geometric mean of emulating thread to QEMU TCG: –, limit 0.85×: not judged',
    ]);
  });

  it('a mean is judged over all workloads only', () => {
    expect(linesOf(suiteOf({ whole: false })).map(({ held }) => held)).toEqual([undefined, undefined, true, true, undefined]);
  });
});

import { describe, expect, it } from 'vitest';
import type { Contender, Job } from './contenders/contender.ts';
import { hasCpuTimes } from './cpu-time.ts';
import { runSuite } from './suite-run.ts';

/** A contender that prints what a guest would; `fork` hangs up. */
const contender = (list: string[][]): Contender => ({
  name: 'a contender',
  describe: () => '',
  missing: () => undefined,
  command: ({ workloads }) => {
    list.push([...workloads]);
    const lines = workloads.flatMap((name) => [
      'INIT-REACHED uptime 1.00 0.50',
      `START ${name}`,
      ...(name === 'fork' ? ['CRASH'] : [`BENCH ${name} 0.5 0000beef gcpu=0.4`]),
    ]);
    const code = `for (const line of ${JSON.stringify(lines)}) { if (line === 'CRASH') process.exit(3); console.log(line); }`;
    return { file: process.execPath, args: ['-e', `${code} console.log('BENCHDONE'); setInterval(() => {}, 1000);`] };
  },
});

const job: Job = { kernel: '', unpacked: '', initramfs: '', memoryMiB: 1, workloads: ['crc32', 'fork', 'pipe'], scale: 0.1 };

describe.runIf(hasCpuTimes())('running workloads', () => {
  it('goes on in another guest after a workload that does not end', async () => {
    const guests: string[][] = [];
    const { results, failures, boot, peakMiB } = await runSuite(contender(guests), job, () => undefined);
    expect([...results.keys()]).toEqual(['crc32', 'pipe']);
    expect(results.get('pipe')).toMatchObject({ checksum: '0000beef', guestSeconds: 0.5, guestCpu: 0.4 });
    expect(boot?.wall).toBeGreaterThan(0);
    expect(peakMiB).toBeGreaterThan(1);
    expect(failures).toHaveLength(1);
    expect(failures[0]).toContain('fork did not end: a contender ended with status 3');
    expect(guests).toEqual([['crc32', 'fork', 'pipe'], ['pipe']]);
  });
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCpio } from '@tsvisor/boot';
import { describe, expect, it } from 'vitest';
import { parseBenchLine, workloadNames } from './bench-lines.ts';
import { chooseWorkloads } from './commands/suite.ts';
import { cpuBetween, hasCpuTimes, parseSchedstat, readCpuTimes } from './cpu-time.ts';
import { newestCache } from './guest-kernel.ts';
import { guestFolder, reportedNames } from './guest-program.ts';
import { benchInitramfs } from './initramfs.ts';
import { LineSplitter } from './lines.ts';
import { bitsOption, numberOption, tierOption } from './options.ts';
import { parsePeakMemory } from './peak-memory.ts';
import { geometricMean, median, medianUse } from './statistics.ts';
import { seconds, table, times } from './table.ts';

describe('CPU times', () => {
  it('are the first number of schedstat, in nanoseconds', () => {
    expect(parseSchedstat('1558652590 12345 678\n')).toBe(1.55865259);
  });

  it('between two readings belong to the thread that is busiest since the beginning and to all, also to those that came meanwhile', () => {
    const from = new Map([
      [10, 5],
      [11, 1],
    ]);
    const to = new Map([
      [10, 5.5],
      [11, 3],
      [12, 0.25],
    ]);
    expect(cpuBetween(from, to)).toEqual({ busiest: 0.5, all: 2.75 });
  });

  it.runIf(hasCpuTimes())('of this process grow with its work', () => {
    const before = readCpuTimes(process.pid);
    const { user } = process.cpuUsage();
    while (process.cpuUsage().user < user + 60_000);
    const { busiest, all } = cpuBetween(before, readCpuTimes(process.pid));
    expect(busiest).toBeGreaterThan(0.01);
    expect(all).toBeGreaterThanOrEqual(busiest);
  });
});

describe('statistics', () => {
  it('the median is the middle value, of an even number the mean of the middle two', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  it('ratios have a geometric mean', () => {
    expect(geometricMean([0.5, 2])).toBeCloseTo(1);
    expect(geometricMean([])).toBeNaN();
  });

  it('each figure of a boot has its own median', () => {
    const runs = [
      { busiest: 1, all: 9, wall: 5 },
      { busiest: 2, all: 8, wall: 4 },
      { busiest: 3, all: 7, wall: 6 },
    ];
    expect(medianUse(runs)).toEqual({ busiest: 2, all: 8, wall: 5 });
  });
});

describe('lines of the guest', () => {
  it('are recognised, also behind a kernel message', () => {
    expect(parseBenchLine('INIT-REACHED uptime 1.20 0.90')).toEqual({ kind: 'init' });
    expect(parseBenchLine('[    2.1] random: crng init done START crc32')).toEqual({ kind: 'start', workload: 'crc32' });
    expect(parseBenchLine('BENCH int64_div 0.0361 00c0ffee gcpu=0.0360')).toEqual({
      kind: 'bench',
      workload: 'int64_div',
      guestSeconds: 0.0361,
      checksum: '00c0ffee',
      guestCpu: 0.036,
    });
    expect(parseBenchLine('BENCHDONE uptime 3.00 1.00')).toEqual({ kind: 'done' });
    expect(parseBenchLine('RESTART later')).toBeUndefined();
  });

  it('come whole, however the bytes are cut', () => {
    const lines: string[] = [];
    const splitter = new LineSplitter((line) => lines.push(line));
    for (const part of ['a', 'b\r', '\nc\n\nd']) splitter.push(new TextEncoder().encode(part));
    expect(lines).toEqual(['ab', 'c', '']);
    expect(splitter.rest).toBe('d');
  });
});

describe('workloads', () => {
  const all = workloadNames(readFileSync(join(guestFolder, 'bench.c'), 'utf8'));

  it('are those of the guest program, in its order', () => {
    expect(all).toHaveLength(21);
    expect(all.slice(0, 4)).toEqual(['int_loop', 'int64_div', 'sieve', 'crc32']);
    expect(all.at(-1)).toBe('gzip');
  });

  it('are chosen by name and stay in the order in which the guest runs them', () => {
    expect(chooseWorkloads(all, [])).toEqual(all);
    expect(chooseWorkloads(all, ['gzip', 'sieve'])).toEqual(['sieve', 'gzip']);
    expect(() => chooseWorkloads(all, ['sieve', 'nope'])).toThrow(expect.objectContaining({ code: 'BENCH_USAGE' }));
  });
});

describe('workloads with arithmetic of the x87', () => {
  it('run after the others, under names of their own', () => {
    expect(reportedNames(['sieve', 'matmul'])).toEqual(['sieve', 'matmul', 'matmul_x87']);
  });
});

describe('the initramfs', () => {
  it('holds what init needs before it can mount anything', () => {
    const bytes = new TextEncoder().encode('#!');
    const paths = readCpio(benchInitramfs({ init: bytes, busybox: bytes, programs: { bench: bytes, bench387: bytes } })).map(
      ({ path }) => path,
    );
    for (const path of ['init', 'bench', 'bench387', 'bin/busybox', 'bin/sh', 'dev/console', 'dev/null', 'proc', 'sys', 'tmp'])
      expect(paths).toContain(path);
    expect(readCpio(benchInitramfs({ init: bytes, busybox: bytes })).map(({ path }) => path)).not.toContain('bench');
  });

  it("comes from the newest form of the runner's cache", () => {
    expect(newestCache(['debian-i386-3', 'debian-amd64-2', 'debian-amd64-10', 'tmp-1'], 'amd64')).toBe('debian-amd64-10');
    expect(newestCache(['debian-i386-3', 'debian-amd64-4'], 'i386')).toBe('debian-i386-3');
    expect(newestCache(['tmp-1', 'debian-i386-1'], 'amd64')).toBeUndefined();
  });
});

describe('output', () => {
  it('a table has a width per column, figures to the right', () => {
    expect(
      table(
        ['name', 's'],
        [
          ['a', '1.000'],
          ['long name', '–'],
        ],
      ),
    ).toBe(['name           s', '---------  -----', 'a          1.000', 'long name      –'].join('\n'));
    expect(() => table(['a'], [['b', 'c']])).toThrow(RangeError);
  });

  it('what was not measured is a dash', () => {
    expect([seconds(1.23456), seconds(undefined), seconds(Number.NaN)]).toEqual(['1.235', '–', '–']);
    expect([times(2.006), times(undefined), times(Number.NaN)]).toEqual(['2.01×', '–', '–']);
  });
});

describe('peak memory', () => {
  it('is VmHWM, told in KiB, taken as MiB', () => {
    expect(parsePeakMemory('Name:\tx\nVmPeak:\t  900000 kB\nVmHWM:\t  318464 kB\n')).toBe(311);
    expect(parsePeakMemory('Name:\tx\n')).toBeNaN();
  });
});

describe('options', () => {
  it('the tier is the compiled one unless asked otherwise, the guest of 64 bits', () => {
    expect([tierOption(undefined), tierOption('auto'), bitsOption(undefined), bitsOption('32')]).toEqual([
      'auto',
      'auto',
      64,
      32,
    ]);
    for (const wrong of [() => tierOption('fast'), () => bitsOption('16')])
      expect(wrong).toThrow(expect.objectContaining({ code: 'BENCH_USAGE' }));
  });

  it('numbers have a least value, and a default', () => {
    const rule = { min: 1, whole: true };
    expect(numberOption('--rounds', undefined, 3, rule)).toBe(3);
    expect(numberOption('--rounds', '5', 3, rule)).toBe(5);
    for (const text of ['0', '1.5', 'x', '', 'Infinity'])
      expect(() => numberOption('--rounds', text, 3, rule)).toThrow(expect.objectContaining({ code: 'BENCH_USAGE' }));
  });
});

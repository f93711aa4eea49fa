import type { Bits } from '../contenders/contender.ts';
import { type ContenderFigures, FORMAT, type Results, type SuiteFigures, type WorkloadFigures } from '../figures.ts';

/** CPU seconds of the emulating thread and of all threads. */
export type Times = readonly [busiest: number, all: number];

export const workload = ([busiest, all]: Times, checksum = '0000beef'): WorkloadFigures => ({
  busiest,
  all,
  wall: all,
  checksum,
  guestCpu: busiest,
  runs: [{ busiest, all, wall: all }],
});

export const contender = (
  name: string,
  times: Readonly<Record<string, Times>>,
  rest: Partial<ContenderFigures> = {},
): ContenderFigures => ({
  name,
  version: `${name} 1.0`,
  workloads: Object.fromEntries(Object.entries(times).map(([key, value]) => [key, workload(value)])),
  failures: [],
  ...rest,
});

const boot = (all: number): Partial<ContenderFigures> => ({ boot: { busiest: all, all, wall: all }, peakMiB: 300 });

/** A suite of two workloads in which this project needs half QEMU's time. */
export const suiteOf = (rest: Partial<SuiteFigures> = {}): SuiteFigures => ({
  bits: 64 as Bits,
  kernel: '6.1',
  memoryMiB: 256,
  scale: 1,
  rounds: 3,
  tier: 'jit',
  host: 'host: 2 processors',
  names: ['crc32', 'sieve'],
  whole: true,
  contenders: [
    contender('native', { crc32: [0.1, 0.1], sieve: [0.1, 0.1] }),
    contender('tsvisor', { crc32: [1, 2], sieve: [1, 2] }, boot(2)),
    contender('QEMU TCG', { crc32: [2, 2], sieve: [2, 2] }, boot(2)),
  ],
  absent: [],
  ...rest,
});

export const resultsOf = (...suites: SuiteFigures[]): Results => ({ format: FORMAT, suites, leftOut: [] });

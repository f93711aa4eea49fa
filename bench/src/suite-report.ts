import type { Outcome } from './commands/command.ts';
import { geometricMean } from './statistics.ts';
import type { WorkloadResult } from './suite-run.ts';
import { seconds, table, times } from './table.ts';

type Results = ReadonlyMap<string, WorkloadResult>;

export type SuiteReport = {
  readonly names: readonly string[];
  readonly scale: number;
  readonly rounds: number;
  readonly kernel: string;
  /** A line about each contender, also those that could not take part, and about the host. */
  readonly contenders: readonly string[];
  readonly native: Results;
  readonly ours: Results;
  readonly theirs: Results;
  /** QEMU took part. */
  readonly peer: boolean;
  readonly failures: readonly string[];
};

/** `ok`, or what is wrong and with whom. */
export function compareChecksums(name: string, { native, ours, theirs, peer }: SuiteReport): string {
  const reference = native.get(name)?.checksum;
  if (reference === undefined) return 'no reference';
  const wrong: string[] = [];
  for (const [who, results] of [['tsvisor', ours], ...(peer ? [['QEMU', theirs] as const] : [])] as const) {
    const checksum = results.get(name)?.checksum;
    if (checksum === undefined) wrong.push(`${who}: none`);
    else if (checksum !== reference) wrong.push(`${who}: ${checksum}, not ${reference}`);
  }
  return wrong.length === 0 ? 'ok' : wrong.join('; ');
}

/** Too short to divide by: the clocks' own steps are 4 ms. */
const SHORTEST = 0.008;

const ratioOf = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined || Math.min(a, b) < SHORTEST ? undefined : a / b;

export function suiteReport(report: SuiteReport): Outcome {
  const { names, native, ours, theirs, peer } = report;
  const figures = names.map((name) => ({
    name,
    native: native.get(name),
    ours: ours.get(name),
    theirs: theirs.get(name),
    emulating: ratioOf(ours.get(name)?.busiest, theirs.get(name)?.busiest),
    all: ratioOf(ours.get(name)?.all, theirs.get(name)?.all),
    checksum: compareChecksums(name, report),
  }));
  const pair = (result: WorkloadResult | undefined): string =>
    result === undefined ? '–' : `${seconds(result.busiest)} / ${seconds(result.all)}`;
  const head = ['workload', 'native', 'tsvisor', ...(peer ? ['QEMU TCG', 'ratio', 'all threads'] : []), 'checksum'];
  const rows = figures.map((row) => [
    row.name,
    seconds(row.native?.guestCpu),
    pair(row.ours),
    ...(peer ? [pair(row.theirs), times(row.emulating), times(row.all)] : []),
    row.checksum,
  ]);
  const known = (values: (number | undefined)[]): number[] => values.filter((value) => value !== undefined);
  const means = {
    emulating: geometricMean(known(figures.map(({ emulating }) => emulating))),
    all: geometricMean(known(figures.map(({ all }) => all))),
  };
  if (peer) rows.push(['geometric mean', '', '', '', times(means.emulating), times(means.all), '']);
  const right = figures.filter(({ checksum }) => checksum === 'ok').length;
  const ok = right === names.length && report.failures.length === 0;
  const text = [
    `Guest workloads, scale ${report.scale}, ${report.kernel}, least of ${report.rounds}; CPU seconds: emulating thread / all threads`,
    ...report.contenders.map((line) => `  ${line}`),
    table(head, rows),
    `${right} of ${names.length} checksums as native`,
    ...report.failures,
  ].join('\n');
  const { scale, rounds, kernel, contenders, failures } = report;
  return { text, data: { scale, rounds, kernel, contenders, workloads: figures, geometricMean: means, failures }, ok };
}

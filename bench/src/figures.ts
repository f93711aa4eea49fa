import type { Bits, Tier } from './contenders/contender.ts';
import type { TimedUse } from './cpu-time.ts';
import { BenchError } from './errors.ts';
import { median, medianUse } from './statistics.ts';
import type { SuiteRun, WorkloadResult } from './suite-run.ts';

/** Medians of a workload under one contender, each for itself, and what they are medians of. */
export type WorkloadFigures = TimedUse & {
  /** Several, if rounds came to several. */
  readonly checksum: string;
  /** By the guest's scheduler, or the host's for `native`, child processes included. */
  readonly guestCpu: number;
  readonly runs: readonly TimedUse[];
};

export type ContenderFigures = {
  readonly name: string;
  readonly version: string;
  /** From the start of the process to the guest's init; nothing for `native`. */
  readonly boot?: TimedUse;
  /** The most memory resident at one time, in any round, MiB; nothing for `native`. */
  readonly peakMiB?: number;
  readonly workloads: Readonly<Record<string, WorkloadFigures>>;
  readonly failures: readonly string[];
};

/** What was measured with one guest. */
export type SuiteFigures = {
  readonly bits: Bits;
  readonly kernel: string;
  readonly memoryMiB: number;
  readonly scale: number;
  readonly rounds: number;
  readonly tier: Tier;
  readonly host: string;
  /** Workloads, in the guest's order. */
  readonly names: readonly string[];
  /** All workloads, not a selection: limits are about these. */
  readonly whole: boolean;
  /** `native` first, then this project, then its peers. */
  readonly contenders: readonly ContenderFigures[];
  /** Why others did not take part. */
  readonly absent: readonly string[];
};

/** The content of a file written with `--json`. */
export type Results = {
  readonly format: typeof FORMAT;
  readonly suites: readonly SuiteFigures[];
  /** Suites that could not be measured here, and why. */
  readonly leftOut: readonly string[];
};

export const FORMAT = 1;
export const OURS = 'tsvisor';
/** This project's, without anything that an earlier run of the guest has left. */
export const FIRST_RUN = 'tsvisor, first run';
export const NATIVE = 'native';

export const figuresOf = ({ contenders }: SuiteFigures, name: string): ContenderFigures | undefined =>
  contenders.find((contender) => contender.name === name);

/** Those that this project is compared with. */
export const peersOf = ({ contenders }: SuiteFigures): ContenderFigures[] =>
  contenders.filter(({ name }) => name !== OURS && name !== FIRST_RUN && name !== NATIVE);

function workloadFigures(results: readonly WorkloadResult[]): WorkloadFigures {
  const runs = results.map(({ busiest, all, wall }) => ({ busiest, all, wall }));
  return {
    ...medianUse(runs),
    checksum: [...new Set(results.map(({ checksum }) => checksum))].join(', '),
    guestCpu: median(results.map(({ guestCpu }) => guestCpu)),
    runs,
  };
}

/** The rounds of one contender as medians. */
export function contenderFigures(name: string, version: string, rounds: readonly SuiteRun[]): ContenderFigures {
  const boots = rounds.map(({ boot }) => boot).filter((boot) => boot !== undefined);
  const peaks = rounds.map(({ peakMiB }) => peakMiB).filter((peak) => peak !== undefined);
  const names = new Set(rounds.flatMap(({ results }) => [...results.keys()]));
  const resultsOf = (workload: string): WorkloadResult[] => rounds.flatMap(({ results }) => results.get(workload) ?? []);
  return {
    name,
    version,
    ...(boots.length === 0 ? {} : { boot: medianUse(boots) }),
    ...(peaks.length === 0 ? {} : { peakMiB: Math.max(...peaks) }),
    workloads: Object.fromEntries([...names].map((workload) => [workload, workloadFigures(resultsOf(workload))])),
    failures: rounds.flatMap(({ failures }) => failures),
  };
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null;
const isUse = (value: unknown): boolean =>
  isRecord(value) && ['busiest', 'all', 'wall'].every((key) => typeof value[key] === 'number');
const isContender = (value: unknown): boolean =>
  isRecord(value) &&
  typeof value.name === 'string' &&
  (value.boot === undefined || isUse(value.boot)) &&
  isRecord(value.workloads) &&
  Object.values(value.workloads).every(isUse);
const isSuite = (value: unknown): boolean =>
  isRecord(value) &&
  (value.bits === 32 || value.bits === 64) &&
  Array.isArray(value.names) &&
  Array.isArray(value.contenders) &&
  value.contenders.every(isContender);
const isResults = (value: unknown): value is Results =>
  isRecord(value) && value.format === FORMAT && Array.isArray(value.suites) && value.suites.every(isSuite);

/**
 * The results in a file written with `--json`.
 * @throws BenchError BENCH_USAGE for another file
 */
export function parseResults(text: string, path: string): Results {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BenchError('BENCH_USAGE', `${path} is not JSON`, { cause: error });
  }
  if (!isResults(value)) throw new BenchError('BENCH_USAGE', `${path} holds no results of suites, or those of another version`);
  return value;
}

import type { Bits } from './contenders/contender.ts';
import { figuresOf, OURS, type SuiteFigures } from './figures.ts';
import { type Ratios, ratiosOf } from './ratios.ts';
import { times } from './table.ts';

/** Something that must hold. */
export type Line = {
  readonly text: string;
  readonly value: number | undefined;
  readonly limit: number;
  readonly show: (value: number) => string;
  /** Undefined: could not be judged. */
  readonly held: boolean | undefined;
};

type Threads = 'emulating' | 'all';
type RatioLimit = { readonly bits: Bits; readonly peer: string; readonly threads: Threads; readonly limit: number };

const MEANS: readonly RatioLimit[] = [
  { bits: 64, peer: 'QEMU TCG', threads: 'emulating', limit: 0.8 },
  { bits: 64, peer: 'QEMU TCG', threads: 'all', limit: 1.2 },
  { bits: 32, peer: 'v86', threads: 'emulating', limit: 0.6 },
  { bits: 32, peer: 'v86', threads: 'all', limit: 0.6 },
  { bits: 32, peer: 'QEMU TCG', threads: 'emulating', limit: 0.85 },
];
/** Of single workloads: none may be above. */
const WORST: readonly RatioLimit[] = [{ bits: 64, peer: 'QEMU TCG', threads: 'emulating', limit: 1.5 }];
/** Of all threads' CPU seconds from the start of the process to the guest's init. */
export const BOOT: { readonly peer: string; readonly threads: Threads; readonly limit: number } = {
  peer: 'QEMU TCG',
  threads: 'all',
  limit: 1.3,
};
/** Peak resident memory beside the guest's own, MiB. */
const MEMORY_BESIDE_GUEST = 200;

const THREADS: Readonly<Record<Threads, string>> = { emulating: 'emulating thread', all: 'all threads' };
const mebibytes = (value: number): string => `${Math.round(value)} MiB`;

const line = (text: string, value: number | undefined, limit: number, show = times as Line['show']): Line => ({
  text,
  value,
  limit,
  show,
  held: value === undefined ? undefined : value <= limit,
});

/** The workload that compares worst. */
function worst({ workloads }: Ratios, threads: Threads): { name: string; value: number } | undefined {
  const known = [...workloads].flatMap(([name, { [threads]: value }]) => (value === undefined ? [] : [{ name, value }]));
  return known.sort((a, b) => b.value - a.value)[0];
}

/** What must hold of a suite, judged. A selection of workloads has no mean to judge, and a peer that is absent no ratio. */
export function linesOf(figures: SuiteFigures): Line[] {
  const { bits, whole, memoryMiB } = figures;
  const ratios = new Map(ratiosOf(figures).map((entry) => [entry.peer, entry]));
  const ofBits = (limits: readonly RatioLimit[]): RatioLimit[] => limits.filter((limit) => limit.bits === bits);
  const means = ofBits(MEANS).map(({ peer, threads, limit }) =>
    line(`geometric mean of ${THREADS[threads]} to ${peer}`, whole ? ratios.get(peer)?.mean[threads] : undefined, limit),
  );
  const singles = ofBits(WORST).map(({ peer, threads, limit }) => {
    const entry = ratios.get(peer);
    const found = entry && worst(entry, threads);
    return line(`worst workload${found ? ` (${found.name})` : ''}, ${THREADS[threads]} to ${peer}`, found?.value, limit);
  });
  return [
    ...means,
    ...singles,
    line(`boot to init, ${THREADS[BOOT.threads]} to ${BOOT.peer}`, ratios.get(BOOT.peer)?.boot[BOOT.threads], BOOT.limit),
    line(
      'peak resident memory',
      whole ? figuresOf(figures, OURS)?.peakMiB : undefined,
      memoryMiB + MEMORY_BESIDE_GUEST,
      mebibytes,
    ),
  ];
}

/** `boot to init, all threads to QEMU TCG: 1.21×, limit 1.30×: held`. */
export function lineText({ text, value, limit, show, held }: Line): string {
  const verdict = held === undefined ? 'not judged' : held ? 'held' : 'NOT HELD';
  return `${text}: ${value === undefined ? '–' : show(value)}, limit ${show(limit)}: ${verdict}`;
}

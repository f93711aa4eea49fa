import { BenchError } from './errors.ts';
import type { Results, SuiteFigures } from './figures.ts';
import { BOOT } from './limits.ts';
import { ratiosOf } from './ratios.ts';

/** How much worse a ratio may be than the recorded one, as a factor. Workloads have a wider margin: one alone is noisier than a mean. */
export const MARGINS = { mean: 1.1, boot: 1.1, workload: 1.3 } as const;

/** A ratio then and now. */
export type Comparison = {
  readonly kind: keyof typeof MARGINS;
  readonly text: string;
  readonly recorded: number;
  readonly now: number;
  readonly held: boolean;
};

type Entry = { readonly kind: keyof typeof MARGINS; readonly text: string; readonly value: number };

/** Every ratio of a suite that is compared, by a text that says which it is. */
function entriesOf(figures: SuiteFigures): Entry[] {
  return ratiosOf(figures).flatMap(({ peer, mean, boot, workloads }) => {
    const of = (what: string): string => `${figures.bits}-bit ${what} to ${peer}`;
    const entries = [
      { kind: 'mean', text: of('geometric mean, emulating thread,'), value: mean.emulating },
      { kind: 'mean', text: of('geometric mean, all threads,'), value: mean.all },
      { kind: 'boot', text: of('boot to init, all threads,'), value: boot[BOOT.threads] },
      ...[...workloads].map(([name, { emulating }]) => ({
        kind: 'workload' as const,
        text: of(`${name}, emulating thread,`),
        value: emulating,
      })),
    ] as const;
    return entries.flatMap(({ kind, text, value }) => (value === undefined ? [] : [{ kind, text, value }]));
  });
}

/** Ratios depend on these: compilers' work weighs more in less work. */
function requireComparable(now: SuiteFigures, recorded: SuiteFigures): void {
  for (const key of ['scale', 'tier', 'whole'] as const)
    if (now[key] !== recorded[key])
      throw new BenchError(
        'BENCH_USAGE',
        `not comparable: ${key} of the ${now.bits}-bit suite was recorded with ${recorded[key]}, this is ${now[key]}`,
      );
}

/**
 * Compares what both files have: a suite or a peer that only one of them has says nothing.
 * @throws BenchError BENCH_USAGE when they are not comparable
 */
export function compareResults(now: Results, recorded: Results): Comparison[] {
  return now.suites.flatMap((figures) => {
    const before = recorded.suites.find(({ bits }) => bits === figures.bits);
    if (before === undefined) return [];
    requireComparable(figures, before);
    const values = new Map(entriesOf(before).map(({ text, value }) => [text, value]));
    return entriesOf(figures).flatMap(({ kind, text, value }): Comparison[] => {
      const old = values.get(text);
      return old === undefined ? [] : [{ kind, text, recorded: old, now: value, held: value <= old * MARGINS[kind] }];
    });
  });
}

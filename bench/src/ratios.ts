import type { TimedUse } from './cpu-time.ts';
import { type FIRST_RUN, figuresOf, OURS, peersOf, type SuiteFigures } from './figures.ts';
import { geometricMean } from './statistics.ts';

/** CPU seconds of this project divided by a peer's: of the emulating thread and of all threads. Nothing when not measured. */
export type Ratio = { readonly emulating: number | undefined; readonly all: number | undefined };

export type Ratios = {
  readonly peer: string;
  readonly workloads: ReadonlyMap<string, Ratio>;
  /** Geometric means over the workloads that have a ratio. */
  readonly mean: Ratio;
  readonly boot: Ratio;
};

/** Too short to divide by: the clocks' own steps are 4 ms. */
const SHORTEST = 0.008;

const divide = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined || Math.min(a, b) < SHORTEST ? undefined : a / b;

const ratioOf = (ours: TimedUse | undefined, theirs: TimedUse | undefined): Ratio => ({
  emulating: divide(ours?.busiest, theirs?.busiest),
  all: divide(ours?.all, theirs?.all),
});

function meanOf(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : geometricMean(known);
}

/** This project, or its first run, beside each of its peers, within one run: ratios of different runs or machines say little. */
export function ratiosOf(figures: SuiteFigures, who: typeof OURS | typeof FIRST_RUN = OURS): Ratios[] {
  const ours = figuresOf(figures, who);
  return peersOf(figures).map((peer) => {
    const workloads = new Map(figures.names.map((name) => [name, ratioOf(ours?.workloads[name], peer.workloads[name])]));
    const all = [...workloads.values()];
    return {
      peer: peer.name,
      workloads,
      mean: { emulating: meanOf(all.map(({ emulating }) => emulating)), all: meanOf(all.map((ratio) => ratio.all)) },
      boot: ratioOf(ours?.boot, peer.boot),
    };
  });
}

import type { TimedUse } from '../cpu-time.ts';
import { type ContenderFigures, FIRST_RUN, figuresOf, NATIVE, OURS, peersOf, type SuiteFigures } from '../figures.ts';
import { type Ratio, ratiosOf } from '../ratios.ts';
import { seconds, times } from '../table.ts';

/** A suite as a table of texts. */
export type SuiteTable = { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] };

const pair = (use: TimedUse | undefined): string => (use === undefined ? '–' : `${seconds(use.busiest)} / ${seconds(use.all)}`);
const ratioPair = ({ emulating, all }: Ratio): string =>
  emulating === undefined && all === undefined ? '–' : `${times(emulating)} / ${times(all)}`;
const mebibytes = (value: number | undefined): string => (value === undefined ? '–' : `${value.toFixed(0)} MiB`);

/** Seconds that passed in all workloads. */
const wallOf = (workloads: ContenderFigures['workloads']): number =>
  Object.values(workloads).reduce((sum, { wall }) => sum + wall, 0);

/** Workloads, their mean, boot and memory; each figure is the emulating thread's, then that of all threads. */
export function suiteRows(figures: SuiteFigures): SuiteTable {
  const native = figuresOf(figures, NATIVE);
  const ours = figuresOf(figures, OURS);
  const first = figuresOf(figures, FIRST_RUN);
  const emulators = [ours, first, ...peersOf(figures)].filter((one) => one !== undefined);
  const ratios = ratiosOf(figures);
  const workloads = figures.names.map((name) => [
    name,
    seconds(native?.workloads[name]?.guestCpu),
    ...emulators.map((contender) => pair(contender.workloads[name])),
    ...ratios.map((entry) => ratioPair(entry.workloads.get(name) ?? { emulating: undefined, all: undefined })),
  ]);
  return {
    head: ['workload', 'native', ...emulators.map(({ name }) => name), ...ratios.map(({ peer }) => `to ${peer}`)],
    rows: [
      ...workloads,
      ['geometric mean', '', ...emulators.map(() => ''), ...ratios.map(({ mean }) => ratioPair(mean))],
      ['boot to init', '', ...emulators.map(({ boot }) => pair(boot)), ...ratios.map(({ boot }) => ratioPair(boot))],
      ['wall of all', '', ...emulators.map(({ workloads }) => seconds(wallOf(workloads))), ...ratios.map(() => '')],
      ['peak memory', '', ...emulators.map(({ peakMiB }) => mebibytes(peakMiB)), ...ratios.map(() => '')],
    ],
  };
}

/** What a guest's first run costs beside each peer, in a sentence each; nothing if that was not measured. */
export const firstRunTexts = (figures: SuiteFigures): string[] =>
  figuresOf(figures, FIRST_RUN) === undefined
    ? []
    : ratiosOf(figures, FIRST_RUN).map(
        ({ peer, mean, boot }) => `${FIRST_RUN}, to ${peer}: geometric mean ${ratioPair(mean)}, boot to init ${ratioPair(boot)}`,
      );

import type { Outcome } from '../commands/command.ts';
import { figuresOf, NATIVE, type Results, type SuiteFigures } from '../figures.ts';
import { linesOf, lineText } from '../limits.ts';
import { table } from '../table.ts';
import { suiteChart } from './chart.ts';
import { resultsMarkdown } from './markdown.ts';
import { firstRunTexts, suiteRows } from './rows.ts';

/** Checksums that are missing or differ from those of the bare processor, in words. */
export function checksumErrors(figures: SuiteFigures): string[] {
  const native = figuresOf(figures, NATIVE);
  const others = figures.contenders.filter(({ name }) => name !== NATIVE);
  return figures.names.flatMap((workload) => {
    const reference = native?.workloads[workload]?.checksum;
    if (reference === undefined) return [`${workload}: no reference`];
    return others.flatMap(({ name, workloads }) => {
      const checksum = workloads[workload]?.checksum ?? 'none';
      return checksum === reference ? [] : [`${workload}, ${name}: ${checksum}, not ${reference}`];
    });
  });
}

const failuresOf = ({ contenders }: SuiteFigures): string[] =>
  contenders.flatMap(({ name, failures }) => failures.map((failure) => `${name}: ${failure}`));

export const suiteHeading = ({ bits, kernel, tier, scale, rounds, memoryMiB }: SuiteFigures): string =>
  `${bits}-bit suite: ${kernel}, ${memoryMiB} MiB, one processor, tier ${tier}, scale ${scale}, median of ${rounds}`;

function suiteText(figures: SuiteFigures): string {
  const errors = checksumErrors(figures);
  const { head, rows } = suiteRows(figures);
  return [
    suiteHeading(figures),
    ...[...figures.contenders.map(({ version }) => version), ...figures.absent, figures.host].map((text) => `  ${text}`),
    'CPU seconds and their ratios: emulating thread / all threads',
    table(head, rows),
    errors.length === 0 ? 'all checksums as native' : 'WRONG CHECKSUMS:',
    ...errors.map((error) => `  ${error}`),
    ...failuresOf(figures),
    ...linesOf(figures).map(lineText),
    ...firstRunTexts(figures),
  ].join('\n');
}

/** Everything that is said about results, and whether all holds that must. */
export function resultsOutcome(results: Results): Outcome {
  const { suites, leftOut } = results;
  const holds = (figures: SuiteFigures): boolean =>
    checksumErrors(figures).length === 0 &&
    failuresOf(figures).length === 0 &&
    linesOf(figures).every(({ held }) => held !== false);
  return {
    text: [...suites.map(suiteText), ...leftOut].join('\n\n'),
    data: results,
    ok: suites.every(holds),
    markdown: () => resultsMarkdown(results),
    svg: () => suiteChart(suites),
  };
}

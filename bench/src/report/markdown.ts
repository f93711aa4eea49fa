import type { Results, SuiteFigures } from '../figures.ts';
import { linesOf, lineText } from '../limits.ts';
import { firstRunTexts, suiteRows } from './rows.ts';

const row = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;

function suiteMarkdown(figures: SuiteFigures): string {
  const { head, rows } = suiteRows(figures);
  const { bits, kernel, memoryMiB, tier, scale, rounds, contenders, absent, host } = figures;
  return [
    `### ${bits}-bit guest`,
    '',
    `Debian's ${kernel}, ${memoryMiB} MiB, one processor; tier ${tier}, scale ${scale}, medians of ${rounds}. ` +
      'CPU seconds and their ratios, emulating thread / all threads: less is better.',
    '',
    row(head),
    row(head.map((_, column) => (column === 0 ? '---' : '--:'))),
    ...rows.map((cells) => row(cells[0] === 'geometric mean' ? cells.map((cell) => (cell === '' ? '' : `**${cell}**`)) : cells)),
    '',
    ...linesOf(figures).map((line) => `- ${lineText(line)}`),
    ...firstRunTexts(figures).map((text) => `- ${text}`),
    '',
    `${[...contenders.map(({ version }) => version), ...absent, host].join('; ')}.`,
  ].join('\n');
}

/** Results for a README. */
export const resultsMarkdown = ({ suites, leftOut }: Results): string =>
  `${[...suites.map(suiteMarkdown), ...leftOut].join('\n\n')}\n`;

/**
 * A table for a terminal: the first column to the left, all others to the right. A row of another length than the head's is a defect.
 * @returns lines without a line feed at the end
 */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  for (const row of all)
    if (row.length !== head.length) throw new RangeError(`a row of ${row.length} in a table of ${head.length}`);
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  ');
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)]
    .map((text) => text.trimEnd())
    .join('\n');
}

/** Seconds with three digits behind the point; what was not measured is a dash. */
export const seconds = (value: number | undefined): string =>
  value === undefined || Number.isNaN(value) ? '–' : value.toFixed(3);

/** `2.31×`; what was not measured is a dash. */
export const times = (value: number | undefined): string =>
  value === undefined || !Number.isFinite(value) ? '–' : `${value.toFixed(2)}×`;

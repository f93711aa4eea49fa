import type { Figures } from './measure.ts';
import { PATHS } from './paths.ts';

const HEADINGS = [
  'path',
  'form',
  'operations/s',
  'p50 µs',
  'p99 µs',
  'signaller µs',
  'signals per wake',
  '2009: operations/s',
  'µs',
];
const TEXT_COLUMNS = 2;

/** Three digits that count, and none behind the point of what has more before it. */
function digits(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  const places = Math.max(0, Math.min(3, 2 - Math.floor(Math.log10(Math.abs(value) || 1))));
  return value.toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places });
}

function publishedCells({ path, form }: Figures): string[] {
  const { published } = PATHS.find(({ name }) => name === path) ?? {};
  if (published === undefined || form !== 'streaming') return ['', ''];
  const mark = published.extrapolated ? '*' : '';
  return [`${mark}${published.opsPerSecond.toLocaleString('en-US')}`, `${mark}${published.us.toFixed(2)}`];
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const pad = (cell: string, column: number): string =>
    column < TEXT_COLUMNS ? cell.padEnd(widths[column]) : cell.padStart(widths[column]);
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}

export type Ratio = { readonly bus: 'MMIO' | 'PIO'; readonly ratio: number };

/** Operations per second by ioeventfd and by a device on the embedding thread, streaming. */
export function ratios(figures: readonly Figures[]): Ratio[] {
  const streaming = (path: string): number | undefined =>
    figures.find((figure) => figure.path === path && figure.form === 'streaming')?.opsPerSecond;
  return (['MMIO', 'PIO'] as const).flatMap((bus) => {
    const [fast, slow] = [streaming(`ioeventfd-${bus.toLowerCase()}`), streaming(`userspace-${bus.toLowerCase()}`)];
    return fast === undefined || slow === undefined ? [] : [{ bus, ratio: fast / slow }];
  });
}

/** 200,100 / 110,000; and 367,300 / 110,000, as no userspace-pio was measured then. */
const RATIOS_OF_2009 = { MMIO: '1.82', PIO: '3.34, to userspace-mmio' } as const;

/** Above this, figures are not what the host can do. */
const MUCH = 0.1;

export type Measured = {
  readonly figures: readonly Figures[];
  readonly seconds: number;
  /** What it was measured on, and the share of its processors that other programs used meanwhile. */
  readonly host: string;
  readonly others: number;
  /** What the host needs to wake a sleeping thread, µs. */
  readonly wakeUs: number;
  readonly keptAwake: boolean;
};

/** For people. */
export function report({ figures, seconds, host, others, wakeUs, keptAwake }: Measured): string {
  const rows = figures.map((figure) => [
    figure.path,
    figure.form,
    digits(figure.opsPerSecond),
    digits(figure.p50us),
    digits(figure.p99us),
    digits(figure.signallerP50us),
    digits(figure.signalsPerWake),
    ...publishedCells(figure),
  ]);
  const compared = ratios(figures).map(
    ({ bus, ratio }) => `ioeventfd to userspace, ${bus}, streaming: ${digits(ratio)} (2009: ${RATIOS_OF_2009[bus]})`,
  );
  return [
    `Doorbells, ${seconds} s each, on ${host}${keptAwake ? ', whose processors did not halt' : ''}`,
    '',
    table([HEADINGS, ...rows]),
    '',
    ...(others > MUCH ? [`Other programs used ${Math.round(others * 100)} % of the host's processors meanwhile.`, ''] : []),
    `This host needs ${digits(wakeUs)} µs to wake a sleeping thread: ${keptAwake ? 'it depends on the processor that the kernel has it on' : 'no signaller of an idle consumer can do with less'}.`,
    ...compared,
    ...(compared.length > 0 ? [''] : []),
    "2009: G. Haskins' figures for KVM (Linux commit d34e6b175e61), rings one after the other; userspace was QEMU.",
    '* extrapolated by him from the other paths.',
    '',
  ].join('\n');
}

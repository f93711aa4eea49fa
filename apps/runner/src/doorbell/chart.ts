import type { Figures } from './measure.ts';
import { PATHS } from './paths.ts';

/**
 * A bar chart of rings per second, streaming, as SVG; below each bar that of 2009. The axis is logarithmic: from a device that answers to a word that is
 * counted up is a factor of hundreds. The image brings its own background, light or dark as the reader prefers.
 */

const WIDTH = 760;
const LABELS = 130;
const NUMBERS = 90;
const MARGIN = 20;
const HEADING = 66;
const BAR = 13;
const GAP = 10;
/** Powers of ten at both ends of the axis. */
const [LOWEST, HIGHEST] = [4, 8];

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 15px; font-weight: 600; }
  .number { font-size: 10px; fill: #57606a; }
  .back { fill: #ffffff; } .line { stroke: #d0d7de; }
  .ours { fill: #1f6feb; } .then { fill: #d9822b; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .number { fill: #9da7b3; }
    .back { fill: #0d1117; } .line { stroke: #30363d; }
    .ours { fill: #58a6ff; } .then { fill: #f0a050; }
  }
`;

const UNIT = (WIDTH - LABELS - NUMBERS) / (HIGHEST - LOWEST);
const lengthOf = (opsPerSecond: number): number =>
  Math.max(1, Math.min(Math.log10(Math.max(opsPerSecond, 1)), HIGHEST) * UNIT - LOWEST * UNIT);
const POWERS: Readonly<Record<number, string>> = {
  4: '10 000',
  5: '100 000',
  6: '1 million',
  7: '10 million',
  8: '100 million /s',
};

function short(opsPerSecond: number): string {
  return opsPerSecond >= 1e6 ? `${(opsPerSecond / 1e6).toFixed(1)} million` : `${Math.round(opsPerSecond / 1e3)} 000`;
}

function bar(kind: 'ours' | 'then', opsPerSecond: number, y: number, note: string): string[] {
  const length = lengthOf(opsPerSecond);
  return [
    `<rect class="${kind}" x="${LABELS}" y="${y}" width="${length.toFixed(1)}" height="${BAR - 1}"/>`,
    `<text class="number" x="${(LABELS + length + 4).toFixed(1)}" y="${y + BAR - 3}">${short(opsPerSecond)}${note}</text>`,
  ];
}

function legend(): string[] {
  const entry = (kind: string, text: string, x: number): string[] => [
    `<rect class="${kind}" x="${x}" y="35" width="10" height="10"/>`,
    `<text x="${x + 15}" y="44">${text}</text>`,
  ];
  return [...entry('ours', 'tsvisor', LABELS), ...entry('then', 'KVM, 2009 (* extrapolated)', LABELS + 80)];
}

function axis(bottom: number): string[] {
  return Object.entries(POWERS).flatMap(([power, text]) => {
    const x = (LABELS + (Number(power) - LOWEST) * UNIT).toFixed(1);
    return [
      `<line class="line" x1="${x}" x2="${x}" y1="${HEADING - 2}" y2="${bottom}"/>`,
      `<text class="number" x="${x}" y="${HEADING - 6}" text-anchor="middle">${text}</text>`,
    ];
  });
}

export function chart(figures: readonly Figures[]): string {
  const bars: string[] = [];
  let y = HEADING + 6;
  for (const { path, opsPerSecond } of figures.filter(({ form }) => form === 'streaming')) {
    const { published } = PATHS.find(({ name }) => name === path) ?? {};
    const height = published === undefined ? BAR : 2 * BAR;
    bars.push(`<text x="${LABELS - 8}" y="${y + height / 2 + 4}" text-anchor="end">${path}</text>`);
    bars.push(...bar('ours', opsPerSecond, y, ''));
    if (published) bars.push(...bar('then', published.opsPerSecond, y + BAR, published.extrapolated ? ' *' : ''));
    y += height + GAP;
  }
  const height = y + MARGIN - GAP;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    '<title>Rings of a doorbell per second</title>',
    `<style>${STYLE}</style>`,
    `<rect class="back" width="${WIDTH}" height="${height}" rx="8"/>`,
    `<text class="title" x="${MARGIN}" y="24">Rings of a doorbell per second, one after the other (longer is better)</text>`,
    ...legend(),
    ...axis(y - GAP + 4),
    ...bars,
    '</svg>',
    '',
  ].join('\n');
}

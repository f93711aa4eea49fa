import { figuresOf, OURS, peersOf, type SuiteFigures } from '../figures.ts';
import { geometricMean } from '../statistics.ts';

/**
 * A bar chart of suites, as SVG. A bar is a contender's CPU seconds of the emulating thread relative to the first peer's, which has no
 * bars but is the line at 1. The image brings its own background, so it is readable wherever it lies; light or dark as the reader prefers.
 */

const WIDTH = 760;
const LABELS = 130;
/** Beside the longest bar, for its number. */
const NUMBERS = 60;
const BAR = 11;
const GAP = 8;
const HEADING = 58;
const MARGIN = 20;
/** Longer bars are cut, and say their number. */
const LONGEST = 3;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 15px; font-weight: 600; }
  .number { font-size: 9.5px; fill: #57606a; }
  .mean { font-weight: 600; }
  .back { fill: #ffffff; } .line { stroke: #8c959f; stroke-dasharray: 3 3; }
  .c0 { fill: #1f6feb; } .c1 { fill: #d9822b; } .c2 { fill: #8250df; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .number { fill: #9da7b3; }
    .back { fill: #0d1117; } .line { stroke: #6e7681; }
    .c0 { fill: #58a6ff; } .c1 { fill: #f0a050; } .c2 { fill: #bc8cff; }
  }
`;

export const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

type Bar = { readonly contender: number; readonly value: number };
type Group = { readonly label: string; readonly bars: readonly Bar[]; readonly mean: boolean };
type Panel = {
  readonly title: string;
  readonly base: string;
  readonly legend: readonly string[];
  readonly groups: readonly Group[];
};

/** The bars of a suite: workloads that both ran, and above them the means over those. */
export function suitePanel(figures: SuiteFigures): Panel | undefined {
  const ours = figuresOf(figures, OURS);
  const peers = peersOf(figures);
  if (ours === undefined || peers.length === 0) return undefined;
  const [reference, ...others] = peers;
  const contenders = [ours, ...others];
  const groups = figures.names.flatMap((label): Group[] => {
    const base = reference.workloads[label]?.busiest;
    if (base === undefined || base <= 0) return [];
    const bars = contenders.flatMap(({ workloads }, contender): Bar[] => {
      const value = workloads[label]?.busiest;
      return value === undefined ? [] : [{ contender, value: value / base }];
    });
    return [{ label, bars, mean: false }];
  });
  const means = contenders.map((_, contender): Bar => {
    const values = groups.flatMap(({ bars }) => bars.filter((bar) => bar.contender === contender).map(({ value }) => value));
    return { contender, value: geometricMean(values.filter((value) => value > 0)) };
  });
  const mean: Group = { label: 'geometric mean', bars: means.filter(({ value }) => Number.isFinite(value)), mean: true };
  return {
    title: `${figures.bits}-bit guest: CPU seconds of the emulating thread (shorter is better)`,
    base: reference.name,
    legend: contenders.map(({ name }) => name),
    groups: [mean, ...groups],
  };
}

const groupHeight = ({ bars }: Group): number => bars.length * BAR + GAP;
const panelHeight = ({ groups }: Pick<Panel, 'groups'>): number =>
  HEADING + groups.reduce((sum, group) => sum + groupHeight(group), 0) + MARGIN;

function panelParts({ title, base, legend, groups }: Panel, top: number): string[] {
  const unit = (WIDTH - LABELS - NUMBERS) / LONGEST;
  const parts = [`<text class="title" x="${MARGIN}" y="${top + 24}">${escapeXml(title)}</text>`];
  // Below the bars, so that these cover it.
  const [at, from, to] = [LABELS + unit, top + HEADING - 6, top + panelHeight({ groups }) - MARGIN - GAP + 4];
  parts.push(`<line class="line" x1="${at.toFixed(1)}" x2="${at.toFixed(1)}" y1="${from}" y2="${to}"/>`);
  parts.push(`<text x="${at.toFixed(1)}" y="${top + 44}" text-anchor="middle">${escapeXml(base)} = 1</text>`);
  legend.forEach((name, contender) => {
    const x = LABELS + contender * 75;
    parts.push(`<rect class="c${contender}" x="${x}" y="${top + 35}" width="10" height="10"/>`);
    parts.push(`<text x="${x + 15}" y="${top + 44}">${escapeXml(name)}</text>`);
  });
  let y = top + HEADING;
  for (const { label, bars, mean } of groups) {
    const middle = y + (bars.length * BAR) / 2 + 4;
    parts.push(
      `<text ${mean ? 'class="mean" ' : ''}x="${LABELS - 8}" y="${middle}" text-anchor="end">${escapeXml(label)}</text>`,
    );
    for (const { contender, value } of bars) {
      const width = Math.max(1, Math.min(value, LONGEST) * unit).toFixed(1);
      const cut = value > LONGEST ? ' →' : '';
      parts.push(`<rect class="c${contender}" x="${LABELS}" y="${y}" width="${width}" height="${BAR - 1}"/>`);
      parts.push(`<text class="number" x="${LABELS + Number(width) + 4}" y="${y + BAR - 2}">${value.toFixed(2)}${cut}</text>`);
      y += BAR;
    }
    y += GAP;
  }
  return parts;
}

/** One panel below the other. Suites without a peer have none. */
export function suiteChart(suites: readonly SuiteFigures[]): string {
  const panels = suites.map(suitePanel).filter((panel) => panel !== undefined);
  const height = MARGIN + panels.reduce((sum, panel) => sum + panelHeight(panel), 0);
  let top = 0;
  const parts = panels.flatMap((panel) => {
    const drawn = panelParts(panel, top);
    top += panelHeight(panel);
    return drawn;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    '<title>CPU seconds of guest workloads, relative</title>',
    `<style>${STYLE}</style>`,
    `<rect class="back" width="${WIDTH}" height="${height}" rx="8"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

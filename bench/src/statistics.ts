import type { TimedUse } from './cpu-time.ts';

/** The middle value, or the mean of the two middle ones. NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The medians of all figures, each for itself. */
export const medianUse = (runs: readonly TimedUse[]): TimedUse => ({
  busiest: median(runs.map(({ busiest }) => busiest)),
  all: median(runs.map(({ all }) => all)),
  wall: median(runs.map(({ wall }) => wall)),
});

/** The mean for ratios. NaN of nothing. */
export const geometricMean = (values: readonly number[]): number =>
  values.length === 0 ? Number.NaN : Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

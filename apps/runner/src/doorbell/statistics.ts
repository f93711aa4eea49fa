/** The value that the given share of all is not above; undefined of none. */
export function percentile(values: Iterable<number>, share: number): number | undefined {
  const sorted = Float64Array.from(values).sort();
  return sorted.at(Math.max(0, Math.ceil(sorted.length * share) - 1));
}

export function mean(values: ArrayLike<number>): number | undefined {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return values.length === 0 ? undefined : sum / values.length;
}

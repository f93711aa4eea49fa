import { availableParallelism, loadavg } from 'node:os';

/** The host for the record: with more load than processors, wall times say little. */
export const describeHost = (): string =>
  `host: ${availableParallelism()} processors, load ${loadavg()[0].toFixed(1)} over the last minute`;

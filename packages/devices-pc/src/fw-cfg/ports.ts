import type { StateSlot } from '../ports.ts';

export interface FwCfgPorts {
  readonly state: StateSlot;
  /** RAM in bytes. */
  readonly ramSize: number;
  /** Processors that are there at start, and that there can ever be. */
  readonly cpus: number;
  readonly maxCpus: number;
}

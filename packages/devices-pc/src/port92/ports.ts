import type { StateSlot } from '../ports.ts';

export interface Port92Ports {
  readonly state: StateSlot;
  /** Whether address line 20 passes. */
  readonly onA20: (enabled: boolean) => void;
  /** The processor is reset. */
  readonly onReset: () => void;
}

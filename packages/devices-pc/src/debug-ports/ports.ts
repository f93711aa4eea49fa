import type { CharBackend, StateSlot } from '../ports.ts';

export interface DelayPortPorts {
  readonly state: StateSlot;
}

export interface DebugConsolePorts {
  readonly backend: CharBackend;
}

export interface DebugExitPorts {
  /** The guest asks the machine to end; `status` is `(v << 1) | 1` of the value written, so never 0. Unsigned, 32 bits. */
  readonly onExit: (status: number) => void;
}

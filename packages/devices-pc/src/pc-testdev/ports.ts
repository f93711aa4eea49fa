import type { IrqLine, StateSlot } from '../ports.ts';

export interface PcTestdevPorts {
  readonly state: StateSlot;
  /** ISA interrupt lines 0–23, by number. */
  readonly irqLine: (n: number) => IrqLine | undefined;
}

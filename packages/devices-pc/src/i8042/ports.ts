import type { IrqLine, StateSlot } from '../ports.ts';

export interface I8042Ports {
  readonly state: StateSlot;
  /** IRQ 1 on a PC. */
  readonly keyboardIrq: IrqLine;
  /** IRQ 12 on a PC. */
  readonly auxIrq: IrqLine;
  /** Bit 1 of the output port: whether address line 20 passes. */
  readonly onA20: (enabled: boolean) => void;
  /** Bit 0 of the output port, pulsed or held low, resets the processor. */
  readonly onReset: () => void;
}

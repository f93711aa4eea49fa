import type { Clock, IrqLine, StateSlot } from '../ports.ts';

export interface AcpiPmPorts {
  readonly state: StateSlot;
  /** The system control interrupt, level-triggered; the FADT and the MADT say which. */
  readonly sci: IrqLine;
  readonly clock: Clock;
  /** Bits of the PM timer; the FADT must say the same (TMR_VAL_EXT). */
  readonly timerBits: 24 | 32;
  /** The guest entered S5. */
  readonly onPowerOff: () => void;
  /** The guest wrote the reset register; true for a full power cycle (bit 3). */
  readonly onReset: (powerCycle: boolean) => void;
}

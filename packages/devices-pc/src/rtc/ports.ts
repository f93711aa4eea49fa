import type { Clock, IrqLine, StateSlot } from '../ports.ts';

export interface RtcPorts {
  readonly state: StateSlot;
  /** IRQ 8 on a PC. */
  readonly irq: IrqLine;
  readonly clock: Clock;
  /** What firmware leaves in the CMOS about the machine. */
  readonly machine: {
    /** RAM below 4 GiB, bytes. */
    readonly memoryBelow4G: number;
    /** RAM from 4 GiB on, bytes. */
    readonly memoryAbove4G: number;
  };
  /** Bit 7 of port 0x70: true while NMIs are masked. */
  readonly onNmiMask?: (masked: boolean) => void;
}

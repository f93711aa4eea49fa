import type { CharBackend, Clock, IrqLine, StateSlot } from '../ports.ts';

export interface Uart16550Ports {
  readonly state: StateSlot;
  readonly irq: IrqLine;
  readonly clock: Clock;
  readonly backend: CharBackend;
  /** Called after `receive` took less than it was offered, once the receiver has been emptied. */
  readonly onReceiveSpace?: () => void;
}

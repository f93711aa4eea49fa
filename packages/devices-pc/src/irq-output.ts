import type { IrqLine } from './ports.ts';

export type IrqOutput = {
  /** Drives the level; only changes reach the line. */
  readonly set: (active: boolean) => void;
  /** Drives the level even if it seems unchanged: after a restore the line's other end may hold another one. */
  readonly resend: (active: boolean) => void;
};

/** Remembers the level of a line, so that devices may state it after every step. */
export function createIrqOutput(irq: IrqLine): IrqOutput {
  let level: 0 | 1 = 0;
  const resend = (active: boolean): void => {
    level = active ? 1 : 0;
    irq.setLevel(level);
  };
  return {
    set: (active) => {
      if (active !== (level === 1)) resend(active);
    },
    resend,
  };
}

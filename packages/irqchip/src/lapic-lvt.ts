/** The local vector table and the LINT pins. SDM vol. 3 §12.5.1 */
import type { View } from '@tsvisor/state-layout';
import {
  APIC_LVT_LINT0,
  APIC_LVT_LINT1,
  DELIVERY_EXTINT,
  DELIVERY_FIXED,
  type LAPIC_LAYOUT,
  LVT_LEVEL_TRIGGERED,
  LVT_MASKED,
  LVT_REMOTE_IRR,
} from './lapic-registers.ts';
import type { DeliveryCount } from './ports.ts';

/** The part of the local APIC that takes what the table delivers. */
export type LvtTarget = { readonly accept: (mode: number, vector: number, level: boolean) => DeliveryCount };

const LINT = [APIC_LVT_LINT0 >> 4, APIC_LVT_LINT1 >> 4] as const;

export class Lvt {
  private readonly regs: Uint32Array;
  private readonly lint: Uint32Array;
  private readonly target: LvtTarget;

  constructor(state: View<typeof LAPIC_LAYOUT.schema>, target: LvtTarget) {
    this.regs = state.regs;
    this.lint = state.lint;
    this.target = target;
  }

  /** An entry's source fires once. */
  deliver(register: number): void {
    const entry = this.regs[register >> 4];
    if (entry & LVT_MASKED) return;
    this.target.accept((entry >> 8) & 7, entry & 0xff, false);
  }

  /** Writes an entry; delivery status and remote IRR are the APIC's own. */
  write(index: number, value: number): void {
    const keep = value & LVT_LEVEL_TRIGGERED ? this.regs[index] & LVT_REMOTE_IRR : 0;
    this.regs[index] = value | keep;
    if (index === LINT[0]) this.levelDelivery(0);
    else if (index === LINT[1]) this.levelDelivery(1);
  }

  setLint(pin: 0 | 1, level: 0 | 1): void {
    const before = this.lint[pin];
    this.lint[pin] = level;
    const entry = this.regs[LINT[pin]];
    // In ExtINT mode INTR is looked at, not delivered: `acceptsPicInterrupts`.
    if (entry & LVT_MASKED || ((entry >> 8) & 7) === DELIVERY_EXTINT) return;
    if (this.isLevel(entry)) this.levelDelivery(pin);
    else if (level === 1 && before === 0) this.target.accept((entry >> 8) & 7, entry & 0xff, false);
  }

  /** Only fixed delivery knows level triggering; SMI, NMI and INIT are edges always. */
  private isLevel(entry: number): boolean {
    return (entry & LVT_LEVEL_TRIGGERED) !== 0 && ((entry >> 8) & 7) === DELIVERY_FIXED;
  }

  private levelDelivery(pin: 0 | 1): void {
    const entry = this.regs[LINT[pin]];
    if (!this.isLevel(entry) || entry & (LVT_MASKED | LVT_REMOTE_IRR) || this.lint[pin] === 0) return;
    if (this.target.accept(DELIVERY_FIXED, entry & 0xff, true) >= 0) this.regs[LINT[pin]] |= LVT_REMOTE_IRR;
  }

  /** Ends a level-triggered LINT interrupt; a pin that is still high asks again. */
  eoi(vector: number): void {
    this.endLevel(0, vector);
    this.endLevel(1, vector);
  }

  private endLevel(pin: 0 | 1, vector: number): void {
    const entry = this.regs[LINT[pin]];
    if ((entry & LVT_REMOTE_IRR) === 0 || (entry & 0xff) !== vector) return;
    this.regs[LINT[pin]] &= ~LVT_REMOTE_IRR;
    this.levelDelivery(pin);
  }
}

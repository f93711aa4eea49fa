/** Local APIC registers and bits, as numbered by SDM vol. 3 §12.4 (table 12-1): MMIO offset, or x2APIC MSR 0x800 + offset / 16. */
import { array, defineLayout } from '@tsvisor/state-layout';

export const APIC_ID = 0x020;
export const APIC_VERSION = 0x030;
export const APIC_TPR = 0x080;
export const APIC_APR = 0x090;
export const APIC_PPR = 0x0a0;
export const APIC_EOI = 0x0b0;
export const APIC_RRD = 0x0c0;
export const APIC_LDR = 0x0d0;
export const APIC_DFR = 0x0e0;
export const APIC_SVR = 0x0f0;
export const APIC_ISR = 0x100;
export const APIC_TMR = 0x180;
export const APIC_IRR = 0x200;
export const APIC_ESR = 0x280;
export const APIC_ICR = 0x300;
export const APIC_ICR2 = 0x310;
export const APIC_LVT_TIMER = 0x320;
export const APIC_LVT_THERMAL = 0x330;
export const APIC_LVT_PERF = 0x340;
export const APIC_LVT_LINT0 = 0x350;
export const APIC_LVT_LINT1 = 0x360;
export const APIC_LVT_ERROR = 0x370;
export const APIC_TMICT = 0x380;
export const APIC_TMCCT = 0x390;
export const APIC_TDCR = 0x3e0;
/** x2APIC only. SDM vol. 3 §12.12.11 */
export const APIC_SELF_IPI = 0x3f0;

/** Integrated APIC (0x1x), six LVT entries, no EOI-broadcast suppression. SDM vol. 3 §12.4.8 */
export const APIC_VERSION_VALUE = 0x14 | (5 << 16);

export const SVR_ENABLE = 0x100;
/** Vector, enable, focus checking. SDM vol. 3 §12.9 */
export const SVR_WRITABLE = 0x3ff;
export const DFR_FLAT = 0xf;

export const LVT_MASKED = 1 << 16;
export const LVT_LEVEL_TRIGGERED = 1 << 15;
export const LVT_REMOTE_IRR = 1 << 14;
export const LVT_ACTIVE_LOW = 1 << 13;
export const LVT_TIMER_MODE_SHIFT = 17;
export const TIMER_ONE_SHOT = 0;
export const TIMER_PERIODIC = 1;
export const TIMER_TSC_DEADLINE = 2;

export const DELIVERY_FIXED = 0;
export const DELIVERY_LOWEST = 1;
export const DELIVERY_SMI = 2;
export const DELIVERY_NMI = 4;
export const DELIVERY_INIT = 5;
export const DELIVERY_SIPI = 6;
export const DELIVERY_EXTINT = 7;

export const ICR_LOGICAL = 1 << 11;
export const ICR_ASSERT = 1 << 14;
export const ICR_LEVEL_TRIGGERED = 1 << 15;
export const ICR_SHORTHAND_SHIFT = 18;
/** Vector, mode, destination mode, level, trigger, shorthand; the rest is reserved or read-only. */
export const ICR_WRITABLE = 0x000c_cfff;

export const ESR_SEND_ILLEGAL_VECTOR = 0x20;
export const ESR_RECEIVE_ILLEGAL_VECTOR = 0x40;
export const ESR_ILLEGAL_REGISTER = 0x80;

export const MSR_APIC_BASE = 0x1b;
export const MSR_TSC_DEADLINE = 0x6e0;
export const MSR_X2APIC_FIRST = 0x800;
export const MSR_X2APIC_LAST = 0x83f;
export const APIC_BASE_BSP = 1 << 8;
export const APIC_BASE_EXTD = 1 << 10;
export const APIC_BASE_ENABLE = 1 << 11;
export const APIC_DEFAULT_BASE = 0xfee0_0000;

/** Interrupts that have no vector and wait at the processor, as bits of `LAPIC_LAYOUT`'s `events`. */
export const EVENT_NMI = 1;
export const EVENT_SMI = 2;
export const EVENT_INIT = 4;
export const EVENT_SIPI = 8;
export const EVENT_EXTINT = 16;

/** One local APIC. IRR words and `events` are changed atomically: another thread may set bits. */
export const LAPIC_LAYOUT = defineLayout('lapic', {
  /** When the timer's count reaches zero (ns); Infinity while it is stopped. */
  timerTargetNs: array('f64', 1),
  /** Registers by offset / 16; 32 bits of each exist. */
  regs: array('u32', 64),
  apicBase: array('u32', 2),
  tscDeadline: array('u32', 2),
  /** Bits that the next write of ESR makes visible. */
  esrSeen: array('u32', 1),
  events: array('u32', 1),
  sipiVector: array('u32', 1),
  /** Levels of the LINT0 and LINT1 pins. */
  lint: array('u32', 2),
  /** Turns this APIC has taken in lowest-priority arbitration. */
  arbitration: array('u32', 1),
  /** Zero in bytes that no APIC has used yet. */
  poweredOn: array('u32', 1),
});

const lvtVector = 0xff;
const lvtMode = 0x700;

/** Writable bits of each LVT entry. SDM vol. 3 figure 12-8 */
export const LVT_WRITABLE: Readonly<Record<number, number>> = {
  [APIC_LVT_TIMER]: lvtVector | LVT_MASKED | (3 << LVT_TIMER_MODE_SHIFT),
  [APIC_LVT_THERMAL]: lvtVector | lvtMode | LVT_MASKED,
  [APIC_LVT_PERF]: lvtVector | lvtMode | LVT_MASKED,
  [APIC_LVT_LINT0]: lvtVector | lvtMode | LVT_ACTIVE_LOW | LVT_LEVEL_TRIGGERED | LVT_MASKED,
  [APIC_LVT_LINT1]: lvtVector | lvtMode | LVT_ACTIVE_LOW | LVT_LEVEL_TRIGGERED | LVT_MASKED,
  [APIC_LVT_ERROR]: lvtVector | LVT_MASKED,
};

/** Highest set bit of eight words that begin at register `first`, or -1. */
export function highestVector(regs: Uint32Array, first: number): number {
  for (let word = 7; word >= 0; word--) {
    const bits = regs[(first >> 4) + word];
    if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
  }
  return -1;
}

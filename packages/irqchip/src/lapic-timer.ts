/** The local APIC timer: one-shot, periodic, TSC deadline. SDM vol. 3 §12.5.4. Its input clock is 1 GHz: a tick is 1 ns. */
import type { View } from '@tsvisor/state-layout';
import {
  APIC_LVT_TIMER,
  APIC_TDCR,
  APIC_TMICT,
  type LAPIC_LAYOUT,
  LVT_TIMER_MODE_SHIFT,
  TIMER_PERIODIC,
  TIMER_TSC_DEADLINE,
} from './lapic-registers.ts';
import type { Clock, TimerHandle, Tsc } from './ports.ts';

/** KVM: min_timer_period_us; a guest cannot keep its host busy with a shorter period. */
const MIN_PERIOD_NS = 200_000;

export type LapicTimerOptions = {
  readonly state: View<typeof LAPIC_LAYOUT.schema>;
  readonly clock: Clock;
  readonly tsc: Tsc;
  /** The count reached zero: deliver through the LVT entry. */
  readonly onExpire: () => void;
};

export class LapicTimer {
  private readonly regs: Uint32Array;
  private readonly target: Float64Array;
  private readonly deadline: Uint32Array;
  private readonly clock: Clock;
  private readonly tsc: Tsc;
  private readonly onExpire: () => void;
  private timer: TimerHandle | undefined;
  private readonly onTimer = (): void => this.expire();

  constructor(options: LapicTimerOptions) {
    this.regs = options.state.regs;
    this.target = options.state.timerTargetNs;
    this.deadline = options.state.tscDeadline;
    this.clock = options.clock;
    this.tsc = options.tsc;
    this.onExpire = options.onExpire;
  }

  mode(): number {
    return (this.regs[APIC_LVT_TIMER >> 4] >>> LVT_TIMER_MODE_SHIFT) & 3;
  }

  /** SDM vol. 3 figure 12-10: bits 3, 1, 0 give 2, 4, … 128, and 111b gives 1. */
  private divisor(): number {
    const tdcr = this.regs[APIC_TDCR >> 4];
    return 1 << (((((tdcr & 8) >> 1) | (tdcr & 3)) + 1) & 7);
  }

  private periodNs(): number {
    const period = this.regs[APIC_TMICT >> 4] * this.divisor();
    return this.mode() === TIMER_PERIODIC && period > 0 ? Math.max(period, MIN_PERIOD_NS) : period;
  }

  /** The guest wrote the initial count: counting restarts; zero stops the timer. */
  setInitialCount(count: number): void {
    if (this.mode() === TIMER_TSC_DEADLINE) return;
    this.regs[APIC_TMICT >> 4] = count;
    this.target[0] = count === 0 ? Infinity : this.clock.monotonicNs() + this.periodNs();
    this.arm();
  }

  /** The counter keeps its value; from here it counts at the new rate. */
  setDivide(value: number): void {
    const count = this.currentCount();
    this.regs[APIC_TDCR >> 4] = value & 0xb;
    if (this.target[0] === Infinity || this.mode() === TIMER_TSC_DEADLINE) return;
    this.target[0] = this.clock.monotonicNs() + count * this.divisor();
    this.arm();
  }

  /** The mode bits changed from `before`. Entering or leaving TSC-deadline mode disarms. SDM vol. 3 §12.5.4.1 */
  modeChanged(before: number): void {
    if ((before === TIMER_TSC_DEADLINE) === (this.mode() === TIMER_TSC_DEADLINE)) return;
    this.stop();
  }

  currentCount(): number {
    if (this.mode() === TIMER_TSC_DEADLINE || this.target[0] === Infinity) return 0;
    const remaining = this.target[0] - this.clock.monotonicNs();
    const period = this.periodNs();
    if (remaining > 0) return Math.min(this.regs[APIC_TMICT >> 4], Math.floor(remaining / this.divisor()));
    if (this.mode() !== TIMER_PERIODIC || period === 0) return 0;
    // The host is late: the counter itself has gone round already.
    return Math.floor((period - (-remaining % period)) / this.divisor());
  }

  /** IA32_TSC_DEADLINE: zero disarms; a deadline in the past expires at once. Ignored outside TSC-deadline mode. */
  setDeadline(lo: number, hi: number): void {
    if (this.mode() !== TIMER_TSC_DEADLINE) return;
    this.deadline[0] = lo;
    this.deadline[1] = hi;
    this.retime();
  }

  /** The TSC moved against the clock: find the deadline's time again. */
  retime(): void {
    if (this.mode() !== TIMER_TSC_DEADLINE) return;
    const armed = this.deadline[0] !== 0 || this.deadline[1] !== 0;
    this.target[0] = armed ? this.tsc.deadlineNs(this.deadline[0], this.deadline[1]) : Infinity;
    if (this.target[0] <= this.clock.monotonicNs()) this.expire();
    else this.arm();
  }

  stop(): void {
    this.regs[APIC_TMICT >> 4] = 0;
    this.deadline.fill(0);
    this.target[0] = Infinity;
    this.arm();
  }

  /** Matches the host's timer to the state. */
  arm(): void {
    this.disarm();
    if (this.target[0] < Infinity) this.timer = this.clock.setTimer(this.target[0], this.onTimer);
  }

  disarm(): void {
    this.timer?.[Symbol.dispose]();
    this.timer = undefined;
  }

  private expire(): void {
    const now = this.clock.monotonicNs();
    if (now < this.target[0]) {
      this.arm();
      return;
    }
    if (this.mode() === TIMER_PERIODIC) {
      // Periods the host slept through are one interrupt, as in hardware whose IRR bit is still set.
      const period = this.periodNs();
      this.target[0] = period > 0 ? this.target[0] + (Math.floor((now - this.target[0]) / period) + 1) * period : Infinity;
    } else {
      this.target[0] = Infinity;
      this.deadline.fill(0);
    }
    this.arm();
    this.onExpire();
  }
}

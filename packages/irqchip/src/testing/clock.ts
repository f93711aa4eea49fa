/** Virtual time for tests: timers run when the test moves the clock. */
import type { Clock, StatePlace, TimerHandle } from '../ports.ts';

export class TestClock implements Clock {
  now = 1_000_000;
  /** Armed deadlines and their functions. */
  readonly timers = new Set<{ deadlineNs: number; fn: () => void }>();
  readonly monotonicNs = (): number => this.now;
  readonly setTimer = (deadlineNs: number, fn: () => void): TimerHandle => {
    const timer = { deadlineNs, fn };
    this.timers.add(timer);
    return { [Symbol.dispose]: () => this.timers.delete(timer) };
  };

  private due(): { deadlineNs: number; fn: () => void } | undefined {
    let first: { deadlineNs: number; fn: () => void } | undefined;
    for (const timer of this.timers)
      if (timer.deadlineNs <= this.now && (!first || timer.deadlineNs < first.deadlineNs)) first = timer;
    return first;
  }

  /** Lets `ns` pass, stopping at each deadline on the way. */
  advance(ns: number): void {
    const end = this.now + ns;
    for (let runs = 0; runs < 1_000_000; runs++) {
      const next = Math.min(...[...this.timers].map((timer) => timer.deadlineNs));
      if (next > end) break;
      this.now = Math.max(this.now, next);
      this.runDue();
    }
    this.now = end;
  }

  /** Lets `ns` pass without running a timer, as a host that was busy; then runs what is due. */
  oversleep(ns: number): void {
    this.now += ns;
    this.runDue();
  }

  private runDue(): void {
    for (let runs = 0; runs < 1000; runs++) {
      const timer = this.due();
      if (!timer) return;
      this.timers.delete(timer);
      timer.fn();
    }
    throw new Error('a timer keeps firing without time passing');
  }
}

export const place = (size: number): StatePlace => ({ buffer: new SharedArrayBuffer(size), byteOffset: 0 });

import type { Host } from './host.ts';

type Timer = { readonly deadlineNs: number; readonly fn: () => void; live: boolean };

/** Time for the devices and chips of one machine. Its timers fire when `runDue` is called, never by themselves. */
export type MachineClock = {
  /** Nanoseconds since the machine was made, not necessarily whole. */
  readonly monotonicNs: () => number;
  /** What the host's clock showed when this one was 0. */
  readonly originNs: number;
  /** Nanoseconds since 1970-01-01T00:00:00Z. */
  readonly realtimeNs: () => bigint;
  /** Calls `fn` once, from `runDue`, when `deadlineNs` on the scale of `monotonicNs` has come. Disposing cancels. */
  readonly setTimer: (deadlineNs: number, fn: () => void) => Disposable;
  /** Fires what is due, earliest first, each deadline once the one before has been handled; returns how many. */
  readonly runDue: () => number;
  /** Deadline of the first timer; Infinity when there is none. */
  readonly nextDeadlineNs: () => number;
  /** Called when a timer is set that comes before all others: whoever waits for the first deadline must look again. */
  onEarlier: (() => void) | undefined;
};

/**
 * A clock whose timers are one sorted list. A machine has a few tens of them and sets the nearest ones most often, so insertion
 * from the front of a list kept latest first is a few comparisons.
 */
export function createMachineClock(
  host: Pick<Host, 'monotonicNs' | 'realtimeNs'>,
  /** The host's time at which the clock is 0: that of another thread's clock, for one that shows the same. */
  origin = host.monotonicNs(),
): MachineClock {
  /** Latest deadline first, so that the next one is popped off the end. */
  const timers: Timer[] = [];
  const now = (): number => host.monotonicNs() - origin;

  /** Cancelled timers go when they come to the front. */
  const first = (): Timer | undefined => {
    while (timers.length > 0 && !timers[timers.length - 1].live) timers.pop();
    return timers[timers.length - 1];
  };
  const setTimer = (deadlineNs: number, fn: () => void): Disposable => {
    const timer: Timer = { deadlineNs, fn, live: true };
    let at = timers.length;
    // Equal deadlines fire in the order they were set.
    while (at > 0 && timers[at - 1].deadlineNs <= deadlineNs) at--;
    timers.splice(at, 0, timer);
    if (first() === timer) clock.onEarlier?.();
    if (timers.length > 4 * SWEEP) sweep();
    return {
      [Symbol.dispose]: () => {
        timer.live = false;
      },
    };
  };
  /** A guest that sets far timers again and again must not fill the list with cancelled ones. */
  const sweep = (): void => {
    const live = timers.filter((timer) => timer.live);
    timers.splice(0, timers.length, ...live);
  };
  const runDue = (): number => {
    let count = 0;
    const until = now();
    for (let timer = first(); timer !== undefined && timer.deadlineNs <= until; timer = first()) {
      timers.pop();
      timer.live = false;
      timer.fn();
      // A timer that sets itself again in the past would hold the loop for ever.
      if (++count >= MAX_PER_RUN) break;
    }
    return count;
  };
  const clock: MachineClock = {
    monotonicNs: now,
    originNs: origin,
    realtimeNs: host.realtimeNs,
    setTimer,
    runDue,
    nextDeadlineNs: () => first()?.deadlineNs ?? Infinity,
    onEarlier: undefined,
  };
  return clock;
}

const SWEEP = 64;
const MAX_PER_RUN = 256;

import { describe, expect, it } from 'vitest';
import { Pace } from './pace.ts';

const HEADER = 0x1000;

/** Reports a block that runs at a rate whenever it is asked for, until it is hot: how often it was asked, or undefined after 20 times. */
function asks(pace: Pace, runsPerMs: number): number | undefined {
  let now = 500;
  for (let asked = 0; asked < 20; asked++) {
    const runs = pace.report(HEADER, now);
    if (runs === 0) return asked;
    now += runs / runsPerMs;
  }
  return undefined;
}

describe('the pace that keeps a block hot', () => {
  it('is found out over some more runs', () => {
    expect(asks(new Pace(30), 31)).toBe(1);
    expect(asks(new Pace(30), 29)).toBeGreaterThan(1);
  });

  it('does not matter where there is none', () => {
    expect(asks(new Pace(0), 0.001)).toBe(0);
  });

  it('is looked at more and more seldom', () => {
    const pace = new Pace(30);
    let now = 0;
    const runs = Array.from({ length: 4 }, () => pace.report(HEADER, (now += 10_000)));
    expect(runs).toEqual([4000, 8000, 16_000, 32_000]);
    expect(pace.report(HEADER, now + 32_000 / 31)).toBe(0);
  });

  it('does not matter for what has run a hundred thousand times', () => {
    const pace = new Pace(30);
    let [runs, now] = [0, 0];
    for (let next = pace.report(HEADER, now); next > 0; next = pace.report(HEADER, now)) {
      runs += next;
      now += next;
    }
    expect(runs).toBeGreaterThan(100_000);
    expect(runs).toBeLessThan(150_000);
  });

  it('need not be kept up by a block that waits for its compilation', () => {
    const pace = new Pace(30);
    const runs = pace.report(HEADER, 0);
    expect(pace.report(HEADER, runs / 100)).toBe(0);
    expect(pace.report(HEADER, 1e6)).toBe(0);
    pace.forget(HEADER);
    expect(pace.report(HEADER, 2e6)).toBeGreaterThan(0);
  });
});

import { describe, expect, it } from 'vitest';
import { createMachineClock } from './clock.ts';
import { createFakeHost } from './testing/fakes.ts';

function setup() {
  const host = createFakeHost();
  const fired: string[] = [];
  const clock = createMachineClock(host);
  const set = (name: string, deadline: number) => clock.setTimer(deadline, () => fired.push(name));
  return { host, clock, fired, set };
}

describe('the clock of a machine', () => {
  it('starts at zero when the machine is made', () => {
    const { host, clock } = setup();
    expect(clock.monotonicNs()).toBe(0);
    host.now += 5;
    expect(clock.monotonicNs()).toBe(5);
  });

  it('fires what is due in the order of the deadlines, equal ones as they were set, and nothing else', () => {
    const { host, clock, fired, set } = setup();
    set('late', 30);
    set('b', 20);
    set('a', 10);
    set('c', 20);
    host.now += 20;
    expect(clock.runDue()).toBe(3);
    expect(fired).toEqual(['a', 'b', 'c']);
    expect(clock.nextDeadlineNs()).toBe(30);
    expect(clock.runDue()).toBe(0);
  });

  it('fires a timer once', () => {
    const { host, clock, fired, set } = setup();
    set('a', 1);
    host.now += 5;
    clock.runDue();
    clock.runDue();
    expect(fired).toEqual(['a']);
    expect(clock.nextDeadlineNs()).toBe(Infinity);
  });

  it('does not fire what was cancelled, and does not wait for it', () => {
    const { host, clock, fired, set } = setup();
    const first = set('a', 1);
    set('b', 2);
    first[Symbol.dispose]();
    expect(clock.nextDeadlineNs()).toBe(2);
    host.now += 5;
    clock.runDue();
    expect(fired).toEqual(['b']);
  });

  it('lets a timer cancel one that is due with it', () => {
    const { host, clock, fired, set } = setup();
    clock.setTimer(1, () => second[Symbol.dispose]());
    const second = set('b', 2);
    host.now += 5;
    expect(clock.runDue()).toBe(1);
    expect(fired).toEqual([]);
  });

  it('does not hang on a timer that sets itself again in the past', () => {
    const { host, clock } = setup();
    let count = 0;
    const again = (): void => {
      count++;
      clock.setTimer(0, again);
    };
    again();
    host.now += 5;
    clock.runDue();
    expect(count).toBeLessThan(1000);
  });

  it('tells when a timer comes before all others, and only then', () => {
    const { clock, set } = setup();
    let told = 0;
    clock.onEarlier = () => told++;
    set('a', 50);
    set('b', 60);
    set('c', 40);
    expect(told).toBe(2);
  });

  it('forgets cancelled timers that lie far ahead: a guest may set and cancel for ever', () => {
    const { host, clock, set } = setup();
    for (let i = 0; i < 100_000; i++) set('x', 1e15 + i)[Symbol.dispose]();
    set('a', 1);
    host.now += 5;
    const before = performance.now();
    for (let i = 0; i < 1000; i++) {
      set('y', 1e15)[Symbol.dispose]();
      clock.runDue();
    }
    expect(performance.now() - before).toBeLessThan(200);
  });
});

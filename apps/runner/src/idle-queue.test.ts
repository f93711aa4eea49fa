import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { IdleQueue } from './idle-queue.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));
/** Longer than others are waited for. */
const LONG = 100;

describe('a queue of jobs for idle moments', () => {
  it('does those that came at about the same time in their order, one in each turn of the event loop', async () => {
    const queue = new IdleQueue();
    const done: number[] = [];
    const add = (order: number): void => queue.add(order, () => void done.push(order));
    for (const order of [30, 10, 20]) add(order);
    await turn();
    expect(done).toEqual([]);
    queue.add(5, () => {
      done.push(5);
      setImmediate(() => done.push(0));
      // What comes now is late.
      add(1);
    });
    await sleep(LONG);
    expect(done).toEqual([5, 0, 10, 20, 30, 1]);
  });

  it('is finished in time, and forgets the rest', async () => {
    const queue = new IdleQueue();
    const done: number[] = [];
    for (let n = 100; n > 0; n--)
      queue.add(n, () => {
        const end = performance.now() + 20;
        while (performance.now() < end);
        done.push(n);
      });
    queue.finish(30);
    expect(done).toEqual([1, 2]);
    await sleep(LONG);
    expect(done).toEqual([1, 2]);
  });

  it('takes no more than can wait', () => {
    const queue = new IdleQueue();
    let done = 0;
    for (let n = 0; n < 11_000; n++) queue.add(n, () => void done++);
    queue.finish(10_000);
    expect(done).toBe(10_000);
  });
});

import { describe, expect, it } from 'vitest';
import { IdleQueue } from './idle-queue.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a queue of jobs for idle moments', () => {
  it('does one in each turn of the event loop, and what else there is to do in between', async () => {
    const queue = new IdleQueue();
    const done: string[] = [];
    for (const name of ['a', 'b', 'c']) queue.add(() => void done.push(name));
    expect(done).toEqual([]);
    await turn();
    done.push('else');
    await turn();
    queue.add(() => void done.push('d'));
    for (let n = 0; n < 3; n++) await turn();
    expect(done).toEqual(['a', 'else', 'b', 'c', 'd']);
  });

  it('is finished in time, and forgets the rest', async () => {
    const queue = new IdleQueue();
    let done = 0;
    const slow = (): void => {
      const end = performance.now() + 20;
      while (performance.now() < end);
      done++;
    };
    for (let n = 0; n < 100; n++) queue.add(slow);
    queue.finish(30);
    expect(done).toBe(2);
    await turn();
    await turn();
    expect(done).toBe(2);
  });

  it('takes no more than can wait', () => {
    const queue = new IdleQueue();
    let done = 0;
    for (let n = 0; n < 6000; n++) queue.add(() => void done++);
    queue.finish(10_000);
    expect(done).toBe(5000);
  });
});

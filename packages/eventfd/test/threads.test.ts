import { describe, expect, it } from 'vitest';
import { EventFd } from '../src/index.ts';
import { inThread } from './worker-pool.ts';

describe('between threads', () => {
  for (const async of [false, true]) {
    it(`${async ? 'async' : 'blocking'} readers see every signal of two signallers once`, async () => {
      const fd = EventFd.create();
      const readers = [0, 1].map(() => inThread({ kind: 'read', fd: fd.handle, async }));
      await Promise.all([0, 1].map(() => inThread({ kind: 'signal', fd: fd.handle, times: 200_000 })));
      fd.close();
      const seen = await Promise.all(readers);
      expect(seen.map(({ ended }) => ended)).toEqual(['EVENTFD_CLOSED', 'EVENTFD_CLOSED']);
      expect(seen.reduce((sum, reader) => sum + reader.sum, 0n)).toBe(400_000n);
    });
  }
  it('a semaphore gives each of its units to one reader', async () => {
    const fd = EventFd.create({ semaphore: true });
    const readers = [0, 1].map(() => inThread({ kind: 'read', fd: fd.handle }));
    await Promise.all([0, 1].map(() => inThread({ kind: 'signal', fd: fd.handle, times: 20_000 })));
    fd.close();
    const seen = await Promise.all(readers);
    expect(seen.reduce((sum, reader) => sum + reader.reads, 0)).toBe(40_000);
  });
  it('writers that block for room lose nothing', async () => {
    const fd = EventFd.create();
    const n = 2n ** 63n - 1n;
    const reader = inThread({ kind: 'read', fd: fd.handle });
    await Promise.all([0, 1].map(() => inThread({ kind: 'write', fd: fd.handle, times: 5000, n })));
    fd.close();
    expect((await reader).sum).toBe(10_000n * n);
  });
  it('a question and its answer go to and fro between a thread and async code', async () => {
    const question = EventFd.create();
    const answer = EventFd.create();
    const echo = inThread({ kind: 'echo', fd: question.handle, answer: answer.handle });
    for (let i = 0; i < 2000; i++) {
      question.signal();
      expect(await answer.readAsync()).toBe(1n);
    }
    question.close();
    expect((await echo).reads).toBe(2000);
  });
  it('an async reader keeps its thread alive until it is answered, and not longer', async () => {
    const fd = EventFd.create();
    const reader = inThread({ kind: 'read', fd: fd.handle, async: true });
    await new Promise((resolve) => setTimeout(resolve, 100));
    fd.signal();
    fd.close();
    expect(await reader).toEqual({ sum: 1n, reads: 1, ended: 'EVENTFD_CLOSED' });
  });
});

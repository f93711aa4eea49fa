import { afterEach, describe, expect, it } from 'vitest';
import { MailboxClient, MailboxServer, mailboxBytes } from '../../src/threads/exit-mailbox.ts';
import { Parking } from '../../src/threads/parking.ts';
import type { Place } from '../../src/threads/words.ts';
import { answerTo, BENCH } from './worker.ts';
import { inThread } from './worker-pool.ts';
import { jobBytes, totals } from './world-job.ts';

const place = (bytes: number): Place => ({ buffer: new SharedArrayBuffer(bytes), byteOffset: 0 });
const calls = (where: Place, index: number, times: number, spinUs = 20) =>
  inThread({ kind: 'call', place: where, index, times, options: { spinUs } });

describe('mailboxes between threads', () => {
  const where = place(64 + mailboxBytes(3));
  const mailboxes: Place = { ...where, byteOffset: 64 };
  afterEach(() => new Uint8Array(where.buffer).fill(0));

  for (const spinUs of [0, 20])
    it(`an event loop answers three threads, spinning ${spinUs} µs`, async () => {
      using server = new MailboxServer(mailboxes, 3, { spinUs });
      const served = server.serve(answerTo);
      const seen = await Promise.all([0, 1, 2].map((index) => calls(mailboxes, index, 5_000, spinUs)));
      expect(seen.map(({ sum, ended }) => [sum, ended])).toEqual(Array(3).fill([5_000, 'done']));
      server.close();
      await served;
    });

  it('a thread that blocks answers two', async () => {
    const serving = inThread({ kind: 'serve', place: mailboxes, mailboxes: 2 });
    const seen = await Promise.all([0, 1].map((index) => calls(mailboxes, index, 20_000)));
    expect(seen.map(({ sum }) => sum)).toEqual([20_000, 20_000]);
    new MailboxServer(mailboxes, 2).close();
    expect((await serving).sum).toBe(40_000);
  });

  it('timers fire while requests come back to back', async () => {
    const server = new MailboxServer(mailboxes, 3);
    const served = server.serve(answerTo);
    let ticks = 0;
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      ticks++;
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    const [{ seconds }] = await Promise.all([0, 1].map((index) => calls(mailboxes, index, 100_000)));
    clearInterval(timer);
    server.close();
    await served;
    // Every 2 ms here; a loaded host takes the processor away for longer.
    expect(ticks).toBeGreaterThan((seconds * 1000) / 50);
    expect(longest).toBeLessThan(1000);
  });

  it('what the handler throws ends `serve`, and releases all callers', async () => {
    const server = new MailboxServer(mailboxes, 2);
    const served = server.serve((index) => {
      if (index === 1) throw new RangeError('a device is defect');
    });
    const ended = expect(served).rejects.toThrow('a device is defect');
    const waiting = inThread({ kind: 'call', place: mailboxes, index: 1, times: 1 });
    expect((await waiting).ended).toBe('MAILBOX_CLOSED');
    await ended;
    expect((await inThread({ kind: 'call', place: mailboxes, index: 0, times: 1 })).ended).toBe('MAILBOX_CLOSED');
  });

  it('closing releases who waits, and rejects `serve` with the reason', async () => {
    const server = new MailboxServer(mailboxes, 1);
    const waiting = calls(mailboxes, 0, 1);
    const isPosted = (): boolean => server.wait(0);
    while (!isPosted()) await new Promise((resolve) => setTimeout(resolve, 1));
    const reason = new Error('disposed');
    const served = server.serve(() => server.close(reason));
    await expect(served).rejects.toBe(reason);
    expect(await waiting).toMatchObject({ sum: 0, ended: 'MAILBOX_CLOSED' });
    await new MailboxServer(mailboxes, 1).serve(answerTo);
  });

  it('refuses memory that cannot hold them, an engine without waitAsync, and serving twice', async () => {
    const code = (make: () => unknown): unknown => {
      try {
        return make();
      } catch (error) {
        return (error as { code?: unknown }).code;
      }
    };
    expect(code(() => new MailboxClient({ ...where, byteOffset: 32 }, 0))).toBe('THREADS_INVALID');
    expect(code(() => new MailboxServer(mailboxes, 4))).toBe('THREADS_INVALID');
    expect(code(() => new Parking({ buffer: new ArrayBuffer(256) as never, byteOffset: 0 }))).toBe('THREADS_INVALID');
    const { waitAsync } = Atomics;
    Object.assign(Atomics, { waitAsync: undefined });
    expect(code(() => new MailboxServer(mailboxes, 1))).toBe('THREADS_NO_WAIT_ASYNC');
    Object.assign(Atomics, { waitAsync });
    const server = new MailboxServer(mailboxes, 1);
    const served = server.serve(answerTo);
    await expect(server.serve(answerTo)).rejects.toThrow('served already');
    server.close();
    await served;
  });
});

describe('parking', () => {
  for (const timeoutMs of [Number.POSITIVE_INFINITY, 0.01])
    it(`takes all that two threads kick it for, with a timeout of ${timeoutMs} ms`, async () => {
      const where = place(BENCH.bytes);
      const parked = inThread({ kind: 'park', place: where, timeoutMs });
      await Promise.all([0, 1].map(() => inThread({ kind: 'kick', place: where, times: 200_000 })));
      Atomics.store(new Int32Array(where.buffer), BENCH.stop, 1);
      new Parking(where).kick();
      expect((await parked).sum).toBe(400_000);
    });

  it('returns at once when ready, and after the timeout otherwise', () => {
    const parking = new Parking(place(BENCH.bytes));
    parking.kick();
    parking.park(() => true, Number.POSITIVE_INFINITY);
    const began = performance.now();
    parking.park(() => false, 20);
    expect(performance.now() - began).toBeGreaterThan(15);
  });
});

describe('stopping the world', () => {
  for (const vcpus of [1, 3])
    it(`${vcpus} vCPUs are alone when they want to be, and see every request in time`, async () => {
      const where = place(jobBytes(vcpus));
      const jobs = [...Array(vcpus).keys()].map((me) => inThread({ kind: 'world', place: where, vcpus, me, times: 3000 }));
      const alone = (await Promise.all(jobs)).reduce((sum, report) => sum + report.sum, 0);
      expect(alone).toBeGreaterThan(0);
      expect(totals(where, vcpus)).toEqual({ count: alone, sum: alone });
    });
});

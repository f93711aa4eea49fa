/** Threads that put writes in at once, while this one takes them out and changes the zones. */
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { COALESCED_BYTES, CoalescedMmio, createMmioBus } from '../../src/index.ts';
import type { Job } from './thread.ts';

const WRITES = 30_000;
const THREADS = 2;
const BASE = 0xd000_0000;

function setup() {
  const place = { buffer: new SharedArrayBuffer(COALESCED_BYTES), byteOffset: 0 };
  const coalesced = new CoalescedMmio(place, THREADS);
  const bus = createMmioBus({ coalesced });
  /** Values by thread, as the device saw them. */
  const seen: number[][] = Array.from({ length: THREADS }, () => []);
  bus.register(
    { base: BASE, size: 4 * THREADS, name: 'device' },
    { read: () => 0, write: (offset, _len, value) => void seen[offset / 4].push(value) },
  );
  let left = THREADS;
  let direct = 0;
  const threads = Array.from({ length: THREADS }, (_, who) => {
    const answer = new SharedArrayBuffer(4);
    const job: Job = { place, who, address: BASE + 4 * who, writes: WRITES, turn: answer };
    const worker = new Worker(new URL('./thread.ts', import.meta.url), {
      workerData: job,
      execArgv: ['--conditions=tsvisor-source', '--no-warnings'],
    });
    worker.on('message', (puts: number) => {
      direct += WRITES - puts;
      left--;
    });
    return { job, turn: new Int32Array(answer) };
  });
  /** Does what a thread asks for by its turn word: its write, which found no zone or no room. */
  const serve = (): void => {
    for (const { job, turn } of threads) {
      const value = Atomics.load(turn, 0);
      if (value === 0) continue;
      bus.write(job.address, 4, value - 1);
      Atomics.store(turn, 0, 0);
      Atomics.notify(turn, 0);
    }
  };
  const run = async (eachTurn: () => void): Promise<number> => {
    while (left > 0) {
      serve();
      eachTurn();
      await new Promise((resolve) => setImmediate(resolve));
    }
    coalesced.flush();
    return direct;
  };
  return { coalesced, seen, run };
}

const all = Array.from({ length: WRITES }, (_, i) => i);

describe('coalesced writes of several threads', () => {
  it('all arrive, each thread’s in order', async () => {
    const { coalesced, seen, run } = setup();
    coalesced.register({ addr: BASE, size: 4 * THREADS, pio: false });
    const direct = await run(() => coalesced.flush());
    for (const values of seen) expect(values).toEqual(all);
    expect(direct).toBeLessThan(THREADS * WRITES);
  }, 30_000);

  it('all arrive in order while zones come and go', async () => {
    const { coalesced, seen, run } = setup();
    const zone = { addr: BASE, size: 4 * THREADS, pio: false };
    let turns = 0;
    const direct = await run(() => {
      if (turns++ % 2 === 0) coalesced.register(zone);
      else {
        coalesced.unregister(zone);
        expect(coalesced.waits).toBe(false);
      }
    });
    for (const values of seen) expect(values).toEqual(all);
    expect(direct).toBeGreaterThan(0);
    expect(direct).toBeLessThan(THREADS * WRITES);
  }, 30_000);
});

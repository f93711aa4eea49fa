import { once } from 'node:events';
import { startDoorbellThread } from '../doorbell-thread.ts';
import { percentile } from './statistics.ts';

/** Words between the two: how often the sleeper was called, and how often it has woken. `ENDED` calls it off. */
export const Word = { called: 0, woken: 16 } as const;
export const ENDED = -1;

const WARM_UP = 100;
const CALLS = 500;
/** Until it sleeps again. */
const PAUSE_MS = 0.1;
const US_PER_MS = 1000;

/** What it costs this host to wake a thread that sleeps, with nothing of ours: µs of whoever does it, the median. */
export async function hostWake(): Promise<number> {
  const words = new Int32Array(new SharedArrayBuffer(128));
  const worker = startDoorbellThread('sleeper', words);
  await once(worker, 'message');
  const costs: number[] = [];
  for (let call = 1; call <= WARM_UP + CALLS; call++) {
    for (const end = performance.now() + PAUSE_MS; performance.now() < end; );
    const start = performance.now();
    Atomics.store(words, Word.called, call);
    Atomics.notify(words, Word.called);
    const cost = performance.now() - start;
    if (call > WARM_UP) costs.push(cost * US_PER_MS);
    while (Atomics.load(words, Word.woken) !== call);
  }
  Atomics.store(words, Word.called, ENDED);
  Atomics.notify(words, Word.called);
  await once(worker, 'exit');
  return percentile(costs, 0.5) ?? Number.NaN;
}

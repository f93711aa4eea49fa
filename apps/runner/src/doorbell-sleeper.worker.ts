/** A thread that does nothing but sleep, and say that it was woken. */
import { parentPort, workerData } from 'node:worker_threads';
import { ENDED, Word } from './doorbell/host-wake.ts';

const words = workerData as Int32Array;
parentPort?.postMessage('ready');
for (let seen = 0; seen !== ENDED; ) {
  Atomics.wait(words, Word.called, seen);
  seen = Atomics.load(words, Word.called);
  Atomics.store(words, Word.woken, seen);
}

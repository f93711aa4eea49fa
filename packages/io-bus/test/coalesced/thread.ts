/** Writes numbers in ascending order, as the thread of a vCPU does: into the ring, or else by asking whoever has the devices. Posts how many it put. */
import { parentPort, workerData } from 'node:worker_threads';
import { type CoalescedPlace, CoalescedRing } from '../../src/index.ts';

export type Job = {
  readonly place: CoalescedPlace;
  readonly who: number;
  readonly address: number;
  readonly writes: number;
  /** A word: one more than the value to be written, 0 when that is done. */
  readonly turn: SharedArrayBuffer;
};

const { place, who, address, writes, turn } = workerData as Job;
const ring = new CoalescedRing(place, who);
const word = new Int32Array(turn);
let puts = 0;
for (let value = 0; value < writes; value++) {
  if (ring.put('mmio', address, 4, value, 0)) {
    puts++;
    continue;
  }
  Atomics.store(word, 0, value + 1);
  while (Atomics.load(word, 0) !== 0) Atomics.wait(word, 0, value + 1);
}
parentPort?.postMessage(puts);

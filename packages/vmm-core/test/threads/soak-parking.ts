/** Kicks of a thread that parks, none of which may be lost: two threads count up and kick, every other round only when all was taken. */
import { parseArgs } from 'node:util';
import { Parking } from '../../src/threads/parking.ts';
import type { Place } from '../../src/threads/words.ts';
import { BENCH } from './worker.ts';
import { inThread } from './worker-pool.ts';

const { values } = parseArgs({
  options: { count: { type: 'string', default: '100000000' }, help: { type: 'boolean', short: 'h' } },
});
const total = Number(values.count);
if (values.help || !Number.isSafeInteger(total) || total < 1) {
  console.error(
    'usage: soak:parking [--count N]   N signals, by default 100,000,000; a lost one is a failure, a lost wake-up a stall',
  );
  process.exit(values.help ? 0 : 2);
}

const ROUND = 2_000_000;
const STALL_MS = 60_000;
/** About 100 µs, in which a sleeper wakes; more would take its core away. */
const LOOKS = 10_000;
const began = performance.now();
let done = 0;
let parks = 0;
for (let round = 0; done < total; round++) {
  const times = Math.ceil(Math.min(ROUND, total - done) / 2);
  const looks = round % 2 === 1 ? LOOKS : 0;
  const place: Place = { buffer: new SharedArrayBuffer(BENCH.bytes), byteOffset: 0 };
  const words = new Int32Array(place.buffer);
  const stall = setTimeout(() => {
    console.error(`\nstalled in round ${round}: ${Atomics.load(words, BENCH.count)} signals wait`);
    process.exit(1);
  }, STALL_MS);
  const parked = inThread({ kind: 'park', place });
  await Promise.all([0, 1].map(() => inThread({ kind: 'kick', place, times, looks })));
  // The last signal has to arrive by itself.
  while (Atomics.load(words, BENCH.count) !== 0) await new Promise((resolve) => setTimeout(resolve, 1));
  Atomics.store(words, BENCH.stop, 1);
  new Parking(place).kick();
  const { sum, turns } = await parked;
  clearTimeout(stall);
  if (sum !== 2 * times) {
    console.error(`\nround ${round}: ${2 * times} signals, ${sum} taken, ${2 * times - sum} lost`);
    process.exit(1);
  }
  done += 2 * times;
  parks += turns;
  const rate = Math.round((done / (performance.now() - began)) * 1000);
  process.stderr.write(`\r${done} of ${total} signals, taken in ${parks} turns, ${rate}/s `);
}
console.log(`\n${done} signals, 0 lost`);

/** Signals under contention, all of which must be read: two signallers, two readers, half of the time semaphores. */
import { parseArgs } from 'node:util';
import { EventFd } from '../src/index.ts';
import { inThread } from './worker-pool.ts';

const { values } = parseArgs({
  options: { signals: { type: 'string', default: '100000000' }, help: { type: 'boolean', short: 'h' } },
});
const total = Number(values.signals);
if (values.help || !Number.isSafeInteger(total) || total < 1) {
  console.error(
    'usage: soak:signals [--signals N]   N signals in all, by default 100,000,000; a lost one is a failure, a lost wake-up a stall',
  );
  process.exit(values.help ? 0 : 2);
}

const ROUND = 2_000_000;
const STALL_MS = 60_000;
const began = performance.now();
let done = 0;
let reads = 0;
for (let round = 0; done < total; round++) {
  const times = Math.ceil(Math.min(ROUND, total - done) / 2);
  const semaphore = round % 2 === 1;
  const fd = EventFd.create({ semaphore });
  const readers = [false, true].map((async) => inThread({ kind: 'read', fd: fd.handle, async }));
  const stall = setTimeout(() => {
    console.error(
      `\nstalled in round ${round} (${semaphore ? 'semaphore' : 'counter'}): ${fd.readable ? 'signals wait' : 'nothing to read'}`,
    );
    process.exit(1);
  }, STALL_MS);
  await Promise.all([0, 1].map(() => inThread({ kind: 'signal', fd: fd.handle, times })));
  fd.close();
  const seen = await Promise.all(readers);
  clearTimeout(stall);
  const sum = seen.reduce((all, reader) => all + reader.sum, 0n);
  if (sum !== BigInt(2 * times)) {
    console.error(`\nround ${round} (${semaphore ? 'semaphore' : 'counter'}): ${2 * times} signals, ${sum} read`);
    process.exit(1);
  }
  done += 2 * times;
  reads += seen.reduce((all, reader) => all + reader.reads, 0);
  const rate = Math.round((done / (performance.now() - began)) * 1000);
  process.stderr.write(`\r${done} of ${total} signals, ${reads} reads, ${rate}/s `);
}
console.log(`\n${done} signals, none lost`);

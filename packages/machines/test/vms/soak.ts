/** Machines come and go in one process, and leave nothing behind: neither threads nor memory. */
import { parseArgs } from 'node:util';
import { liveAndDie, residentMiB } from './cycle.ts';

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '100' },
    'bound-mib': { type: 'string', default: '20' },
    help: { type: 'boolean', short: 'h' },
  },
});
const count = Number(values.count);
const bound = Number(values['bound-mib']);
if (values.help || !Number.isSafeInteger(count) || count < 1 || !(bound > 0)) {
  console.error('usage: soak:vms [--count N] [--bound-mib M]   N machines with threads, then N without (by default 100)');
  console.error('       resident memory must not have grown by more than M MiB (by default 20) since the first few');
  process.exit(values.help ? 0 : 2);
}

/** Caches fill, and the engine of JavaScript finds its size. */
const WARM_UP = 10;
let failed = false;
for (const withThreads of [true, false]) {
  const kind = withThreads ? 'with a thread for each vCPU' : 'without threads';
  for (let i = 0; i < WARM_UP; i++) await liveAndDie(withThreads);
  const before = await residentMiB();
  for (let i = 1; i <= count; i++) {
    await liveAndDie(withThreads);
    if (i % 10 === 0) process.stderr.write(`\r${i} machines ${kind}, ${Math.round(await residentMiB())} MiB `);
  }
  const after = await residentMiB();
  const grown = after - before;
  failed ||= grown > bound;
  console.log(`\n${count} machines ${kind}: ${before.toFixed(1)} MiB before, ${after.toFixed(1)} MiB after`);
}
process.exit(failed ? 1 : 0);

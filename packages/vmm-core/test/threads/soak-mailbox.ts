/** Calls through mailboxes, each of which must get its own answer: two threads call, this one or a third answers, spinning or not. */
import { parseArgs } from 'node:util';
import { MailboxServer, mailboxBytes } from '../../src/threads/exit-mailbox.ts';
import type { Place } from '../../src/threads/words.ts';
import { answerTo } from './worker.ts';
import { inThread } from './worker-pool.ts';

const { values } = parseArgs({
  options: { count: { type: 'string', default: '10000000' }, help: { type: 'boolean', short: 'h' } },
});
const total = Number(values.count);
if (values.help || !Number.isSafeInteger(total) || total < 1) {
  console.error(
    'usage: soak:mailbox [--count N]   N calls, by default 10,000,000; a wrong answer is a failure, a lost wake-up a stall',
  );
  process.exit(values.help ? 0 : 2);
}

const ROUND = 200_000;
const CALLERS = 2;
const STALL_MS = 60_000;
const began = performance.now();
let done = 0;
for (let round = 0; done < total; round++) {
  const times = Math.ceil(Math.min(ROUND, total - done) / CALLERS);
  const blocking = round % 2 === 1;
  const options = { spinUs: round % 4 < 2 ? 0 : 20 };
  const place: Place = { buffer: new SharedArrayBuffer(mailboxBytes(CALLERS)), byteOffset: 0 };
  const server = new MailboxServer(place, CALLERS, options);
  const how = `${blocking ? 'a thread that blocks' : 'an event loop'}, spinning ${options.spinUs} µs`;
  const stall = setTimeout(() => {
    console.error(`\nstalled in round ${round} (${how})`);
    process.exit(1);
  }, STALL_MS);
  const serving = blocking ? inThread({ kind: 'serve', place, mailboxes: CALLERS, options }) : server.serve(answerTo);
  const seen = await Promise.all([0, 1].map((index) => inThread({ kind: 'call', place, index, times, options })));
  server.close();
  await serving;
  clearTimeout(stall);
  const sum = seen.reduce((all, report) => all + report.sum, 0);
  if (sum !== CALLERS * times) {
    console.error(`\nround ${round} (${how}): ${CALLERS * times} calls, ${CALLERS * times - sum} lost`);
    process.exit(1);
  }
  done += sum;
  const rate = Math.round((done / (performance.now() - began)) * 1000);
  process.stderr.write(`\r${done} of ${total} calls, ${rate}/s `);
}
console.log(`\n${done} calls, 0 lost`);

/** Round trips through a mailbox, and latencies of kicks: `node scripts/bootstrap.mjs exec packages/vmm-core/test/threads/rates.ts [COUNT]`. */
import { MailboxServer, mailboxBytes } from '../../src/threads/exit-mailbox.ts';
import { Parking } from '../../src/threads/parking.ts';
import type { Place } from '../../src/threads/words.ts';
import { answerTo, BENCH, type Report } from './worker.ts';
import { inThread } from './worker-pool.ts';

const count = Number(process.argv[2] ?? 200_000);
const place = (bytes: number): Place => ({ buffer: new SharedArrayBuffer(bytes), byteOffset: 0 });

function tell(what: string, latencies: Float64Array | undefined, seconds?: number): void {
  const sorted = (latencies ?? new Float64Array(1)).toSorted();
  const at = (share: number): string => sorted[Math.floor((sorted.length - 1) * share)].toFixed(1);
  const rate = seconds === undefined ? '' : `${Math.round(sorted.length / seconds)}/s, `;
  console.log(`${what}: ${rate}p50 ${at(0.5)} µs, p99 ${at(0.99)} µs`);
}

async function mailbox(what: string, spinUs: number, times: number, blocking: boolean, pauseMs?: number): Promise<void> {
  const where = place(mailboxBytes(1));
  const options = { spinUs };
  const server = new MailboxServer(where, 1, options);
  const serving = blocking ? inThread({ kind: 'serve', place: where, mailboxes: 1, options }) : server.serve(answerTo);
  const job = { kind: 'call', place: where, index: 0, times, options } as const;
  const { latencies, seconds } = await inThread(pauseMs === undefined ? job : { ...job, pauseMs });
  server.close();
  await serving;
  tell(`${what}, spinning ${spinUs} µs`, latencies, pauseMs === undefined ? seconds : undefined);
}

for (const spinUs of [0, 20]) {
  await mailbox('mailbox, a thread that blocks', spinUs, count, true);
  await mailbox('mailbox, the main thread', spinUs, count, false);
  await mailbox('mailbox, the main thread, every ms', spinUs, 2000, false, 1);
}

const where = place(BENCH.bytes);
const parked: Promise<Report> = inThread({ kind: 'park', place: where });
await inThread({ kind: 'kick', place: where, times: 2000, pauseMs: 1 });
Atomics.store(new Int32Array(where.buffer), BENCH.stop, 1);
new Parking(where).kick();
tell('from before a kick to behind the park', (await parked).latencies);

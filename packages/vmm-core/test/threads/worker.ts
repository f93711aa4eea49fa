/** One thread of the tests, soaks and measurements here: does what `workerData` says, and posts what it saw. */
import { parentPort, workerData } from 'node:worker_threads';
import { ThreadError } from '../../src/threads/errors.ts';
import { MailboxClient, type MailboxHandler, type MailboxOptions, MailboxServer } from '../../src/threads/exit-mailbox.ts';
import { PARKING, Parking } from '../../src/threads/parking.ts';
import type { Place } from '../../src/threads/words.ts';
import { runWorld, type WorldJob } from './world-job.ts';

/** A parking place, then words that senders and the sleeper share. */
export const BENCH = {
  count: PARKING.size / 4,
  stop: PARKING.size / 4 + 16,
  at: PARKING.size / 8 + 16,
  bytes: PARKING.size + 256,
} as const;

export type Job =
  | WorldJob
  /** Calls `times` times, and looks at the answers. */
  | {
      readonly kind: 'call';
      readonly place: Place;
      readonly index: number;
      readonly times: number;
      readonly options?: MailboxOptions;
      /** Waits between calls, asleep. */
      readonly pauseMs?: number;
    }
  /** Serves until it is closed. */
  | { readonly kind: 'serve'; readonly place: Place; readonly mailboxes: number; readonly options?: MailboxOptions }
  /** Adds 1 and kicks, `times` times; between them it waits asleep, or looks so many times whether all was taken. */
  | { readonly kind: 'kick'; readonly place: Place; readonly times: number; readonly pauseMs?: number; readonly looks?: number }
  /** Parks until it is told to stop; the sum is what it took. */
  | { readonly kind: 'park'; readonly place: Place; readonly timeoutMs?: number };

/** `seconds` runs from the first to the last thing done; `latencies` in µs. */
export type Report = {
  readonly sum: number;
  readonly turns: number;
  readonly seconds: number;
  readonly ended: string;
  readonly latencies?: Float64Array;
};

/** The answer to a question, so that a wrong one is seen. */
export const answerTo: MailboxHandler = (index, payload) => {
  payload.resultLo = payload.valueLo + payload.address + index;
  payload.resultHi = payload.valueHi;
};

const nowhere = new Int32Array(new SharedArrayBuffer(4));
const pause = (ms: number | undefined): void => {
  if (ms !== undefined) Atomics.wait(nowhere, 0, 0, ms);
};
/** Comparable between threads. */
const nowMs = (): number => performance.timeOrigin + performance.now();

function call({ place, index, times, options, pauseMs }: Job & { kind: 'call' }, report: (done: number) => void): Float64Array {
  const client = new MailboxClient(place, index, options);
  const { payload } = client;
  const latencies = new Float64Array(Math.min(times, 1_000_000));
  for (let i = 0; i < times; i++) {
    payload.address = 2 * i;
    payload.valueLo = i;
    payload.valueHi = index;
    const began = performance.now();
    client.call();
    latencies[i % latencies.length] = (performance.now() - began) * 1000;
    if (payload.resultLo !== (3 * i + index) >>> 0 || payload.resultHi !== index) throw new Error(`a wrong answer to call ${i}`);
    report(i + 1);
    pause(pauseMs);
  }
  return latencies;
}

function serve({ place, mailboxes, options }: Job & { kind: 'serve' }, report: (done: number) => void): void {
  const server = new MailboxServer(place, mailboxes, options);
  for (let done = 0; !server.closed; server.wait()) report((done += server.poll(answerTo)));
}

function kick({ place, times, pauseMs, looks = 0 }: Job & { kind: 'kick' }): void {
  const parking = new Parking(place);
  const words = new Int32Array(place.buffer, place.byteOffset);
  const at = new Float64Array(place.buffer, place.byteOffset);
  for (let i = 0; i < times; i++) {
    pause(pauseMs);
    if (pauseMs !== undefined) at[BENCH.at] = nowMs();
    Atomics.add(words, BENCH.count, 1);
    parking.kick();
    for (let left = looks; left > 0 && Atomics.load(words, BENCH.count) !== 0; ) left--;
  }
}

type Parked = { readonly sum: number; readonly turns: number; readonly latencies: Float64Array };

function park({ place, timeoutMs = Number.POSITIVE_INFINITY }: Job & { kind: 'park' }): Parked {
  const parking = new Parking(place);
  const words = new Int32Array(place.buffer, place.byteOffset);
  const at = new Float64Array(place.buffer, place.byteOffset);
  const latencies = new Float64Array(100_000);
  const ready = (): boolean => Atomics.load(words, BENCH.count) !== 0 || Atomics.load(words, BENCH.stop) !== 0;
  let sum = 0;
  let turns = 0;
  for (;;) {
    parking.park(ready, timeoutMs);
    const stop = Atomics.load(words, BENCH.stop) !== 0;
    const taken = Atomics.exchange(words, BENCH.count, 0);
    if (taken > 0) latencies[turns++ % latencies.length] = (nowMs() - at[BENCH.at]) * 1000;
    sum += taken;
    if (stop) return { sum, turns, latencies: latencies.subarray(0, turns) };
  }
}

function run(job: Job): Report {
  const began = performance.now();
  let sum = 0;
  let parked: Parked | undefined;
  let latencies: Float64Array | undefined;
  let ended = 'done';
  const report = (done: number): void => void (sum = done);
  try {
    if (job.kind === 'call') latencies = call(job, report);
    else if (job.kind === 'serve') serve(job, report);
    else if (job.kind === 'kick') kick(job);
    else if (job.kind === 'world') sum = runWorld(job);
    else parked = park(job);
  } catch (error) {
    if (!(error instanceof ThreadError)) throw error;
    ended = error.code;
  }
  const seconds = (performance.now() - began) / 1000;
  return { sum, turns: 0, seconds, ended, ...(latencies && { latencies }), ...parked };
}

if (parentPort) parentPort.postMessage(run(workerData as Job));

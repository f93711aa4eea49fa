/** One thread of threads.test.ts and soak.ts: does what `workerData` says, and posts what it saw. */
import { parentPort, workerData } from 'node:worker_threads';
import { EventFd, EventFdError, type EventFdHandle } from '../src/index.ts';

export type Job =
  /** Reads until the eventfd is closed; the result is the sum. */
  | { readonly kind: 'read'; readonly fd: EventFdHandle; readonly async?: boolean }
  /** Signals `times` times by 1. */
  | { readonly kind: 'signal'; readonly fd: EventFdHandle; readonly times: number }
  /** Writes `n`, `times` times, blocking where there is no room. */
  | { readonly kind: 'write'; readonly fd: EventFdHandle; readonly times: number; readonly n: bigint }
  /** Answers every read of `fd` by a signal of `answer`. */
  | { readonly kind: 'echo'; readonly fd: EventFdHandle; readonly answer: EventFdHandle };

export type Report = { readonly sum: bigint; readonly reads: number; readonly ended: string };

async function run(job: Job): Promise<Report> {
  const fd = EventFd.open(job.fd);
  let sum = 0n;
  let reads = 0;
  try {
    if (job.kind === 'signal') for (let i = 0; i < job.times; i++) fd.signal();
    else if (job.kind === 'write') for (let i = 0; i < job.times; i++) fd.write(job.n);
    else {
      const answer = job.kind === 'echo' ? EventFd.open(job.answer) : undefined;
      for (;;) {
        sum += job.kind === 'read' && job.async ? await fd.readAsync() : fd.read();
        reads++;
        answer?.signal();
      }
    }
  } catch (error) {
    if (!(error instanceof EventFdError)) throw error;
    return { sum, reads, ended: error.code };
  }
  return { sum, reads, ended: 'done' };
}

if (parentPort) parentPort.postMessage(await run(workerData as Job));

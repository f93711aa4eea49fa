import { Worker } from 'node:worker_threads';
import type { Job, Report } from './worker.ts';

/** Runs a job in a thread of its own. */
export function inThread(job: Job): Promise<Report> {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: job,
    execArgv: ['--conditions=tsvisor-source', '--no-warnings'],
  });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('the thread ended without a report')));
  });
}

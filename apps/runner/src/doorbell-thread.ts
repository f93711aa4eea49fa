import { Worker } from 'node:worker_threads';

/** Threads of `doorbell/`: files that are started by name lie here, where they also are in what is published. */
export function startDoorbellThread(name: 'consumer' | 'signaller' | 'sleeper', workerData: unknown): Worker {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new Worker(new URL(`./doorbell-${name}.worker.${extension}`, import.meta.url), { workerData });
}

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { EventFd, EventFdHandle } from '@tsvisor/vmm-core';
import type { DataWords } from './machine.ts';

export type ConsumerData = { readonly event: EventFdHandle; readonly data: DataWords['place'] };

/** Signals during the phase that is measured, and how often they were taken. */
export type Heard = { signals: number; wakes: number };

export type Consumer = {
  /** Ends it. */
  readonly heard: () => Promise<Heard>;
};

export function startWorker(name: string, workerData: unknown): Worker {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new Worker(new URL(`./${name}.worker.${extension}`, import.meta.url), { workerData });
}

/** A thread that sleeps on the event; resolves when it does, or is about to. */
export async function startConsumer(event: EventFd, data: DataWords): Promise<Consumer> {
  const worker = startWorker('consumer', { event: event.handle, data: data.place } satisfies ConsumerData);
  await once(worker, 'message');
  return {
    heard: async () => {
      const message = once(worker, 'message');
      event.close();
      return (await message)[0] as Heard;
    },
  };
}

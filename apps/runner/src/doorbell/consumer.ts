import { once } from 'node:events';
import type { EventFd, EventFdHandle } from '@tsvisor/vmm-core';
import { startDoorbellThread } from '../doorbell-thread.ts';
import type { DataWords } from './machine.ts';

export type ConsumerData = { readonly event: EventFdHandle; readonly data: DataWords['place'] };

/** Signals during the phase that is measured, and how often they were taken. */
export type Heard = { signals: number; wakes: number };

export type Consumer = {
  /** Ends it. */
  readonly heard: () => Promise<Heard>;
};

/** A thread that sleeps on the event; resolves when it does, or is about to. */
export async function startConsumer(event: EventFd, data: DataWords): Promise<Consumer> {
  const worker = startDoorbellThread('consumer', { event: event.handle, data: data.place } satisfies ConsumerData);
  await once(worker, 'message');
  return {
    heard: async () => {
      const message = once(worker, 'message');
      event.close();
      return (await message)[0] as Heard;
    },
  };
}

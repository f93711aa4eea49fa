/** The thread of a device that doorbells are for: it sleeps on their event, counts, and tells the guest how many it has heard. */
import { parentPort, workerData } from 'node:worker_threads';
import { EventFd, EventFdError } from '@tsvisor/vmm-core';
import type { ConsumerData, Heard } from './doorbell/consumer.ts';
import { PHASE, Phase } from './doorbell/layout.ts';
import { DataWords } from './doorbell/machine.ts';

const { event: handle, data } = workerData as ConsumerData;
const event = EventFd.open(handle);
const words = new DataWords(data.buffer, data.byteOffset);
const heard: Heard = { signals: 0, wakes: 0 };
parentPort?.postMessage('ready');
try {
  for (;;) {
    const count = Number(event.read());
    if (words.load(PHASE) === Phase.measured) {
      heard.signals += count;
      heard.wakes++;
    }
    words.answer(count);
  }
} catch (error) {
  if (!(error instanceof EventFdError) || error.code !== 'EVENTFD_CLOSED') throw error;
  parentPort?.postMessage(heard);
}

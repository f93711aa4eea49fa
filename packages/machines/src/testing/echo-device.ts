/** A device in a thread of its own: answers each ring of its doorbell by an interrupt, and posts how often when the doorbell is closed. */
import { parentPort, workerData } from 'node:worker_threads';
import { EventFd, type EventFdHandle } from '@tsvisor/eventfd';

const handles = workerData as { readonly ring: EventFdHandle; readonly answer: EventFdHandle };
const answer = EventFd.open(handles.answer);
let heard = 0;
for await (const rings of EventFd.open(handles.ring)) {
  heard += Number(rings);
  answer.signal();
}
parentPort?.postMessage(heard);

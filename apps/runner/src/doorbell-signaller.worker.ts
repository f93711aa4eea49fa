/** The thread of a device that interrupts: waits until the processor has halted, signals, and notes when the handler ran. */
import { parentPort, workerData } from 'node:worker_threads';
import { EventFd, IrqSender, systemHost } from '@tsvisor/vmm-core';
import type { SignallerData, Timing } from './doorbell/irqfd.ts';
import { ANSWER, TICKS } from './doorbell/layout.ts';
import { DataWords } from './doorbell/machine.ts';

const { event, sender, data, originNs, tscToClock, runNs, pauseNs } = workerData as SignallerData;
const irqfd = new IrqSender(sender, EventFd.open(event));
const words = new DataWords(data.buffer, data.byteOffset);
const now = (): number => systemHost.monotonicNs() - originNs;

const PATIENCE_NS = 5e9;
/** Less than a sleep can be exact to is waited awake. */
const SHORTEST_SLEEP_NS = 1e6;

function rest(): void {
  const end = now() + pauseNs;
  if (pauseNs >= SHORTEST_SLEEP_NS) systemHost.nap(pauseNs);
  while (now() < end);
}

/** Undefined: no answer came. */
function signal(): Timing | undefined {
  const before = words.load(ANSWER);
  const start = now();
  irqfd.signal();
  const signalled = now();
  while (words.load(ANSWER) === before) if (now() - start > PATIENCE_NS) return undefined;
  return { totalNs: words.load64(TICKS) + tscToClock - start, signallerNs: signalled - start };
}

const timings: (Timing | undefined)[] = [];
for (const end = now() + runNs; now() < end && (timings.length === 0 || timings.at(-1)); ) {
  rest();
  timings.push(signal());
}
parentPort?.postMessage(timings);

/** A vCPU's thread for doorbells.test.ts: writes to the doorbell's address until it is told to stop, and posts how many writes were signals. */
import { parentPort, workerData } from 'node:worker_threads';
import { ringer } from './machine.ts';

export type VcpuJob = {
  readonly memory: WebAssembly.Memory;
  readonly reader: number;
  readonly stop: number;
  readonly gpa: bigint;
};

const job = workerData as VcpuJob;
const { ringMemory } = ringer(job.memory, job.reader);
const stop = new Int32Array(job.memory.buffer, job.stop, 1);
let rings = 0;
parentPort?.postMessage('ready');
while (Atomics.load(stop, 0) === 0) for (let i = 0; i < 100; i++) rings += ringMemory(job.gpa, 5n, 4);
parentPort?.postMessage(rings);

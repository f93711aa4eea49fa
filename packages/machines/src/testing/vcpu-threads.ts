/** Threads for vCPUs, to be looked at and killed. */
import { Worker } from 'node:worker_threads';
import type { VcpuThreadPort } from '@tsvisor/vmm-core';
import type { MachineConfig } from '../machine.ts';
import type { VcpuThreadData } from '../vcpu.ts';

export type TestThreads = {
  readonly threads: NonNullable<MachineConfig['threads']>;
  /** All that were started, in the order of their start. */
  readonly workers: readonly Worker[];
  readonly alive: () => number;
};

/** `change`: what a thread is given instead. `parallelism`: below the number of vCPUs, they give way where they spin. */
export function testThreads(change: (data: VcpuThreadData) => VcpuThreadData = (data) => data, parallelism = 2): TestThreads {
  const workers: Worker[] = [];
  let alive = 0;
  const start = (data: VcpuThreadData): VcpuThreadPort => {
    const worker = new Worker(new URL('./vcpu.worker.ts', import.meta.url), {
      workerData: change(data),
      execArgv: ['--conditions=tsvisor-source', '--no-warnings'],
    });
    workers.push(worker);
    alive++;
    worker.on('exit', () => alive--);
    return {
      post: (message) => worker.postMessage(message),
      onMessage: (fn) => void worker.on('message', fn),
      onEnd: (fn) => {
        worker.on('error', fn);
        worker.on('exit', (status) => fn(new Error(`exit with status ${status}`)));
      },
      terminate: async () => {
        await worker.terminate();
      },
    };
  };
  return { threads: { parallelism, start }, workers, alive: () => alive };
}

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { VcpuThreadData } from '@tsvisor/machines/vcpu';
import type { Customer } from './compile-port.ts';
import { introduceToCompiler } from './compile-thread.ts';

/** What a vCPU's thread is given; `codeFolder`: where its kept regions are. */
export type VcpuWorkerData = { readonly data: VcpuThreadData; readonly codeFolder: string | undefined };
/** What a vCPU's thread says: something to its machine, or that it wants its code compiled. */
type Sent = { readonly message?: unknown; readonly customer?: Customer };

/** A thread for each vCPU of a machine; undefined where the host has one processor. */
export function vcpuThreads(machine: number, codeFolder: string | undefined) {
  const parallelism = availableParallelism();
  return parallelism < 2 ? undefined : { parallelism, start: (data: VcpuThreadData) => start(data, machine, codeFolder) };
}

function start(data: VcpuThreadData, machine: number, codeFolder: string | undefined) {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const worker = new Worker(new URL(`./vcpu.worker.${extension}`, import.meta.url), {
    workerData: { data, codeFolder } satisfies VcpuWorkerData,
  });
  let ending = false;
  return {
    post: (message: unknown) => worker.postMessage(message),
    onMessage: (fn: (message: unknown) => void) =>
      void worker.on('message', ({ message, customer }: Sent) =>
        customer ? introduceToCompiler({ ...customer, machine, codeFolder }) : fn(message),
      ),
    onEnd: (fn: (error: Error) => void) => {
      worker.on('error', fn);
      worker.on('exit', (status) => {
        if (!ending) fn(new Error(`exit with status ${status}`));
      });
    },
    terminate: async () => {
      ending = true;
      await worker.terminate();
    },
  };
}

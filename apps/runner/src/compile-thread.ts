import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { CompileService, RegionCompiler } from '@tsvisor/machines/compiler';
import { type CustomerOf, compileElsewhere } from './compile-port.ts';

let thread: Worker | undefined;

/** The thread that compiles for all vCPUs of this process: hot code comes up rarely enough for one. */
export function introduceToCompiler(customer: CustomerOf): void {
  thread ??= startThread();
  thread.postMessage(customer, [customer.port]);
}

function startThread(): Worker {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const worker = new Worker(new URL(`./compile.worker.${extension}`, import.meta.url), {
    // It makes no garbage worth keeping.
    resourceLimits: { maxYoungGenerationSizeMb: 4 },
  });
  worker.unref();
  worker.on('error', (error) => {
    // Its customers' ports have closed; the next one gets another thread.
    thread = undefined;
    process.emitWarning(`the compiler's thread has ended: ${error.message}`);
  });
  return worker;
}

/** A compiler beside the vCPUs' threads of a machine; undefined where the host has one processor. */
export function compileThread(machine: number): ((service: CompileService) => RegionCompiler) | undefined {
  if (availableParallelism() < 2) return undefined;
  return (service) => compileElsewhere(service, (customer) => introduceToCompiler({ ...customer, machine }));
}

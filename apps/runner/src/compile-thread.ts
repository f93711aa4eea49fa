import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { CompileService, RegionCompiler } from '@tsvisor/machines/compiler';
import { type Customer, compileElsewhere } from './compile-port.ts';

let thread: Worker | undefined;

/** The thread that compiles for all vCPUs of this process: hot code comes up rarely enough for one. */
export function introduceToCompiler(customer: Customer): void {
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

/** A compiler beside the vCPU's thread; undefined where the host has one processor. */
export function compileThread(): ((service: CompileService) => RegionCompiler) | undefined {
  return availableParallelism() < 2 ? undefined : (service) => compileElsewhere(service, introduceToCompiler);
}

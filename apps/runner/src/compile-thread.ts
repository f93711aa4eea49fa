import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';
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
  // What is compiled there is finished there, and not when the vCPU first runs it. Kept code is for the same flags alone, so all threads have this from now on.
  setFlagsFromString('--no-wasm-lazy-compilation');
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
export function compileThread(
  machine: number,
  codeFolder: string | undefined,
): ((service: CompileService) => RegionCompiler) | undefined {
  if (availableParallelism() < 2) return undefined;
  return (service) =>
    compileElsewhere(service, (customer) => introduceToCompiler({ ...customer, machine, codeFolder }), codeFolder);
}

/** Has what was compiled kept for later runs. Resolves when it is, or cannot be. */
export async function keepCompiledCode(): Promise<void> {
  const worker = thread;
  if (worker === undefined) return;
  worker.postMessage('save');
  await Promise.race([once(worker, 'message'), once(worker, 'exit'), once(worker, 'error')]).catch(() => undefined);
}

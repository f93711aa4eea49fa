import { setFlagsFromString } from 'node:v8';
import type { MachineFactory } from './ports.ts';

/**
 * Compiled regions are many small modules of our own making, most of them short-lived. V8 validates a module as a whole when it is made, which takes
 * longer than all else about it; this leaves that to the compilation of each function.
 */
const LAZY_VALIDATION = '--wasm-lazy-validation';

/** Loads the code that makes machines; nothing that only prints help needs it. */
export async function loadMachineFactory(): Promise<MachineFactory> {
  setFlagsFromString(LAZY_VALIDATION);
  const [{ microvm }, { compileThread }] = await Promise.all([import('@tsvisor/machines'), import('./compile-thread.ts')]);
  const compiler = compileThread();
  return { create: (config) => microvm.create({ ...config, ...(compiler && { compiler }) }) };
}

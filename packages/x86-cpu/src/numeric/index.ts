import type { FuncRef, GlobalRef, I32, ModuleBuilder } from '@tsvisor/wasm-codegen';

/** Adds the numeric routines (float, 80-bit float, …) to a module; emitters find them by name. */
export function addRoutines(_module: ModuleBuilder, _cpu: GlobalRef<I32>): Map<string, FuncRef<never, unknown>> {
  return new Map();
}

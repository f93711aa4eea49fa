import type { FuncRef, GlobalRef, I32, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { addCryptoRoutines } from './crypto-routines.ts';
import { addFloatRoutines } from './float-routines.ts';
import { addStringRoutine } from './string-routines.ts';
import { addX87Routines } from './x87-routines.ts';

/** Adds the numeric routines (SSE's floats and strings, AES and SHA, the x87's 80-bit ones) to a module; emitters find them by name. */
export function addRoutines(module: ModuleBuilder, cpu: GlobalRef<I32>): Map<string, FuncRef<never, unknown>> {
  return new Map([
    ...addFloatRoutines(module, cpu),
    ...addX87Routines(module, cpu),
    ...addCryptoRoutines(module),
    ['string_compare', addStringRoutine(module)],
  ]);
}

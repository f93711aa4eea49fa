import { type CoreCode, loadCore } from '@tsvisor/x86-cpu';
import { savedCore } from '../generated/core.js';

/** The engine's core, as scripts/generate.ts has built it. */
export const machineCore = (compile?: (wasm: Uint8Array<ArrayBuffer>) => WebAssembly.Module): CoreCode =>
  loadCore(savedCore, compile);

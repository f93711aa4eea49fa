import { type CoreCode, loadCore } from '@tsvisor/x86-cpu';
import { savedCore } from '../generated/core.js';

let loaded: CoreCode | undefined;

/** The engine's core, as scripts/generate.ts has built it. */
export function machineCore(): CoreCode {
  loaded ??= loadCore(savedCore);
  return loaded;
}

import { machineCore } from './core.ts';
import type { Engine, EngineCode } from './ports.ts';
import { x86Model } from './x86-model.ts';

/**
 * The engine of x86-cpu, with the core that this package has of it.
 * @param compile compiles that core, once, when it is first needed: for whoever has kept what came of that. Without it the host does
 */
export function createX86Engine(compile?: (wasm: Uint8Array<ArrayBuffer>) => WebAssembly.Module): Engine {
  let core: EngineCode | undefined;
  const code = (): EngineCode => (core ??= machineCore(compile));
  return { model: (specification, options) => x86Model(specification, options, code()), code };
}

export const x86Engine: Engine = createX86Engine();

/** The compiler of the engine's hot code alone, for a thread that does nothing else. */
export type {
  BlockRuns,
  Compile,
  CompiledJob,
  CompileJob,
  CompileService,
  KeptCode,
  KeptRegion,
  OfferedBlocks,
  RegionCompiler,
  RegionFunction,
} from '@tsvisor/x86-cpu/compiler';
export { createCompiler, linkModules, RegionPool, RUNS_BEFORE } from '@tsvisor/x86-cpu/compiler';

/** Names the engine: what one compiles is good for no other. */
export { engineId } from '../generated/engine-id.js';

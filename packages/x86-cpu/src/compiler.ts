/** The compiler of hot regions alone, for a thread that does nothing else. */
export { linkModules } from '@tsvisor/wasm-codegen';
export type { CompiledJob, CompileJob } from './jit/job.ts';
export type { BlockRuns, KeptCode, KeptRegion, RegionFunction } from './jit/kept.ts';
export { RUNS_BEFORE } from './jit/kept.ts';
export { RegionPool } from './jit/region-pool.ts';
export type { Compile, CompileService, OfferedBlocks, RegionCompiler } from './jit/service.ts';
export { createCompiler } from './jit/service.ts';

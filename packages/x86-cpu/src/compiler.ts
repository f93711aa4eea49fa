/** The compiler of hot regions alone, for a thread that does nothing else. */
export type { CompiledJob, CompileJob } from './jit/job.ts';
export type { KeptCode, KeptRegion } from './jit/kept.ts';
export { RegionPool } from './jit/region-pool.ts';
export type { Compile, CompileService, OfferedBlocks, RegionCompiler } from './jit/service.ts';
export { createCompiler } from './jit/service.ts';

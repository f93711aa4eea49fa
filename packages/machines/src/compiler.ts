/** The compiler of the engine's hot code alone, for a thread that does nothing else. */
export type { Compile, CompiledJob, CompileJob, CompileService, OfferedBlocks, RegionCompiler } from '@tsvisor/x86-cpu/compiler';
export { createCompiler, RegionPool } from '@tsvisor/x86-cpu/compiler';

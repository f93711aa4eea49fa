/** x86 processor: decoder, one source of instruction semantics, interpreter tier, system behaviour. */
export { type CoreCode, loadCore, type SavedCore, saveCore } from './core/core-code.ts';
export type { CoreLayouts } from './core/imports.ts';
export { formatInstruction } from './decode/format.ts';
export { DecodeStatus, decode, Insn, OperandKind } from './decode/insn.ts';
export { rows } from './decode/lookup.ts';
export type { OpcodeRow } from './decode/opcodes.ts';
export { holdsAddress, printRegion } from './jit/dump.ts';
export type { CompiledJob, CompileJob } from './jit/job.ts';
export type { RegionReport, ReportedBlock, ReportedInstruction } from './jit/report.ts';
export type { Compile, CompileService, RegionCompiler } from './jit/service.ts';
export type { CodeRange } from './jit/trace.ts';
export type * from './ports.ts';
export type { ProcessorConfig, RunExit, StepResult } from './processor.ts';
export { createProcessor, Processor } from './processor.ts';
export { CPU, Reg, Rflags, Seg } from './state.ts';
export type { CpuModel, CpuVendor } from './system/model.ts';
export { CPU_MODELS, CpuModelError, cpuModel, hasFeature, queryCpuid } from './system/model.ts';

/** What a machine is made for and made with: its caller's sinks and the processor engine. */
import type { CpuidSource, ProcessorFactory } from '@tsvisor/vmm-core';
import type { CompileService, CoreCode, RegionCompiler } from '@tsvisor/x86-cpu';

/** Takes what a guest's UART transmits. */
export type SerialSink = { readonly write: (bytes: Uint8Array) => void };

/** How an engine runs guest code. */
export type Tier = 'auto' | 'jit' | 'interp';

/** Guest code that an engine compiled together. */
export type CompiledRegion = {
  /** Whether an instruction of it lies at a guest-virtual address. */
  readonly holds: (gva: bigint) => boolean;
  /** For people: its instructions beside what was made of them. */
  readonly text: () => string;
};

/** Code that all processors of an engine have in common; can be posted to their threads. */
export type EngineCode = CoreCode;

export type EngineOptions = {
  /** `auto` (the default) interprets and compiles what is hot, `jit` compiles soon, `interp` nothing. */
  readonly tier?: Tier;
  /** Compiles what is hot, typically on another thread; without it that is done where the guest runs. */
  readonly compiler?: (service: CompileService) => RegionCompiler;
  /** What RDRAND and RDSEED answer; without it the host's random numbers. */
  readonly entropy?: { readonly fill: (out: Uint32Array<ArrayBuffer>) => void };
  /** What is compiled when depends on the instructions that have run alone, not on how long that took. */
  readonly reproducible?: boolean;
  /** Called whenever code has been compiled. */
  readonly onRegion?: (region: CompiledRegion) => void;
};

/** A processor model: what CPUID says of it, and processors that pose as it. */
export type EngineModel = { readonly cpuid: CpuidSource; readonly createProcessor: ProcessorFactory };

/** Where processors come from. */
export type Engine = {
  /** A model by the text a user gives, such as `max` or `max,-smap`. Throws an error with a `code` when there is none. */
  readonly model: (specification: string, options?: EngineOptions) => EngineModel;
  /** For processors on other threads; without it each of these makes its own. */
  readonly code?: () => EngineCode;
};

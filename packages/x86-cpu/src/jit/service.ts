/** Compilation of one vCPU's regions as a service: on the vCPU's thread, or on another that is given what can be sent there. */
import type { FuncType } from '@tsvisor/wasm-codegen';
import { rows } from '../decode/lookup.ts';
import { FormFinder } from '../records/form-finder.ts';
import { semantics } from '../semantics/index.ts';
import type { CompiledJob, CompileJob } from './job.ts';
import type { OnMade, OnRegion } from './job-runner.ts';
import { JobRunner } from './job-runner.ts';
import type { KeptCode } from './kept.ts';
import type { RegionPool } from './region-pool.ts';

/** All that a compiler has to know of a vCPU beforehand; can be cloned to another thread. */
export type CompileService = {
  /** Shared: holds the guest's code and what the interpreter found out about it. */
  readonly memory: WebAssembly.Memory;
  readonly blockTable: number;
  /** Features of the opcode table that the processor model has. */
  readonly features: readonly string[];
  /** What regions may import from the core module. */
  readonly routines: ReadonlyMap<string, FuncType>;
  /** Locked operations are atomic. */
  readonly atomic: boolean;
  /** Runs of a block before it is hot. */
  readonly heat: number;
  readonly checked: boolean;
};

/** Compiles the region of a job and hands it over, at once or later; `undefined`: there is nothing to compile. */
export type Compile = (job: CompileJob, done: (compiled: CompiledJob | undefined) => void) => void;

export const rowFeatures: readonly string[] = [...new Set(rows.map(({ feature }) => feature)), 'avx'];

export function formsOf(features: readonly string[]): FormFinder {
  const has = new Set(features);
  return new FormFinder(
    (feature) => has.has(feature),
    (sem) => sem in semantics,
  );
}

export type CompilerOptions = {
  /** What has been compiled for the vCPUs of the service's memory. */
  readonly pool?: RegionPool;
  /** Told of each region that later runs may have use for. */
  readonly keep?: OnMade;
  /** Told of each region that is made, with a trace. */
  readonly onRegion?: OnRegion;
};

/** Compiles one job after the other, for whoever serves a vCPU on another thread. */
export function createCompiler(service: CompileService, { pool, keep, onRegion }: CompilerOptions = {}): JobRunner {
  const { features, routines, atomic, ...rest } = service;
  return new JobRunner({
    ...rest,
    forms: formsOf(features),
    image: { routines, atomic },
    ...(pool ? { pool } : {}),
    ...(keep ? { keep } : {}),
    ...(onRegion ? { onRegion } : {}),
  });
}

/** Blocks that a region can be entered at, which is there for whoever asks for one of them. */
export type OfferedBlocks = Pick<CompiledJob, 'key' | 'entries'>;

/** Whatever compiles the regions of one vCPU. */
export type RegionCompiler = {
  readonly compile: Compile;
  /** Compiles for later runs, when there is nothing else to do. */
  readonly compileAhead?: (job: CompileJob) => void;
  /** Regions of earlier runs, which need no compilation. */
  readonly kept?: KeptCode;
  /** Tells of what has been made for other vCPUs of the memory, between calls of `run`. */
  readonly onOffer?: (fn: (blocks: OfferedBlocks) => void) => void;
  /** The vCPU is gone: nothing will be asked for any more, and what has been is not wanted. */
  readonly dispose: () => void;
};

/** Compiles on this thread, at once. */
export function compileHere(service: CompileService, options: CompilerOptions = {}): RegionCompiler {
  const compiler = createCompiler(service, options);
  return { compile: (job, done) => done(compiler.run(job)), dispose: () => undefined };
}

/** The part of a machine that runs on a vCPU's own thread, for whoever starts such threads. */
import { serveVcpu, systemHost, type ThreadPort, type VcpuSpec } from '@tsvisor/vmm-core';
import type { EngineCode, EngineOptions, Tier } from './ports.ts';
import { x86Model } from './x86-model.ts';

export type { ThreadPort } from '@tsvisor/vmm-core';
export type { CompiledJob, CompileJob, CompileService, RegionCompiler } from '@tsvisor/x86-cpu/compiler';

/** What a thread is given; can be posted. */
export type VcpuThreadData = {
  readonly spec: VcpuSpec;
  readonly cpuModel: string;
  readonly tier?: Tier;
  readonly code?: EngineCode;
};

/** Makes this thread a vCPU's. `compiler` as in `EngineOptions`. */
export function serveMachineVcpu(
  { spec, cpuModel, tier, code }: VcpuThreadData,
  port: ThreadPort,
  options: Pick<EngineOptions, 'compiler'> = {},
): void {
  const { createProcessor, cpuid } = x86Model(cpuModel, { ...options, ...(tier && { tier }) }, code);
  serveVcpu(spec, { createProcessor, cpuid, host: systemHost }, port);
}

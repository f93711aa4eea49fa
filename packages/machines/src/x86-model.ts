import type { Processor, ProcessorConfig } from '@tsvisor/vmm-core';
import {
  type CpuModel,
  cpuModel,
  createProcessor,
  holdsAddress,
  printRegion,
  queryCpuid,
  type RegionReport,
} from '@tsvisor/x86-cpu';
import type { CompiledRegion, EngineCode, EngineModel, EngineOptions } from './ports.ts';
import { getRegs, getSregs, setRegs, setSregs } from './processor-state.ts';

/** Processors of x86-cpu, as the virtual machine core wants them. `code`: their core; without it they make one. */
export function x86Model(specification: string, options: EngineOptions = {}, code?: EngineCode): EngineModel {
  const model = cpuModel(specification);
  return {
    cpuid: { query: (leaf, subleaf, out) => queryCpuid(model, leaf >>> 0, subleaf >>> 0, 0, out) },
    createProcessor: (config) => create(config, model, options, code),
  };
}

function create(
  config: ProcessorConfig,
  model: CpuModel,
  { tier, compiler, entropy, reproducible, onRegion }: EngineOptions,
  core: EngineCode | undefined,
): Processor {
  const processor = createProcessor({
    ...config,
    model,
    ...(core === undefined ? {} : { core }),
    ...(tier === undefined ? {} : { tier }),
    ...(compiler === undefined ? {} : { compiler }),
    ...(entropy === undefined ? {} : { entropy }),
    ...(reproducible === undefined ? {} : { reproducible }),
    ...(onRegion === undefined ? {} : { onRegion: (report) => onRegion(compiledRegion(report)) }),
  });
  const { context } = processor;
  return {
    run: (budget) => processor.run(budget),
    requestExit: () => processor.requestExit(),
    getRegs: () => getRegs(context),
    setRegs: (regs) => setRegs(context, regs),
    getSregs: () => getSregs(context),
    setSregs: (sregs) => setSregs(context, sregs),
    init: () => processor.init(),
    get initBlocked() {
      return processor.initBlocked;
    },
    get instructions() {
      return processor.instructions;
    },
    stats: () => processor.stats(),
    codeWritten: (hostAddress, length) => processor.codeWritten(hostAddress, length),
    addresses: processor.addresses,
    dispose: () => processor.dispose(),
  };
}

const compiledRegion = (report: RegionReport): CompiledRegion => ({
  holds: (gva) => holdsAddress(report, gva),
  text: () => printRegion(report),
});

/** An engine without instructions: a guest is what the test does with the buses in each stay. */
import type {
  CpuidSource,
  Processor,
  ProcessorConfig,
  ProcessorExit,
  ProcessorFactory,
  Regs,
  SegmentRegister,
  Sregs,
} from '@tsvisor/vmm-core';
import type { Engine } from '../ports.ts';

export type FakeEngine = Engine & {
  readonly configs: ProcessorConfig[];
  readonly processors: (Processor & { disposed: boolean })[];
};

const segment: SegmentRegister = {
  ...{ base: 0n, limit: 0xffff, selector: 0, type: 3, present: 1, dpl: 0 },
  ...{ db: 0, s: 1, l: 0, g: 0, avl: 0, unusable: 0 },
};
const resetRegs = { rsp: 0n, rip: 0xfff0n, rflags: 2n, rdx: 0x600n } as Regs;
const resetSregs: Sregs = {
  ...{ cs: segment, ds: segment, es: segment, fs: segment, gs: segment, ss: segment, tr: segment, ldt: segment },
  ...{ gdt: { base: 0n, limit: 0xffff }, idt: { base: 0n, limit: 0xffff } },
  ...{ cr0: 0x6000_0010n, cr2: 0n, cr3: 0n, cr4: 0n, cr8: 0n, efer: 0n, apicBase: 0xfee0_0900n },
};

/** @param features EDX of CPUID leaf 0x80000001 */
export function createFakeEngine(onRun: (config: ProcessorConfig) => ProcessorExit, features = 1 << 29): FakeEngine {
  const engine: FakeEngine = {
    configs: [],
    processors: [],
    model: (name) => {
      if (name !== 'fake') throw Object.assign(new Error(`no model ${name}`), { code: 'FAKE_MODEL' });
      return { cpuid, createProcessor };
    },
  };
  const cpuid: CpuidSource = {
    query: (leaf, _subleaf, out) => {
      out.fill(0);
      if (leaf === 0) out[0] = 1;
      if (leaf === 1) out[3] = 0xffff_ffff;
      if (leaf === 0x8000_0000) out[0] = 0x8000_0001;
      if (leaf === 0x8000_0001) out[3] = features;
    },
  };
  const createProcessor: ProcessorFactory = (config) => {
    let regs = resetRegs;
    let sregs = resetSregs;
    const processor = {
      disposed: false,
      instructions: 0,
      run: () => {
        processor.instructions += 1000;
        return onRun(config);
      },
      requestExit: () => undefined,
      getRegs: () => ({ ...regs }),
      setRegs: (next: Regs) => {
        regs = next;
      },
      getSregs: () => ({ ...sregs }),
      setSregs: (next: Sregs) => {
        sregs = next;
      },
      init: () => undefined,
      initBlocked: false,
      stats: () => ({ blocks: 5 }),
      codeWritten: () => undefined,
      addresses: { exitRequest: 0, kicked: 0, codeMap: 0 },
      dispose: () => {
        processor.disposed = true;
      },
    };
    engine.configs.push(config);
    engine.processors.push(processor);
    return processor;
  };
  return engine;
}

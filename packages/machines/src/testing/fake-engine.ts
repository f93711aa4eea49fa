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
      reset: () => undefined,
      stats: () => ({ blocks: 5 }),
      codeWritten: () => undefined,
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

/** A 64-bit ELF kernel of one page at 1 MiB that is entered at its start. */
export function fakeKernel(machine = 62): Uint8Array {
  const bytes = new Uint8Array(0x2000);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, 0x10_0000n, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true);
  view.setUint32(68, 7, true);
  view.setBigUint64(72, 0x1000n, true);
  view.setBigUint64(80, 0x10_0000n, true);
  view.setBigUint64(88, 0x10_0000n, true);
  view.setBigUint64(96, 0x1000n, true);
  view.setBigUint64(104, 0x1000n, true);
  view.setBigUint64(112, 0x1000n, true);
  bytes[0x1000] = 0xf4;
  return bytes;
}

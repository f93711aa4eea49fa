/** Stand-ins for a processor and for time, so that tests decide when what happens. */
import type { Host } from '../host.ts';
import type { Processor, ProcessorConfig, ProcessorExit, Regs, SegmentRegister, Sregs } from '../ports.ts';

export type FakeHost = Host & { now: number; readonly naps: number[]; readonly sleeps: number[]; yields: number };

/** Time that passes only when somebody sleeps, naps or changes `now`. */
export function createFakeHost(): FakeHost {
  const host: FakeHost = {
    now: 1_000_000,
    naps: [],
    sleeps: [],
    yields: 0,
    monotonicNs: () => host.now,
    realtimeNs: () => 1_800_000_000_000_000_000n + BigInt(Math.floor(host.now)),
    yieldToEvents: async () => {
      host.yields++;
    },
    setTimeout: (fn, ms) => {
      let live = true;
      host.sleeps.push(ms);
      setImmediate(() => {
        if (!live) return;
        host.now += ms * 1e6;
        fn();
      });
      return () => {
        live = false;
      };
    },
    nap: (ns) => {
      host.naps.push(ns);
      host.now += ns;
    },
  };
  return host;
}

const segment = (): SegmentRegister => ({
  base: 0n,
  limit: 0xffff,
  selector: 0,
  type: 3,
  present: 1,
  dpl: 0,
  db: 0,
  s: 1,
  l: 0,
  g: 0,
  avl: 0,
  unusable: 0,
});

const REGISTERS = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];

export type FakeProcessor = Processor & {
  readonly config: ProcessorConfig;
  instructions: number;
  exitRequests: number;
  inits: number;
  initBlocked: boolean;
  readonly budgets: number[];
  readonly codeWrites: [number, number][];
};

/** A processor whose `run` is the test's. */
export function createFakeProcessor(
  config: ProcessorConfig,
  onRun: (self: FakeProcessor, budget: number) => ProcessorExit,
): FakeProcessor {
  let regs = Object.fromEntries([...REGISTERS, 'rip', 'rflags'].map((name) => [name, 0n])) as Regs;
  let sregs: Sregs = {
    ...{ cs: segment(), ds: segment(), es: segment(), fs: segment() },
    ...{ gs: segment(), ss: segment(), tr: segment(), ldt: segment() },
    ...{ gdt: { base: 0n, limit: 0 }, idt: { base: 0n, limit: 0 } },
    ...{ cr0: 0n, cr2: 0n, cr3: 0n, cr4: 0n, cr8: 0n, efer: 0n, apicBase: 0n },
  };
  const self: FakeProcessor = {
    config,
    instructions: 0,
    exitRequests: 0,
    inits: 0,
    initBlocked: false,
    budgets: [],
    codeWrites: [],
    run: (budget) => {
      self.budgets.push(budget);
      return onRun(self, budget);
    },
    requestExit: () => {
      self.exitRequests++;
    },
    getRegs: () => ({ ...regs }),
    setRegs: (next) => {
      regs = { ...next };
    },
    getSregs: () => ({ ...sregs }),
    setSregs: (next) => {
      sregs = { ...next };
    },
    init: () => {
      self.inits++;
    },
    stats: () => ({}),
    codeWritten: (address, length) => void self.codeWrites.push([address, length]),
    addresses: { exitRequest: 0, kicked: 0, codeMap: 0 },
    dispose: () => undefined,
  };
  return self;
}

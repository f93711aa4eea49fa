/** A machine in 64-bit mode at CPL 0 for programs of a few bytes: identity-mapped memory, a GDT, a TSS, and an IDT whose handlers halt. */
import { createMmu, GuestMemory, MMU, resetMmuState, TLB_BYTES } from '@tsvisor/mmu-ept-npt';
import { cpuModel, createProcessor, type Processor, Rflags, type RunExit, Seg } from '../../src/index.ts';
import { Attr, Cr0, Cr4, Efer } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';

/** Guest-physical and, identity-mapped, linear places. */
export const Place = {
  gdt: 0x1000,
  idt: 0x2000,
  tss: 0x3000,
  pml4: 0x4000,
  pdpt: 0x5000,
  pd: 0x6000,
  /** Page table of the first 2 MiB, supervisor pages. */
  pt: 0x7000,
  code: 0x1_0000,
  /** Handler of vector n: `n * 16` further. */
  handlers: 0x2_0000,
  data: 0x4_0000,
  stack: 0x8_0000,
  /** RSP0 and IST1 of the TSS. */
  rsp0: 0x9_0000,
  ist1: 0xa_0000,
  /** From here on pages of 2 MiB that CPL 3 may use. */
  user: 0x20_0000,
  userStack: 0x30_0000,
} as const;
const RAM = 16 << 20;
const LINEAR = 64 << 20;

export const Selector = { code: 0x08, data: 0x10, userData: 0x1b, userCode: 0x23, tss: 0x28 } as const;
export const Page = { P: 1n, RW: 2n, US: 4n, PS: 0x80n, NX: 1n << 63n } as const;

const HLT = 0xf4;
const GATE_INTERRUPT = 0xe;

/** What an event delivery left at the handler's stack pointer (SDM vol. 3 figure 6-9). */
export type Frame = {
  readonly vector: number;
  readonly error?: number;
  readonly rip: number;
  readonly cs: number;
  readonly rflags: number;
  readonly rsp: number;
  readonly ss: number;
};

/** Bytes written as hexadecimal text; spaces are free, `#` comments out the rest of a line. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replace(/#.*$/gm, '').replace(/\s/g, ''), 'hex'));
}

export type LongModeOptions = { readonly cpu?: string; readonly codeBytes?: number };

export class LongModeMachine {
  readonly processor: Processor;
  readonly guest: GuestMemory;
  /** Vectors the interrupt controller has, first first. */
  readonly interrupts: number[] = [];
  nmi = false;
  readonly outs: { readonly port: number; readonly length: number; readonly value: number }[] = [];

  constructor(options: LongModeOptions = {}) {
    const memory = new WebAssembly.Memory({ initial: LINEAR >> 16, maximum: 65536, shared: true });
    let next = 0x1_0000;
    const alloc = (bytes: number, align: number): number => {
      const at = Math.ceil(next / align) * align;
      next = at + bytes;
      if (next > memory.buffer.byteLength) throw new RangeError('linear memory is used up');
      return at;
    };
    this.guest = new GuestMemory({ memory, alloc, onCodeWrite: (host, length) => this.processor.codeWritten(host, length) });
    this.guest.createSlot({ gpa: 0, bytes: RAM });
    const stateAddress = alloc(MMU.size, MMU.align);
    const tlbAddress = alloc(TLB_BYTES, 16);
    const mmu = createMmu({ memory, stateAddress, tlbAddress, guest: this.guest });
    const model = cpuModel(options.cpu ?? 'max');
    resetMmuState(mmu.state, model.physicalBits);
    this.processor = createProcessor({
      memory,
      alloc,
      mmu: { ...mmu, stateAddress, tlbAddress, offsets: MMU.offset, protectCode: (page) => void mmu.protectCode(page) },
      model,
      pio: { read: () => 0xff, write: (port, length, value) => void this.outs.push({ port, length, value }) },
      mmio: { read: () => 0xffff_ffff, write: () => undefined },
      interrupts: {
        pending: () => this.interrupts.length > 0,
        acknowledge: () => this.interrupts.shift() ?? -1,
        takeNmi: () => {
          const { nmi } = this;
          this.nmi = false;
          return nmi;
        },
        readTpr: () => 0,
        writeTpr: () => undefined,
      },
      msrs: { read: () => false, write: () => false },
      tsc: { read: (out) => void out.fill(0), write: () => undefined },
      cpuid: { query: (_leaf, _subleaf, out) => void out.fill(0) },
      codeBytes: options.codeBytes ?? 1 << 20,
    });
    this.#tables();
    this.#enter();
  }

  get state() {
    return this.processor.context.state;
  }

  #tables(): void {
    const link = Page.P | Page.RW | Page.US;
    this.setU64(Place.pml4, BigInt(Place.pdpt) | link);
    this.setU64(Place.pdpt, BigInt(Place.pd) | link);
    this.setU64(Place.pd, BigInt(Place.pt) | link);
    for (let n = 0; n < 512; n++) this.setPte(n * 0x1000, BigInt(n * 0x1000) | Page.P | Page.RW);
    for (let n = 1; n < 8; n++) this.setU64(Place.pd + 8 * n, BigInt(n * 0x20_0000) | link | Page.PS);
    this.setU64(Place.gdt + Selector.code, 0x00af_9b00_0000_ffffn);
    this.setU64(Place.gdt + Selector.data, 0x00cf_9300_0000_ffffn);
    this.setU64(Place.gdt + (Selector.userData & ~3), 0x00cf_f300_0000_ffffn);
    this.setU64(Place.gdt + (Selector.userCode & ~3), 0x00af_fb00_0000_ffffn);
    this.setU64(Place.tss + 4, BigInt(Place.rsp0));
    this.setU64(Place.tss + 0x24, BigInt(Place.ist1));
    for (let vector = 0; vector < 256; vector++) {
      this.setGate(vector);
      this.write(handlerOf(vector), [HLT]);
    }
  }

  /** Entry of the first 2 MiB's page table. */
  setPte(va: number, entry: bigint): void {
    this.setU64(Place.pt + 8 * (va >>> 12), entry);
  }

  /** The gate of a vector; without options an interrupt gate of DPL 0 to its halting handler. */
  setGate(vector: number, options: { dpl?: number; ist?: number; present?: boolean; selector?: number } = {}): void {
    const { dpl = 0, ist = 0, present = true, selector = Selector.code } = options;
    const offset = BigInt(handlerOf(vector));
    const attr = BigInt((present ? 0x80 : 0) | (dpl << 5) | GATE_INTERRUPT);
    const low = (offset & 0xffffn) | (BigInt(selector) << 16n) | (BigInt(ist) << 32n) | (attr << 40n) | ((offset >> 16n) << 48n);
    this.setU64(Place.idt + 16 * vector, low);
    this.setU64(Place.idt + 16 * vector + 8, 0n);
  }

  #enter(): void {
    const c = this.processor.context;
    const { state } = c;
    state.cr0 = BigInt(Cr0.PG + (Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP));
    state.cr4 = BigInt(Cr4.PAE | Cr4.PGE | Cr4.OSFXSR | Cr4.OSXMMEXCPT);
    state.efer = BigInt(Efer.LME | Efer.LMA | Efer.NXE | Efer.SCE);
    state.cr3 = BigInt(Place.pml4);
    state.gdtrBase = BigInt(Place.gdt);
    state.gdtrLimit = 0x37;
    state.idtrBase = BigInt(Place.idt);
    state.idtrLimit = 0xfff;
    setSegment(c, Seg.TR, Selector.tss, BigInt(Place.tss), 0x67, Attr.P | 11);
    const data = Attr.P | Attr.S | 3 | Attr.G | Attr.DB;
    setSegment(c, Seg.CS, Selector.code, 0n, 0xffff_ffff, Attr.P | Attr.S | 0xb | Attr.G | Attr.L);
    for (const seg of [Seg.SS, Seg.DS, Seg.ES, Seg.FS, Seg.GS]) setSegment(c, seg, Selector.data, 0n, 0xffff_ffff, data);
    state.gpr[4] = BigInt(Place.stack);
    c.rflags = Rflags.FIXED;
    c.updateMmu();
    c.flushTlb();
    c.updateMode();
  }

  /** Puts a program at `at` and lets RIP point there. */
  load(program: string, at: number = Place.code): void {
    this.write(at, hex(program));
    this.state.rip = BigInt(at);
  }

  /** Goes on at CPL 3. */
  enterUser(): void {
    const c = this.processor.context;
    const dpl = 3 << Attr.DPL_SHIFT;
    setSegment(c, Seg.CS, Selector.userCode, 0n, 0xffff_ffff, Attr.P | Attr.S | 0xb | Attr.G | Attr.L | dpl);
    setSegment(c, Seg.SS, Selector.userData, 0n, 0xffff_ffff, Attr.P | Attr.S | 3 | Attr.G | Attr.DB | dpl);
    c.state.cpl = 3;
    c.state.gpr[4] = BigInt(Place.userStack);
    c.updateMmu();
    c.updateMode();
  }

  run(budget = 1_000_000): RunExit['reason'] {
    const exit = this.processor.run(budget);
    return exit.reason;
  }

  /** Runs until a handler halts; what it found on its stack. */
  event(): Frame {
    const reason = this.run();
    const { rip, gpr } = this.state;
    const vector = Math.floor((Number(rip) - Place.handlers) / 16);
    if (reason !== 'halt' || rip !== BigInt(handlerOf(vector) + 1) || vector > 255)
      throw new Error(`no event: ${reason} at ${rip.toString(16)}`);
    const rsp = Number(gpr[4]);
    const withError = PUSHES_ERROR.has(vector);
    const at = (n: number): number => Number(this.u64(rsp + 8 * (n + (withError ? 1 : 0))));
    const frame = { vector, rip: at(0), cs: at(1), rflags: at(2), rsp: at(3), ss: at(4) };
    return withError ? { ...frame, error: Number(this.u64(rsp)) } : frame;
  }

  gpr(n: number): bigint {
    return this.state.gpr[n];
  }

  write(gpa: number, bytes: Iterable<number>): void {
    this.guest.write(gpa, Uint8Array.from(bytes));
  }
  setU64(gpa: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
    this.guest.write(gpa, bytes);
  }
  u64(gpa: number): bigint {
    const bytes = new Uint8Array(8);
    this.guest.read(gpa, bytes);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }
}

/** Exceptions with an error code (SDM vol. 3 table 6-1). */
const PUSHES_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);

export const handlerOf = (vector: number): number => Place.handlers + 16 * vector;

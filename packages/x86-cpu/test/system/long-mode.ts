/** A machine in 64-bit mode at CPL 0 for programs of a few bytes: identity-mapped memory, a GDT, a TSS, and an IDT whose handlers halt. */
import { Rflags, Seg } from '../../src/index.ts';
import { Attr, Cr0, Cr4, Efer } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';
import { EngineMachine, type EngineOptions, hex, PUSHES_ERROR } from './engine.ts';

export { hex };

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

export class LongModeMachine extends EngineMachine {
  constructor(options: EngineOptions = {}) {
    super(options);
    this.#tables();
    this.#enter();
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

  override load(program: string, at: number = Place.code): void {
    super.load(program, at);
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
}

export const handlerOf = (vector: number): number => Place.handlers + vector * 16;

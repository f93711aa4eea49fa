/** A machine in 32-bit protected mode with paging, at CPL 0, for programs of a few bytes. Identity-mapped; handlers of the IDT halt. */
import { Rflags, Seg } from '../../src/index.ts';
import { Attr, Cr0, Cr4 } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';
import { EngineMachine, type EngineOptions, hex, PUSHES_ERROR } from './engine.ts';

export { hex };

export const Place = {
  gdt: 0x1000,
  idt: 0x2000,
  tss: 0x3000,
  ldt: 0x3800,
  directory: 0x4000,
  /** Page table of the first 4 MiB, supervisor pages. */
  table: 0x5000,
  code: 0x1_0000,
  handlers: 0x2_0000,
  data: 0x4_0000,
  stack: 0x8_0000,
  /** SS0:ESP0 of the TSS. */
  esp0: 0x9_0000,
  /** From here on pages of 4 MiB that CPL 3 may use. */
  user: 0x40_0000,
  userStack: 0x60_0000,
} as const;

/** In the order that SYSENTER and SYSCALL want; `tls` is empty. */
export const Selector = { code: 0x08, data: 0x10, userCode: 0x1b, userData: 0x23, tss: 0x28, ldt: 0x30, tls: 0x3b } as const;
export const Page = { P: 1, RW: 2, US: 4, PS: 0x80 } as const;

const HLT = 0xf4;
const GATE_INTERRUPT = 0xe;

export const handlerOf = (vector: number): number => Place.handlers + vector * 16;

/** A descriptor (SDM vol. 3 figure 3-8); `attr` is bits 40–55, the limit in units of its granularity. */
export function descriptor(base: number, limit: number, attr: number): bigint {
  const lo = ((base & 0xffff) * 0x1_0000 + (limit & 0xffff)) >>> 0;
  const hi = ((base & 0xff00_0000) | ((base >>> 16) & 0xff) | (limit & 0xf_0000) | (attr << 8)) >>> 0;
  return (BigInt(hi) << 32n) | BigInt(lo);
}

/** What an event left at the handler's stack pointer (SDM vol. 3 figure 6-4). */
export type Frame = {
  readonly vector: number;
  readonly error?: number;
  readonly eip: number;
  readonly cs: number;
  readonly eflags: number;
  /** Only there if the privilege changed. */
  readonly esp?: number;
  readonly ss?: number;
};

export class ProtectedModeMachine extends EngineMachine {
  constructor(options: EngineOptions = {}) {
    super(options);
    this.#tables();
    this.#enter();
  }

  #tables(): void {
    const flat = (attr: number): bigint => descriptor(0, 0xf_ffff, Attr.G | Attr.DB | Attr.P | Attr.S | attr);
    this.setU64(Place.gdt + Selector.code, flat(0xb));
    this.setU64(Place.gdt + Selector.data, flat(3));
    this.setU64(Place.gdt + (Selector.userCode & ~3), flat(0xb | (3 << Attr.DPL_SHIFT)));
    this.setU64(Place.gdt + (Selector.userData & ~3), flat(3 | (3 << Attr.DPL_SHIFT)));
    this.setU64(Place.gdt + Selector.tss, descriptor(Place.tss, 0x67, Attr.P | 9));
    this.setU64(Place.gdt + Selector.ldt, descriptor(Place.ldt, 0x3f, Attr.P | 2));
    this.setU32(Place.tss + 4, Place.esp0);
    this.setU32(Place.tss + 8, Selector.data);
    this.setU32(Place.directory, Place.table | Page.P | Page.RW | Page.US);
    for (let n = 0; n < 1024; n++) this.setPte(n * 0x1000, (n * 0x1000) | Page.P | Page.RW);
    for (let n = 1; n < 4; n++) this.setU32(Place.directory + 4 * n, (n * 0x40_0000) | Page.P | Page.RW | Page.US | Page.PS);
    for (let vector = 0; vector < 256; vector++) {
      this.setGate(vector);
      this.write(handlerOf(vector), [HLT]);
    }
  }

  /** Entry of the first 4 MiB's page table. */
  setPte(va: number, entry: number): void {
    this.setU32(Place.table + 4 * (va >>> 12), entry);
  }

  /** The gate of a vector: an interrupt gate to its halting handler. */
  setGate(vector: number, options: { dpl?: number } = {}): void {
    const { dpl = 0 } = options;
    const offset = handlerOf(vector);
    const hi = (offset & 0xffff_0000) | 0x8000 | (dpl << 13) | (GATE_INTERRUPT << 8);
    this.setU64(Place.idt + 8 * vector, (BigInt(hi >>> 0) << 32n) | BigInt(Selector.code * 0x1_0000 + (offset & 0xffff)));
  }

  #enter(): void {
    const c = this.processor.context;
    const { state } = c;
    state.cr0 = BigInt(Cr0.PG + (Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP));
    state.cr4 = BigInt(Cr4.PSE | Cr4.OSFXSR | Cr4.OSXMMEXCPT);
    state.cr3 = BigInt(Place.directory);
    state.gdtrBase = BigInt(Place.gdt);
    state.gdtrLimit = 0x3f;
    state.idtrBase = BigInt(Place.idt);
    state.idtrLimit = 0x7ff;
    setSegment(c, Seg.TR, Selector.tss, BigInt(Place.tss), 0x67, Attr.P | 11);
    setSegment(c, Seg.LDTR, Selector.ldt, BigInt(Place.ldt), 0x3f, Attr.P | 2);
    this.#segments(Selector.code, Selector.data, 0);
    state.gpr[4] = BigInt(Place.stack);
    c.rflags = Rflags.FIXED;
    c.updateMmu();
    c.flushTlb();
    c.updateMode();
  }

  #segments(code: number, data: number, cpl: number): void {
    const c = this.processor.context;
    const attr = Attr.P | Attr.S | Attr.G | Attr.DB | (cpl << Attr.DPL_SHIFT);
    setSegment(c, Seg.CS, code, 0n, 0xffff_ffff, attr | 0xb);
    for (const seg of [Seg.SS, Seg.DS, Seg.ES]) setSegment(c, seg, data, 0n, 0xffff_ffff, attr | 3);
    for (const seg of [Seg.FS, Seg.GS]) setSegment(c, seg, 0, 0n, 0, 0);
    c.state.cpl = cpl;
  }

  override load(program: string, at: number = Place.code): void {
    super.load(program, at);
  }

  /** Goes on at CPL 3, with IOPL 0. */
  enterUser(): void {
    this.#segments(Selector.userCode, Selector.userData, 3);
    this.state.gpr[4] = BigInt(Place.userStack);
    this.processor.context.updateMode();
  }

  /** Runs until a handler halts; what it found on its stack. */
  event(): Frame {
    const reason = this.run();
    const { rip, gpr } = this.state;
    const vector = Math.floor((Number(rip) - Place.handlers) / 16);
    if (reason !== 'halt' || rip !== BigInt(handlerOf(vector) + 1) || vector > 255)
      throw new Error(`no event: ${reason} at ${rip.toString(16)}`);
    const esp = Number(gpr[4]);
    const withError = PUSHES_ERROR.has(vector);
    const at = (n: number): number => this.u32(esp + 4 * (n + (withError ? 1 : 0)));
    const frame = { vector, eip: at(0), cs: at(1), eflags: at(2), ...(withError ? { error: this.u32(esp) } : {}) };
    return frame.cs & 3 || frame.eflags & Rflags.VM ? { ...frame, esp: at(3), ss: at(4) } : frame;
  }
}

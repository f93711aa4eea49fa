/** Puts the operands of a decoded instruction into its interpreter record (emit/interpreter.ts says what goes where). */
import type { Insn } from '../decode/insn.ts';
import { BASE_RIP, OperandKind } from '../decode/insn.ts';
import type { Form } from '../form.ts';
import { AddressMode } from '../form.ts';
import { CPU, Record, Seg } from '../state.ts';

/** A form bound to a handler: what a record of it needs. */
export type BoundForm = { readonly handler: number; readonly form: Form; readonly slots: readonly number[] };

/** What `CPU.twoPages` holds. */
export const TWO_PAGES = 8192;

export class RecordWriter {
  readonly #u8: Uint8Array;
  readonly #i32: Int32Array;
  readonly #cpu: number;

  /** @param cpu address of the processor state: register operands are addresses in it */
  constructor(memory: WebAssembly.Memory, cpu: number) {
    this.#u8 = new Uint8Array(memory.buffer);
    this.#i32 = new Int32Array(memory.buffer);
    this.#cpu = cpu;
  }

  /** Everything but a direct branch's targets. `offset` is the instruction's in its page. */
  write(at: number, insn: Insn, offset: number, bound: BoundForm): void {
    const cpu = this.#cpu;
    if (insn.row.rep !== 'no' || insn.row.sem === 'xlat') {
      // Also read by I/O helpers: the source segment by number, and its base where the index would be.
      this.#u8[at + Record.segment] = insn.seg;
      this.#i32[(at + Record.index) >>> 2] = cpu + CPU.offset.segBase + 8 * insn.seg;
    }
    // Its three registers leave no other room.
    if (insn.row.sem === 'monitor') this.#i32[(at + Record.disp) >>> 2] = insn.seg;
    for (let n = 0; n < insn.operandCount; n++) {
      const slot = (at + bound.slots[n]) >>> 2;
      switch (insn.kind[n]) {
        case OperandKind.Gpr:
          this.#i32[slot] = this.#gpr(insn.reg[n]);
          break;
        case OperandKind.GprHigh:
          this.#i32[slot] = this.#gpr(insn.reg[n]) + 1;
          break;
        case OperandKind.Xmm:
        case OperandKind.Ymm:
          this.#i32[slot] = cpu + CPU.offset.xmm + 16 * insn.reg[n];
          break;
        case OperandKind.Mmx:
          this.#i32[slot] = cpu + CPU.offset.fpr + 16 * insn.reg[n];
          break;
        case OperandKind.St:
          this.#i32[slot] = insn.reg[n];
          break;
        case OperandKind.Imm:
          this.#immediate(at, insn, bound, n);
          break;
        case OperandKind.Mem:
          if (insn.row.rep === 'no' && insn.row.sem !== 'xlat') this.#memory(at, insn, offset, bound);
          break;
        case OperandKind.Moffs:
          this.#absolute(at, insn, bound);
          break;
        case OperandKind.Far:
          this.#i32[slot] = insn.immLo;
          this.#i32[slot + 1] = insn.imm2;
          break;
        default: // a direct branch is the translator's; segment, control and debug registers are part of the form
      }
    }
  }

  /** Where a register is. */
  #gpr(reg: number): number {
    return this.#cpu + CPU.offset.gpr + 8 * reg;
  }

  #immediate(at: number, insn: Insn, bound: BoundForm, n: number): void {
    const slot = at + bound.slots[n];
    // ENTER has two; the second, its level, goes where a second register would.
    const second = n > 0 && insn.kind[n - 1] === OperandKind.Imm;
    this.#i32[(second ? at + Record.b : slot) >>> 2] = second ? insn.imm2 : insn.immLo;
    if (second || bound.slots[n] !== Record.imm) return;
    this.#i32[(slot + 4) >>> 2] = insn.immHi;
  }

  #memory(at: number, insn: Insn, offset: number, bound: BoundForm): void {
    const cpu = this.#cpu;
    const zero = cpu + CPU.offset.zero;
    let base = insn.base < 0 || insn.base === BASE_RIP ? zero : this.#gpr(insn.base);
    let index = insn.index < 0 || insn.row.vsib ? zero : this.#gpr(insn.index);
    let disp = insn.disp;
    if (insn.base === BASE_RIP) {
      base = cpu + CPU.offset.pageRip;
      disp += offset + insn.length;
      if (disp > 0x7fff_ffff) {
        disp -= TWO_PAGES;
        index = cpu + CPU.offset.twoPages;
      }
    }
    const special = insn.seg === Seg.FS || insn.seg === Seg.GS;
    if (special && bound.form.address === AddressMode.Indexed && bound.form.sem !== 'lea')
      index = cpu + CPU.offset.segBase + 8 * insn.seg;
    this.#i32[(at + Record.base) >>> 2] = base;
    this.#i32[(at + Record.index) >>> 2] = index;
    this.#i32[(at + Record.disp) >>> 2] = disp;
    // A SIB byte without an index may carry a scale, which must not move a segment base that stands in its place.
    this.#u8[at + Record.scale] = insn.index < 0 || insn.row.vsib ? 0 : insn.scale;
    if (insn.row.vsib) {
      this.#u8[at + Record.vectorScale] = insn.scale;
      this.#i32[(at + Record.imm2) >>> 2] = cpu + CPU.offset.xmm + 16 * insn.index;
    }
    this.#u8[at + Record.shift] = 64 - 8 * insn.addrSize;
    this.#u8[at + Record.segment] = insn.seg;
  }

  #absolute(at: number, insn: Insn, bound: BoundForm): void {
    const cpu = this.#cpu;
    const special = insn.seg === Seg.FS || insn.seg === Seg.GS;
    const segment = special ? cpu + CPU.offset.segBase + 8 * insn.seg : cpu + CPU.offset.zero;
    this.#i32[(at + Record.base) >>> 2] = cpu + CPU.offset.zero;
    this.#i32[(at + Record.index) >>> 2] = segment;
    this.#u8[at + Record.segment] = insn.seg;
    this.#u8[at + Record.shift] = 64 - 8 * insn.addrSize;
    if (bound.form.address === AddressMode.Absolute) {
      this.#i32[(at + Record.imm) >>> 2] = insn.moffsLo;
      this.#i32[(at + Record.imm2) >>> 2] = insn.moffsHi;
      return;
    }
    if (bound.form.address === AddressMode.Segmented) this.#i32[(at + Record.index) >>> 2] = cpu + CPU.offset.zero;
    this.#i32[(at + Record.disp) >>> 2] = insn.moffsLo;
  }
}

/**
 * System-management mode (SDM vol. 3 ch. 32; APM vol. 2 ch. 10): what an SMI does, and RSM. The state-save area is AMD's for 64-bit processors,
 * which other software models use too. Which memory the processor sees there is the chipset's business: `ProcessorConfig.onSmm` tells it.
 */

import { Rflags, Seg } from '../state.ts';
import type { SystemContext } from './context.ts';
import { Attr, Cr0, Efer } from './context.ts';
import { TripleFault } from './events.ts';
import { setSegment } from './segments.ts';

/** `CPU.smm`. */
const Smm = { Active: 1, NmiWasBlocked: 2 } as const;
export const SMBASE_RESET = 0x3_0000;
const ENTRY = 0x8000n;
/** The area ends 64 KiB above SMBASE. Offsets from SMBASE (APM vol. 2, table 10-1). */
const Area = {
  segments: 0xfe00,
  gdtr: 0xfe60,
  ldtr: 0xfe70,
  idtr: 0xfe80,
  tr: 0xfe90,
  autoHalt: 0xfec9,
  efer: 0xfed0,
  revision: 0xfefc,
  smbase: 0xff00,
  cr4: 0xff48,
  cr3: 0xff50,
  cr0: 0xff58,
  dr7: 0xff60,
  dr6: 0xff68,
  rflags: 0xff70,
  rip: 0xff78,
  /** RAX; the others follow downwards. */
  rax: 0xfff8,
} as const;
/** AMD64 layout; SMBASE can be relocated. */
const REVISION = 0x2_0064n;
/** A descriptor in the area: selector, attributes, limit, base. */
const Register = { selector: 0, attributes: 2, limit: 4, base: 8, bytes: 16 } as const;

const REAL = Attr.P | Attr.S | 3;

/** Reads and writes the save area; paging is off. */
class SaveArea {
  readonly #c: SystemContext;
  readonly #base: bigint;
  constructor(c: SystemContext) {
    this.#c = c;
    this.#base = BigInt(c.state.smbase);
  }
  read(offset: number, size: number): bigint {
    return this.#c.asSystem(() => this.#c.read((this.#base + BigInt(offset)) & 0xffff_ffffn, size));
  }
  write(offset: number, size: number, value: bigint): void {
    this.#c.asSystem(() => this.#c.write((this.#base + BigInt(offset)) & 0xffff_ffffn, size, BigInt.asUintN(8 * size, value)));
  }
  saveSegment(seg: number, at: number): void {
    const { state } = this.#c;
    const down = state.segLow[seg] !== 0;
    this.write(at + Register.selector, 2, BigInt(state.segSel[seg]));
    this.write(at + Register.attributes, 2, BigInt(state.segAttr[seg]));
    this.write(at + Register.limit, 4, BigInt(down ? state.segLow[seg] - 1 : state.segLimit[seg]));
    this.write(at + Register.base, 8, state.segBase[seg]);
  }
  loadSegment(seg: number, at: number): void {
    const field = (offset: number, size: number): number => Number(this.read(at + offset, size));
    const base = this.read(at + Register.base, 8);
    setSegment(this.#c, seg, field(Register.selector, 2), base, field(Register.limit, 4), field(Register.attributes, 2));
  }
}

const segmentAt = (seg: number): number => Area.segments + Register.bytes * seg;

/** Whether an SMI has to wait: there is none within another. */
export const inSmm = (c: SystemContext): boolean => (c.state.smm & Smm.Active) !== 0;

/** Saves the state and goes on at SMBASE + 8000h, in what is nearly real mode with segments of 4 GiB (APM vol. 2 §10.3.2). */
export function enterSmm(c: SystemContext): void {
  const { state } = c;
  const { cr0, cr4, efer } = state;
  const flags = c.rflags;
  const [dr6, dr7] = [state.dr[6], state.dr[7]];
  // Without paging linear addresses are physical ones.
  state.cr0 = cr0 & ~BigInt(Cr0.PE | Cr0.EM | Cr0.TS) & 0x7fff_ffffn;
  state.cr4 = 0n;
  state.efer = 0n;
  c.updateMmu();
  c.flushTlb();
  const area = new SaveArea(c);
  for (let seg = 0; seg < 6; seg++) area.saveSegment(seg, segmentAt(seg));
  area.saveSegment(Seg.LDTR, Area.ldtr);
  area.saveSegment(Seg.TR, Area.tr);
  area.write(Area.gdtr + Register.limit, 4, BigInt(state.gdtrLimit));
  area.write(Area.gdtr + Register.base, 8, state.gdtrBase);
  area.write(Area.idtr + Register.limit, 4, BigInt(state.idtrLimit));
  area.write(Area.idtr + Register.base, 8, state.idtrBase);
  area.write(Area.autoHalt, 1, BigInt(state.halted));
  area.write(Area.efer, 8, efer);
  area.write(Area.revision, 4, REVISION);
  area.write(Area.smbase, 4, BigInt(state.smbase));
  area.write(Area.cr4, 8, cr4);
  area.write(Area.cr3, 8, state.cr3);
  area.write(Area.cr0, 8, cr0);
  area.write(Area.dr7, 8, dr7);
  area.write(Area.dr6, 8, dr6);
  area.write(Area.rflags, 8, BigInt(flags));
  area.write(Area.rip, 8, state.rip);
  for (let n = 0; n < 16; n++) area.write(Area.rax - 8 * n, 8, state.gpr[n]);

  state.smm = Smm.Active | (state.nmiBlocked ? Smm.NmiWasBlocked : 0);
  state.nmiBlocked = 1;
  state.halted = 0;
  state.interruptShadow = 0;
  state.dr[7] = 0x400n;
  c.breakpoints.update();
  c.rflags = Rflags.FIXED;
  state.cpl = 0;
  for (const seg of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS]) setSegment(c, seg, 0, 0n, 0xffff_ffff, REAL);
  setSegment(c, Seg.CS, (state.smbase >>> 4) & 0xffff, BigInt(state.smbase), 0xffff_ffff, REAL);
  state.rip = ENTRY;
  c.updateMode();
}

/** RSM: the state of before, as the save area has it now. A state that cannot be is a shutdown (SDM vol. 3 §32.4.2). */
export function leaveSmm(c: SystemContext): void {
  const { state } = c;
  // The handler may have turned paging on.
  state.cr0 &= 0x7fff_ffffn;
  c.updateMmu();
  c.flushTlb();
  const area = new SaveArea(c);
  const cr0 = area.read(Area.cr0, 8);
  const cr4 = area.read(Area.cr4, 8);
  const efer = area.read(Area.efer, 8);
  checkState(c, cr0, cr4, efer);
  for (let seg = 0; seg < 6; seg++) area.loadSegment(seg, segmentAt(seg));
  area.loadSegment(Seg.LDTR, Area.ldtr);
  area.loadSegment(Seg.TR, Area.tr);
  state.gdtrLimit = Number(area.read(Area.gdtr + Register.limit, 4)) & 0xffff;
  state.gdtrBase = area.read(Area.gdtr + Register.base, 8);
  state.idtrLimit = Number(area.read(Area.idtr + Register.limit, 4)) & 0xffff;
  state.idtrBase = area.read(Area.idtr + Register.base, 8);
  const halted = Number(area.read(Area.autoHalt, 1)) & 1;
  const [dr6, dr7] = [area.read(Area.dr6, 8), area.read(Area.dr7, 8)];
  const flags = Number(area.read(Area.rflags, 8) & 0xffff_ffffn);
  const rip = area.read(Area.rip, 8);
  const cr3 = area.read(Area.cr3, 8);
  for (let n = 0; n < 16; n++) state.gpr[n] = area.read(Area.rax - 8 * n, 8);
  const smbase = Number(area.read(Area.smbase, 4));

  state.smbase = smbase;
  state.cr0 = cr0;
  state.cr3 = cr3;
  state.cr4 = cr4;
  state.efer = efer;
  state.dr[6] = dr6;
  state.dr[7] = dr7;
  state.rip = rip;
  state.halted = halted;
  state.nmiBlocked = state.smm & Smm.NmiWasBlocked ? 1 : 0;
  state.smm = 0;
  c.rflags = flags | Rflags.FIXED;
  state.cpl = flags & Rflags.VM ? 3 : cr0 & BigInt(Cr0.PE) ? (state.segAttr[Seg.SS] >> Attr.DPL_SHIFT) & 3 : 0;
  c.updateMmu();
  const pae = cr0 >> 31n && cr4 & 0x20n && !(efer & BigInt(Efer.LMA));
  if (pae && !c.mmu.loadPdptes()) throw new TripleFault();
  c.flushTlb();
  c.breakpoints.update();
  c.updateMode();
}

function checkState(c: SystemContext, cr0: bigint, cr4: bigint, efer: bigint): void {
  const has = (value: bigint, bit: number): boolean => (value & BigInt(bit >>> 0)) !== 0n;
  const bad =
    (has(cr0, Cr0.PG) && !has(cr0, Cr0.PE)) ||
    (has(cr0, Cr0.NW) && !has(cr0, Cr0.CD)) ||
    (cr4 & ~BigInt(c.cr4Bits)) !== 0n ||
    (efer & ~BigInt(c.eferBits | Efer.LMA)) !== 0n ||
    has(efer, Efer.LMA) !== (has(efer, Efer.LME) && has(cr0, Cr0.PG));
  if (bad) throw new TripleFault();
}

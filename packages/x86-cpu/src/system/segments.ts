/** Segment descriptors and selectors (SDM vol. 3 ch. 3 and 5). */

import { Vector } from '../core/memory.ts';
import { is64Bit } from '../records/mode-key.ts';
import { Seg } from '../state.ts';
import type { SystemContext } from './context.ts';
import { Attr, fault, generalProtection } from './context.ts';

/** A descriptor as read from a table. */
export type Descriptor = {
  readonly selector: number;
  /** Linear address of its 8 bytes. */
  readonly address: bigint;
  readonly base: bigint;
  /** In bytes, after granularity. */
  readonly limit: number;
  /** `Attr` bits. */
  readonly attr: number;
  readonly lo: number;
  readonly hi: number;
};

export const dplOf = (attr: number): number => (attr >> Attr.DPL_SHIFT) & 3;
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
const isCode = (attr: number): boolean => (attr & (Attr.S | 8)) === (Attr.S | 8);
const isConforming = (attr: number): boolean => (attr & 4) !== 0;
const isReadableCode = (attr: number): boolean => (attr & 2) !== 0;
const isWritableData = (attr: number): boolean => (attr & (Attr.S | 8 | 2)) === (Attr.S | 2);

/** System descriptor types in `attr & 0x1f` (SDM vol. 3 table 3-2). */
export const SystemType = {
  TSS16: 1,
  LDT: 2,
  BUSY16: 3,
  CALL16: 4,
  TASK: 5,
  INT16: 6,
  TRAP16: 7,
  TSS: 9,
  BUSY: 11,
  CALL: 12,
  INT: 14,
  TRAP: 15,
} as const;

/** Reads the descriptor a selector names. @throws GuestFault `vector`(selector) when it is outside its table. */
export function readDescriptor(c: SystemContext, selector: number, vector: number = Vector.GP): Descriptor {
  const local = (selector & 4) !== 0;
  const { state } = c;
  const base = local ? state.segBase[Seg.LDTR] : state.gdtrBase;
  const limit = local ? (state.segAttr[Seg.LDTR] & Attr.P ? state.segLimit[Seg.LDTR] : -1) : state.gdtrLimit;
  const offset = selector & 0xfff8;
  if (offset + 7 > limit) fault(vector, selector & 0xfffc);
  const address = c.longMode ? base + BigInt(offset) : (base + BigInt(offset)) & 0xffff_ffffn;
  c.readEntry(address);
  return parseDescriptor(selector, address, c.entry[0], c.entry[1]);
}

export function parseDescriptor(selector: number, address: bigint, lo: number, hi: number): Descriptor {
  const base = ((lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff00_0000)) >>> 0;
  const raw = (lo & 0xffff) | (hi & 0xf_0000);
  const attr = (hi >>> 8) & 0xf0ff;
  const limit = attr & Attr.G ? ((raw << 12) | 0xfff) >>> 0 : raw;
  return { selector, address, base: BigInt(base), limit, attr, lo, hi };
}

/** Base of a 16-byte system descriptor (LDT, TSS in IA-32e mode): its upper half follows in the table. */
export function longBase(c: SystemContext, d: Descriptor): bigint {
  const high = c.asSystem(() => c.read(d.address + 8n, 4));
  return d.base | (high << 32n);
}

/** Puts a descriptor into a segment register's hidden part. */
export function setSegment(c: SystemContext, seg: number, selector: number, base: bigint, limit: number, attr: number): void {
  const { state } = c;
  state.segSel[seg] = selector;
  state.segBase[seg] = base;
  // An expand-down data segment is valid above its limit, up to 64 KiB or 4 GiB (SDM vol. 3 §5.3).
  const down = (attr & (Attr.S | 8 | 4)) === (Attr.S | 4);
  state.segLow[seg] = down ? (limit + 1) >>> 0 : 0;
  state.segLimit[seg] = down ? (attr & Attr.DB ? 0xffff_ffff : 0xffff) : limit;
  state.segAttr[seg] = attr;
}

export function setFromDescriptor(c: SystemContext, seg: number, selector: number, d: Descriptor): void {
  setSegment(c, seg, selector, d.base, d.limit, d.attr);
}

/** A null selector: unusable outside 64-bit mode; there base 0 and no checks. The FS and GS bases survive on AMD, not on Intel. */
export function setNull(c: SystemContext, seg: number, selector: number): void {
  setSegment(c, seg, selector, 0n, 0, 0);
}

/** Real and virtual-8086 mode: base is the selector times 16, the limit stays (real) or is 64 KiB (vm86). */
export function setRealMode(c: SystemContext, seg: number, selector: number): void {
  const { state } = c;
  state.segSel[seg] = selector;
  state.segBase[seg] = BigInt(selector << 4);
  if (c.virtual8086) setSegment(c, seg, selector, BigInt(selector << 4), 0xffff, Attr.P | Attr.S | 3 | (3 << Attr.DPL_SHIFT));
}

/** Sets the accessed bit in memory, as a segment load does (SDM vol. 3 §3.4.5.1). */
export function markAccessed(c: SystemContext, d: Descriptor): void {
  if (d.attr & 1) return;
  c.asSystem(() => c.write(d.address + 5n, 1, BigInt((d.attr & 0xff) | 1)));
}

/** MOV/POP to, or LDS & co. of, ES, SS, DS, FS, GS (SDM vol. 2, MOV: "Loading a segment register while in protected mode"). */
export function loadDataSegment(c: SystemContext, seg: number, selector: number): void {
  if (!c.protectedMode || c.virtual8086) {
    setRealMode(c, seg, selector);
    return;
  }
  const { state } = c;
  const mode64 = is64Bit(state.modeKey);
  if (seg === Seg.SS) {
    loadStackSegment(c, selector, state.cpl, Vector.GP, mode64);
    return;
  }
  if (isNull(selector)) {
    setNull(c, seg, selector);
    return;
  }
  const d = readDescriptor(c, selector);
  const error = selector & 0xfffc;
  if (!(d.attr & Attr.S) || (isCode(d.attr) && !isReadableCode(d.attr))) generalProtection(error);
  const conforming = isCode(d.attr) && isConforming(d.attr);
  if (!conforming && (dplOf(d.attr) < state.cpl || dplOf(d.attr) < (selector & 3))) generalProtection(error);
  if (!(d.attr & Attr.P)) fault(Vector.NP, error);
  markAccessed(c, d);
  setFromDescriptor(c, seg, selector, { ...d, attr: d.attr | 1 });
}

/**
 * Loads a segment register as an instruction does, and brings the mode up to date.
 * @returns whether code that was translated before is still right for what follows
 */
export function loadSegment(c: SystemContext, seg: number, selector: number): boolean {
  const { state } = c;
  const key = state.modeKey;
  const attr = state.segAttr[seg];
  // The flat segment that is there already, which is what kernels load at every entry.
  const same = selector === state.segSel[seg] && seg !== Seg.SS && (attr & (Attr.P | Attr.S | 8)) === (Attr.P | Attr.S);
  if (same && !c.virtual8086 && c.protectedMode && dplOf(attr) >= Math.max(state.cpl, selector & 3) && c.isLoaded(seg))
    return true;
  loadDataSegment(c, seg, selector);
  c.updateMode();
  return state.modeKey === key;
}

/** Loads SS for privilege `cpl`. `vector` is what bad selectors raise: #GP for MOV, #TS when the TSS named it. */
export function loadStackSegment(c: SystemContext, selector: number, cpl: number, vector: number, allowNull: boolean): void {
  const error = selector & 0xfffc;
  if (isNull(selector)) {
    // 64-bit mode runs with a null SS at CPL 0–2 (SDM vol. 3 §5.8.5).
    if (!allowNull || cpl === 3 || (selector & 3) !== cpl) fault(vector, error);
    setSegment(c, Seg.SS, selector, 0n, 0xffff_ffff, cpl << Attr.DPL_SHIFT);
    return;
  }
  const d = readDescriptor(c, selector, vector);
  if ((selector & 3) !== cpl || !isWritableData(d.attr) || dplOf(d.attr) !== cpl) fault(vector, error);
  if (!(d.attr & Attr.P)) fault(Vector.SS, error);
  markAccessed(c, d);
  setFromDescriptor(c, Seg.SS, selector, { ...d, attr: d.attr | 1 });
}

/** Checks a code descriptor as the target of a far transfer without a gate; `cpl` is the privilege it will run at. */
export function checkCodeSegment(c: SystemContext, d: Descriptor, cpl: number, isReturn: boolean): void {
  const error = d.selector & 0xfffc;
  const rpl = d.selector & 3;
  if (!isCode(d.attr)) generalProtection(error);
  const dpl = dplOf(d.attr);
  if (isReturn) {
    if (isConforming(d.attr) ? dpl > rpl : dpl !== rpl) generalProtection(error);
  } else if (isConforming(d.attr) ? dpl > cpl : rpl > cpl || dpl !== cpl) generalProtection(error);
  if (c.longMode && d.attr & Attr.L && d.attr & Attr.DB) generalProtection(error);
  if (!(d.attr & Attr.P)) fault(Vector.NP, error);
}

/** Loads CS; its RPL becomes CPL. */
export function setCodeSegment(c: SystemContext, d: Descriptor, cpl: number): void {
  markAccessed(c, d);
  setFromDescriptor(c, Seg.CS, (d.selector & 0xfffc) | cpl, { ...d, attr: d.attr | 1 });
  c.state.cpl = cpl;
}

/** After a return to an outer privilege, data segments that it may not use become null (SDM vol. 3 §5.8.1). */
export function dropInnerSegments(c: SystemContext): void {
  for (const seg of [Seg.ES, Seg.DS, Seg.FS, Seg.GS]) {
    const attr = c.state.segAttr[seg];
    const conforming = isCode(attr) && isConforming(attr);
    if (attr && !conforming && dplOf(attr) < c.state.cpl) setNull(c, seg, 0);
  }
}
export { isCode, isConforming };

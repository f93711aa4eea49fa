/** The decoder: prefixes, opcode look-up, ModRM, then the row's operands one by one. */
import { BASE_RIP, DecodeStatus, type Insn, OperandKind, SegmentNumber } from './instruction.ts';
import {
  index32,
  index64,
  MODRM_COLUMNS,
  OPERANDS,
  operandCounts,
  operandFixed,
  operandSizes,
  operandSources,
  RowFlag,
  rowFlags,
  rows,
  XCHG_90,
} from './lookup.ts';
import type { OpcodeRow } from './opcodes.ts';
import { Size, Src } from './operand-spec.ts';

const PREFIX = new Uint8Array(256);
const Prefix = { Seg: 1, OpSize: 2, AddrSize: 3, Lock: 4, Rep: 5, Rex: 6 } as const;
for (const b of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]) PREFIX[b] = Prefix.Seg;
PREFIX[0x66] = Prefix.OpSize;
PREFIX[0x67] = Prefix.AddrSize;
PREFIX[0xf0] = Prefix.Lock;
PREFIX[0xf2] = PREFIX[0xf3] = Prefix.Rep;
for (let b = 0x40; b < 0x50; b++) PREFIX[b] = Prefix.Rex;

const MAX_LENGTH = 15;
/** The decoder reads at most this far past the first byte before it checks: 15 prefixes, VEX, opcode, ModRM, SIB, 4 + 8 bytes. */
export const LOOKAHEAD = 40;
const scratch = new Uint8Array(LOOKAHEAD);

/**
 * Decodes the instruction at `bytes[at]`, with bytes available up to `end` (exclusive), in the given mode, into `out`.
 * Blind to CPU features: the caller compares `out.row.feature` with the CPU model.
 */
export function decode(bytes: Uint8Array, at: number, end: number, mode: 16 | 32 | 64, out: Insn): DecodeStatus {
  if (end - at >= LOOKAHEAD) return decodeAt(bytes, at, MAX_LENGTH, mode, out);
  const available = Math.min(end - at, MAX_LENGTH);
  scratch.fill(0);
  for (let i = 0; i < available; i++) scratch[i] = bytes[at + i] as number;
  return decodeAt(scratch, 0, available, mode, out);
}

/** Position behind what was read so far; module state because every reader moves it. */
let pos = 0;

function refuse(at: number, available: number, out: Insn): DecodeStatus {
  out.length = pos - at;
  if (out.length <= available) return DecodeStatus.Invalid;
  return available < MAX_LENGTH ? DecodeStatus.Truncated : DecodeStatus.TooLong;
}

function decodeAt(bytes: Uint8Array, at: number, available: number, mode: 16 | 32 | 64, out: Insn): DecodeStatus {
  let rex = 0;
  let rep: 0 | 0xf2 | 0xf3 = 0;
  let lock = false;
  let has66 = false;
  let has67 = false;
  let segOverride = -1;
  pos = at;
  let op = bytes[pos++] as number;
  for (;;) {
    const kind = PREFIX[op] as number;
    if (kind === 0) break;
    if (kind === Prefix.Rex) {
      if (mode !== 64) break;
      rex = op;
    } else {
      // REX counts only immediately before the opcode (SDM vol. 2, §2.2.1).
      rex = 0;
      if (kind === Prefix.OpSize) has66 = true;
      else if (kind === Prefix.Rep) rep = op as 0xf2 | 0xf3;
      else if (kind === Prefix.Lock) lock = true;
      else if (kind === Prefix.AddrSize) has67 = true;
      else if (op >= 0x64) segOverride = op - 0x60;
      else if (mode !== 64) segOverride = (op >> 3) & 3;
    }
    if (pos - at >= available) {
      pos++;
      return refuse(at, available, out);
    }
    op = bytes[pos++] as number;
  }

  // Escapes to the other maps, and VEX.
  let map = 0;
  let vexL = 0;
  let vexW = 0;
  let vvvv = 0;
  let variant = rep === 0 ? (has66 ? 1 : 0) : rep === 0xf3 ? 2 : 3;
  let vex = false;
  if (op === 0x0f) {
    op = bytes[pos++] as number;
    map = 1;
    if (op === 0x38 || op === 0x3a) {
      map = op === 0x38 ? 2 : 3;
      op = bytes[pos++] as number;
    }
  } else if ((op === 0xc4 || op === 0xc5) && (mode === 64 || (bytes[pos] as number) >= 0xc0)) {
    // #UD after LOCK, 66, F2, F3 or REX (SDM vol. 2, §2.3.2–2.3.5).
    if (lock || has66 || rep !== 0 || rex !== 0) return refuse(at, available, out);
    vex = true;
    let last = bytes[pos++] as number;
    rex = 0x40 | (last & 0x80 ? 0 : 4);
    map = 1;
    if (op === 0xc4) {
      map = last & 31;
      rex |= (last & 0x40 ? 0 : 2) | (last & 0x20 ? 0 : 1);
      last = bytes[pos++] as number;
      vexW = last >> 7;
      if (vexW !== 0) rex |= 8;
    }
    vvvv = ~(last >> 3) & 15;
    vexL = (last >> 2) & 1;
    variant = (last & 3) | (vexW << 2) | (vexL << 3);
    op = bytes[pos++] as number;
    if (map === 0 || map > 3) return refuse(at, available, out);
    if (mode !== 64) rex &= 0x48;
  }

  const index = mode === 64 ? index64 : index32;
  const entry = index.entries[((vex ? 4 : 0) + map) * 256 + op] as number;
  let id = entry - 1;
  if (entry < 0) {
    let at2 = -entry >> 2;
    if (-entry & 1) {
      const modrm = bytes[pos] as number;
      const column = modrm >= 0xc0 ? 8 + (modrm & 63) : (modrm >> 3) & 7;
      at2 += (-entry & 2 ? variant * MODRM_COLUMNS : 0) + column;
      id = (index.sub[at2] as number) - 1;
      if (id < 0) {
        pos++;
        return refuse(at, available, out);
      }
    } else {
      id = (index.sub[at2 + variant] as number) - 1;
    }
  }
  if (id < 0) return refuse(at, available, out);
  let row = rows[id] as OpcodeRow;
  if (op === 0x90 && map === 0 && rex & 1 && !vex) {
    // 90 is NOP and not XCHG EAX,EAX, which would clear the upper half; REX.B makes it XCHG r8 (SDM vol. 2B, XCHG).
    row = XCHG_90;
    id = row.id;
  }
  const flags = rowFlags[id] as number;

  const opSize66 = has66 && (flags & RowFlag.Prefix66) === 0;
  let opSize: 2 | 4 | 8;
  if (mode === 64) {
    if (flags & RowFlag.F64) opSize = 8;
    else if (rex & 8) opSize = 8;
    else if (opSize66) opSize = 2;
    else opSize = flags & RowFlag.D64 ? 8 : 4;
  } else {
    opSize = (mode === 32) !== opSize66 ? 4 : 2;
  }
  out.row = row;
  out.mode = mode;
  out.opSize = opSize;
  out.addrSize = mode === 64 ? (has67 ? 4 : 8) : (mode === 32) !== has67 ? 4 : 2;
  out.lock = lock;
  out.rep = rep;
  out.rex = rex;
  out.prefix66 = has66 || (vex && (variant & 3) === 1);
  out.map = map;
  out.op = op;
  out.vex = vex;
  out.vexL = vexL;
  out.vexW = vexW;
  out.vvvv = vvvv;
  out.segOverride = segOverride;
  out.seg = segOverride < 0 ? 3 : segOverride;
  out.base = -1;
  out.index = -1;
  out.scale = 0;
  out.disp = 0;
  out.immLo = 0;
  out.immHi = 0;
  out.imm2 = 0;
  out.rel = 0;

  let memory = false;
  if (flags & RowFlag.ModRm) {
    const modrm = bytes[pos++] as number;
    out.modrm = modrm;
    if (modrm < 0xc0 && (flags & RowFlag.AnyMod) === 0) {
      memory = true;
      if (out.addrSize === 2) address16(bytes, modrm, out);
      else address32(bytes, modrm, rex, out);
      if (flags & RowFlag.Vsib && !vsibOk(modrm, rex, out)) return refuse(at, available, out);
    }
  } else {
    out.modrm = -1;
  }
  if (lock && ((flags & RowFlag.Lock) === 0 || !memory)) return refuse(at, available, out);
  if (vex && vvvv !== 0 && (flags & RowFlag.Vvvv) === 0) return refuse(at, available, out);

  const count = operandCounts[id] as number;
  out.operandCount = count;
  for (let i = 0; i < OPERANDS; i++) {
    if (i >= count) out.kind[i] = OperandKind.None;
    else if (!operand(bytes, id * OPERANDS + i, i, memory, out)) return refuse(at, available, out);
  }
  const length = pos - at;
  out.length = length;
  if (length <= available) return DecodeStatus.Ok;
  return available < MAX_LENGTH ? DecodeStatus.Truncated : DecodeStatus.TooLong;
}

function i8(bytes: Uint8Array): number {
  return ((bytes[pos++] as number) << 24) >> 24;
}

function u16(bytes: Uint8Array): number {
  const v = (bytes[pos] as number) | ((bytes[pos + 1] as number) << 8);
  pos += 2;
  return v;
}

function i32(bytes: Uint8Array): number {
  const p = pos;
  pos = p + 4;
  return (
    (bytes[p] as number) | ((bytes[p + 1] as number) << 8) | ((bytes[p + 2] as number) << 16) | ((bytes[p + 3] as number) << 24)
  );
}

const BASE_16 = Int8Array.of(3, 3, 5, 5, 6, 7, 5, 3);
const INDEX_16 = Int8Array.of(6, 7, 6, 7, -1, -1, -1, -1);

/** SDM vol. 2, table 2-1. */
function address16(bytes: Uint8Array, modrm: number, out: Insn): void {
  const rm = modrm & 7;
  const mod = modrm >> 6;
  if (mod === 0 && rm === 6) {
    out.disp = (u16(bytes) << 16) >> 16;
    return;
  }
  out.base = BASE_16[rm] as number;
  out.index = INDEX_16[rm] as number;
  if (mod === 1) out.disp = i8(bytes);
  else if (mod === 2) out.disp = (u16(bytes) << 16) >> 16;
  if (out.base === 5 && out.segOverride < 0) out.seg = SegmentNumber.SS;
}

/** SDM vol. 2, tables 2-2 and 2-3, §2.2.1.2–2.2.1.6. */
function address32(bytes: Uint8Array, modrm: number, rex: number, out: Insn): void {
  const mod = modrm >> 6;
  let rm = modrm & 7;
  if (rm === 4) {
    const sib = bytes[pos++] as number;
    const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
    out.scale = (sib >> 6) as 0 | 1 | 2 | 3;
    out.index = index === 4 ? -1 : index;
    rm = sib & 7;
    if (rm === 5 && mod === 0) {
      out.disp = i32(bytes);
      return;
    }
  } else if (rm === 5 && mod === 0) {
    if (out.mode === 64) out.base = BASE_RIP;
    out.disp = i32(bytes);
    return;
  }
  const base = rm | ((rex & 1) << 3);
  out.base = base;
  if ((base === 4 || base === 5) && out.segOverride < 0) out.seg = SegmentNumber.SS;
  if (mod === 1) out.disp = i8(bytes);
  else if (mod === 2) out.disp = i32(bytes);
}

/** VSIB (SDM vol. 2, §2.3.12): a SIB byte is required, no 16-bit addressing, index 4 is a register too. */
function vsibOk(modrm: number, rex: number, out: Insn): boolean {
  if ((modrm & 7) !== 4 || out.addrSize === 2) return false;
  if (out.index < 0) out.index = 4 | ((rex & 2) << 2);
  // #UD if any two of destination, index and mask are the same register (SDM vol. 2, VGATHERDPS).
  const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
  const mask = out.mode === 64 ? out.vvvv : out.vvvv & 7;
  return reg !== out.index && reg !== mask && mask !== out.index;
}

function sizeOf(code: number, out: Insn): number {
  if (code < 64) return code;
  switch (code) {
    case Size.V:
      return out.opSize;
    case Size.Z:
      return out.opSize === 2 ? 2 : 4;
    case Size.Y:
      return out.mode === 64 && out.rex & 8 ? 8 : 4;
    case Size.P:
      return out.opSize + 2;
    case Size.X:
      return out.vexL ? 32 : 16;
    case Size.S:
      return out.mode === 64 ? 10 : 6;
    case Size.A:
      return out.opSize * 2;
    case Size.N:
      return out.mode === 64 ? 8 : 4;
    case Size.Half:
      return out.vexL ? 16 : 8;
    case Size.Quarter:
      return out.vexL ? 8 : 4;
    case Size.Eighth:
      return out.vexL ? 4 : 2;
    case Size.Qdq:
      return out.rex & 8 ? 16 : 8;
    case Size.Env:
      return out.opSize === 2 ? 14 : 28;
    case Size.State:
      return out.opSize === 2 ? 94 : 108;
    default:
      return out.addrSize;
  }
}

function setGpr(out: Insn, i: number, reg: number, size: number): void {
  // Without REX, byte registers 4–7 are AH CH DH BH (SDM vol. 2, §2.2.1.2).
  if (size === 1 && reg >= 4 && out.rex === 0) {
    out.kind[i] = OperandKind.GprHigh;
    out.reg[i] = reg - 4;
  } else {
    out.kind[i] = OperandKind.Gpr;
    out.reg[i] = reg;
  }
}

function setXmm(out: Insn, i: number, reg: number, size: number): void {
  out.kind[i] = size === 32 ? OperandKind.Ymm : OperandKind.Xmm;
  out.reg[i] = reg;
}

function setImm(out: Insn, i: number, lo: number, hi: number): void {
  out.kind[i] = OperandKind.Imm;
  out.reg[i] = 0;
  out.immLo = lo;
  out.immHi = hi;
}

/** Fills operand `i` of `out` from slot `at` of the flat operand arrays. False: there is no such register. */
function operand(bytes: Uint8Array, at: number, i: number, memory: boolean, out: Insn): boolean {
  const size = sizeOf(operandSizes[at] as number, out);
  out.size[i] = size;
  const modrm = out.modrm;
  const rex = out.rex;
  switch (operandSources[at]) {
    case Src.E:
    case Src.M:
    case Src.R:
      if (memory) {
        out.kind[i] = OperandKind.Mem;
        out.reg[i] = 0;
      } else {
        setGpr(out, i, (modrm & 7) | ((rex & 1) << 3), size);
      }
      return true;
    case Src.G:
      setGpr(out, i, ((modrm >> 3) & 7) | ((rex & 4) << 1), size);
      return true;
    case Src.Z:
      setGpr(out, i, (out.op & 7) | ((rex & 1) << 3), size);
      return true;
    case Src.FixedGpr:
      out.kind[i] = OperandKind.Gpr;
      out.reg[i] = operandFixed[at] as number;
      return true;
    case Src.B:
      out.kind[i] = OperandKind.Gpr;
      out.reg[i] = out.mode === 64 ? out.vvvv : out.vvvv & 7;
      return true;
    case Src.ImmS8: {
      const v = i8(bytes);
      setImm(out, i, v, v >> 31);
      return true;
    }
    case Src.ImmU8:
      if (i > 0 && out.kind[i - 1] === OperandKind.Imm) {
        // ENTER's nesting level.
        out.kind[i] = OperandKind.Imm;
        out.reg[i] = 1;
        out.imm2 = bytes[pos++] as number;
      } else {
        setImm(out, i, bytes[pos++] as number, 0);
      }
      return true;
    case Src.ImmU16:
      setImm(out, i, u16(bytes), 0);
      return true;
    case Src.ImmZ: {
      const v = out.opSize === 2 ? (u16(bytes) << 16) >> 16 : i32(bytes);
      setImm(out, i, v, v >> 31);
      return true;
    }
    case Src.ImmV: {
      const lo = out.opSize === 2 ? (u16(bytes) << 16) >> 16 : i32(bytes);
      setImm(out, i, lo, out.opSize === 8 ? i32(bytes) : lo >> 31);
      return true;
    }
    case Src.One:
      setImm(out, i, 1, 0);
      return true;
    case Src.RelB:
      out.kind[i] = OperandKind.Rel;
      out.rel = i8(bytes);
      return true;
    case Src.RelZ:
      out.kind[i] = OperandKind.Rel;
      out.rel = out.opSize === 2 ? (u16(bytes) << 16) >> 16 : i32(bytes);
      return true;
    default:
      return rareOperand(bytes, at, i, memory, size, out);
  }
}

function rareOperand(bytes: Uint8Array, at: number, i: number, memory: boolean, size: number, out: Insn): boolean {
  const modrm = out.modrm;
  const rex = out.rex;
  const reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
  const rm = (modrm & 7) | ((rex & 1) << 3);
  switch (operandSources[at]) {
    case Src.V:
      setXmm(out, i, reg, size);
      return true;
    case Src.W:
    case Src.U:
      if (memory) {
        out.kind[i] = OperandKind.Mem;
        out.reg[i] = 0;
      } else {
        setXmm(out, i, rm, size);
      }
      return true;
    case Src.H:
      setXmm(out, i, out.mode === 64 ? out.vvvv : out.vvvv & 7, size);
      return true;
    case Src.L: {
      const imm = bytes[pos++] as number;
      setXmm(out, i, out.mode === 64 ? imm >> 4 : (imm >> 4) & 7, size);
      return true;
    }
    case Src.FixedXmm:
      setXmm(out, i, operandFixed[at] as number, size);
      return true;
    case Src.P:
      out.kind[i] = OperandKind.Mmx;
      out.reg[i] = reg & 7;
      return true;
    case Src.Q:
    case Src.N:
      out.kind[i] = memory ? OperandKind.Mem : OperandKind.Mmx;
      out.reg[i] = memory ? 0 : rm & 7;
      return true;
    case Src.St0:
      out.kind[i] = OperandKind.St;
      out.reg[i] = 0;
      return true;
    case Src.St:
      out.kind[i] = OperandKind.St;
      out.reg[i] = modrm & 7;
      return true;
    case Src.FixedSeg:
      out.kind[i] = OperandKind.Seg;
      out.reg[i] = operandFixed[at] as number;
      return true;
    case Src.S: {
      // REX.R is ignored; numbers 6 and 7, and CS as a destination, are #UD (SDM vol. 2B, MOV).
      const sreg = reg & 7;
      out.kind[i] = OperandKind.Seg;
      out.reg[i] = sreg;
      return sreg < 6 && !(sreg === SegmentNumber.CS && i === 0);
    }
    case Src.C:
      out.kind[i] = OperandKind.Cr;
      out.reg[i] = reg;
      return reg === 0 || reg === 2 || reg === 3 || reg === 4 || reg === 8;
    case Src.D:
      out.kind[i] = OperandKind.Dr;
      out.reg[i] = reg;
      return reg < 8;
    case Src.X:
      out.kind[i] = OperandKind.Mem;
      out.reg[i] = out.base = 6;
      out.seg = out.segOverride < 0 ? SegmentNumber.DS : out.segOverride;
      return true;
    case Src.Y:
      out.kind[i] = OperandKind.Mem;
      out.reg[i] = 7;
      if (out.base < 0) {
        // ES cannot be overridden (SDM vol. 2, INS, STOS, SCAS).
        out.base = 7;
        out.seg = SegmentNumber.ES;
      }
      return true;
    case Src.Xlat:
    case Src.MaskMov:
      out.kind[i] = OperandKind.Mem;
      out.reg[i] = out.base = operandSources[at] === Src.Xlat ? 3 : 7;
      return true;
    case Src.Ptr:
      out.kind[i] = OperandKind.Far;
      out.immLo = out.opSize === 2 ? u16(bytes) : i32(bytes);
      out.immHi = 0;
      out.imm2 = u16(bytes);
      return true;
    default: {
      // Src.Moffs
      out.kind[i] = OperandKind.Moffs;
      out.moffsLo = out.addrSize === 2 ? u16(bytes) : i32(bytes);
      out.moffsHi = out.addrSize === 8 ? i32(bytes) : 0;
      return true;
    }
  }
}

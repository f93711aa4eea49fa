/** The decoded instruction. */
import { OPERANDS, rows } from './lookup.ts';
import type { OpcodeRow } from './opcodes.ts';

/** Kinds of {@link Insn.kind}. */
export const OperandKind = {
  None: 0,
  Gpr: 1,
  /** AH CH DH BH; `reg` 0–3. */
  GprHigh: 2,
  /** The ModRM operand, or a string operand: then `reg` is 6 (rSI, `seg`), 7 (rDI, ES) or 3 (xlat). */
  Mem: 3,
  Imm: 4,
  Rel: 5,
  /** ptr16:16/32: `immLo` the offset, `imm2` the selector. */
  Far: 6,
  Seg: 7,
  Cr: 8,
  Dr: 9,
  Xmm: 10,
  Mmx: 11,
  St: 12,
  Ymm: 13,
  Moffs: 14,
} as const;

/** Segment register numbers. */
export const SegmentNumber = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 } as const;

/** {@link Insn.base} of RIP-relative operands. */
export const BASE_RIP = 16;

/** What {@link decode} answers. */
export const DecodeStatus = {
  Ok: 0,
  /** #UD; `length` is what was looked at. */
  Invalid: 1,
  /** The bytes end before the instruction does. */
  Truncated: 2,
  /** More than 15 bytes: #GP(0) (SDM vol. 2, §2.3.11). */
  TooLong: 3,
} as const;
export type DecodeStatus = (typeof DecodeStatus)[keyof typeof DecodeStatus];

/** One decoded instruction. Reused: {@link decode} overwrites every field except, unless it answers Ok, those after `mode`. */
export class Insn {
  row: OpcodeRow = rows[0] as OpcodeRow;
  /** Bytes, 1–15. */
  length = 0;
  mode: 16 | 32 | 64 = 64;
  /** Effective operand size in bytes, after 66, REX.W and the 64-bit defaults. Byte forms have it too: look at `size`. */
  opSize: 2 | 4 | 8 = 4;
  addrSize: 2 | 4 | 8 = 8;
  operandCount = 0;
  /** {@link OperandKind} per operand. */
  readonly kind: Uint8Array = new Uint8Array(OPERANDS);
  readonly reg: Uint8Array = new Uint8Array(OPERANDS);
  /** Bytes of each operand; 0 where the size is the instruction's own business (lea, fxsave, …). */
  readonly size: Uint8Array = new Uint8Array(OPERANDS);

  /** Segment of the memory operand (or the rSI string operand, or moffs): prefix or default. */
  seg = 3;
  /** The segment prefix that has effect, or -1; ES, CS, SS, DS prefixes have none in 64-bit mode. */
  segOverride = -1;
  /** -1 none, 0–15, 16 RIP (of the next instruction). */
  base = -1;
  /** -1 none, 0–15; an XMM/YMM number in the gathers. */
  index = -1;
  scale: 0 | 1 | 2 | 3 = 0;
  /** Sign-extended displacement. */
  disp = 0;

  /** The immediate, sign- or zero-extended as the row says, to 64 bits, in two i32 halves. */
  immLo = 0;
  immHi = 0;
  /** The second immediate: ENTER's level, a far pointer's selector. */
  imm2 = 0;
  /** Absolute address of a moffs operand, zero-extended; halves as i32. */
  moffsLo = 0;
  moffsHi = 0;
  /** Branch displacement, sign-extended. */
  rel = 0;

  lock = false;
  /** The last of the F2/F3 prefixes, also where it is part of the opcode or means nothing. */
  rep: 0 | 0xf2 | 0xf3 = 0;
  /** The REX byte, 0 without; of VEX instructions what REX would be. */
  rex = 0;
  /** 66 was present (VEX: pp = 1). */
  prefix66 = false;
  /** 0 one byte, 1 0F, 2 0F38, 3 0F3A. */
  map = 0;
  op = 0;
  /** -1 when there is none. */
  modrm = -1;
  vex = false;
  vexL = 0;
  vexW = 0;
  vvvv = 0;
}

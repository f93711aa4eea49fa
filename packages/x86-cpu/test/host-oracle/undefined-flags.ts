/** Flags and results that the manuals leave undefined: processors differ in them, so nothing is compared there. */
import { type Insn, OperandKind } from '../../src/decode/instruction.ts';
import type { OracleCase } from './case.ts';
import { STATUS_FLAGS } from './case.ts';

const Flag = { CF: 1, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, OF: 0x800 } as const;
type Rule = (insn: Insn, one: OracleCase) => number;

const fixed =
  (mask: number): Rule =>
  () =>
    mask;

/** The count operand of a shift or rotate after masking (SDM vol. 2B, SAL/SAR/SHL/SHR: 5 bits, 6 with 64-bit operands). */
export function shiftCount(insn: Insn, one: OracleCase): number {
  const n = insn.operandCount - 1;
  const raw = insn.kind[n] === OperandKind.Imm ? insn.immLo : Number(one.gpr[1] & 0xffn);
  return raw & (insn.size[0] === 8 ? 63 : 31);
}

/** SDM vol. 2B, SAL/SAR/SHL/SHR: AF is undefined; OF unless the count is 1; CF of SHL and SHR from the operand's width on. */
const shift: Rule = (insn, one) => {
  const count = shiftCount(insn, one);
  if (count === 0) return 0;
  const carry = insn.row.sem !== 'sar' && count >= 8 * insn.size[0] ? Flag.CF : 0;
  return Flag.AF | carry | (count === 1 ? 0 : Flag.OF);
};

/** SDM vol. 2B, RCL/RCR/ROL/ROR: OF is defined for counts of 1 only. */
const rotate: Rule = (insn, one) => (shiftCount(insn, one) > 1 ? Flag.OF : 0);

/** SDM vol. 2B, SHLD, SHRD: as the shifts; everything when the count exceeds the operand's width. */
const doubleShift: Rule = (insn, one) => {
  const count = shiftCount(insn, one);
  if (count === 0) return 0;
  if (count > 8 * insn.size[0]) return STATUS_FLAGS;
  return Flag.AF | (count === 1 ? 0 : Flag.OF);
};

/** SDM vol. 2A, AND; vol. 2B, OR, TEST; vol. 2D, XOR: AF. */
const logic = fixed(Flag.AF);
/** SDM vol. 2A, IMUL; vol. 2B, MUL: SF, ZF, AF, PF. */
const multiply = fixed(Flag.SF | Flag.ZF | Flag.AF | Flag.PF);
/** SDM vol. 2A, DIV, IDIV: all six. */
const divide = fixed(STATUS_FLAGS);
/** SDM vol. 2A, BT, BTC, BTR, BTS: OF, SF, AF, PF; ZF is unaffected. */
const bitTest = fixed(Flag.OF | Flag.SF | Flag.AF | Flag.PF);
/** SDM vol. 2A, BSF, BSR: all but ZF. */
const bitScan = fixed(STATUS_FLAGS & ~Flag.ZF);
/** SDM vol. 2A, LZCNT; vol. 2D, TZCNT: OF, SF, PF, AF. */
const countZeros = fixed(Flag.OF | Flag.SF | Flag.PF | Flag.AF);
/** SDM vol. 2A, ANDN, BLSI, BLSMSK, BLSR, BZHI: AF, PF. */
const bits = fixed(Flag.AF | Flag.PF);
/** SDM vol. 2A, AAA, AAS: OF, SF, ZF, PF. */
const asciiAdjust = fixed(Flag.OF | Flag.SF | Flag.ZF | Flag.PF);
/** SDM vol. 2A, AAD, AAM: OF, AF, CF. */
const asciiAdjustMultiply = fixed(Flag.OF | Flag.AF | Flag.CF);
/** SDM vol. 2A, DAA, DAS: OF. */
const decimalAdjust = fixed(Flag.OF);

const RULES: Readonly<Record<string, Rule>> = {
  and: logic,
  or: logic,
  xor: logic,
  test: logic,
  shl: shift,
  shr: shift,
  sar: shift,
  rol: rotate,
  ror: rotate,
  rcl: rotate,
  rcr: rotate,
  shld: doubleShift,
  shrd: doubleShift,
  mul: multiply,
  imul1: multiply,
  imul2: multiply,
  imul3: multiply,
  div: divide,
  idiv: divide,
  bt: bitTest,
  bts: bitTest,
  btr: bitTest,
  btc: bitTest,
  bsf: bitScan,
  bsr: bitScan,
  tzcnt: countZeros,
  lzcnt: countZeros,
  andn: bits,
  blsi: bits,
  blsr: bits,
  blsmsk: bits,
  bzhi: bits,
  /** SDM vol. 2A, BEXTR: AF, SF, PF. */
  bextr: fixed(Flag.AF | Flag.SF | Flag.PF),
  aaa: asciiAdjust,
  aas: asciiAdjust,
  aam: asciiAdjustMultiply,
  aad: asciiAdjustMultiply,
  daa: decimalAdjust,
  das: decimalAdjust,
};

/** The status flags not to compare after an instruction that did not fault. */
export function undefinedFlags(insn: Insn, one: OracleCase): number {
  return RULES[insn.row.sem]?.(insn, one) ?? 0;
}

/** The destination is undefined: SHLD, SHRD beyond the width (SDM vol. 2B); BSWAP of 16 bits (SDM vol. 2A). */
export function undefinedResult(insn: Insn, one: OracleCase): boolean {
  const { sem } = insn.row;
  if (sem === 'shld' || sem === 'shrd') return shiftCount(insn, one) > 8 * insn.size[0];
  return sem === 'bswap' && insn.size[0] === 2;
}

/**
 * Registers to compare after a fault, a bit each. POPA that runs into a page that is not there may have loaded some of its registers
 * (AMD does); RSP is as before, so that it can be restarted.
 */
export const definedAfterFault = (insn: Insn): number => (insn.row.sem === 'popa' ? 1 << 4 : 0xffff);

/** Likewise, PUSHA, ENTER and far CALL may have stored some of what they store below the stack before they fault. */
export const memoryDefinedAfterFault = (insn: Insn): boolean => !/^(pusha|enter|call_far|call_far_ind)$/.test(insn.row.sem);

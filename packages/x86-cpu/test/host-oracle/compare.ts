/** Compares two results of a case, and tells what differs so that it can be acted on. */
import { decode } from '../../src/decode/decoder.ts';
import { DecodeStatus, Insn } from '../../src/decode/instruction.ts';
import type { OracleCase, OracleFault, OracleResult, Patch } from './case.ts';
import { Layout, Selectors } from './case.ts';
import { definedAfterFault, memoryDefinedAfterFault, undefinedFlags, undefinedResult } from './undefined-flags.ts';

/** Status flags, DF, NT, AC, ID. RF differs by nature: the host shows what a fault would push. */
const COMPARED_FLAGS = 0x24_4cd5;
const AUXILIARY = 0x10;
const PAGE_FAULT = 14;
/** End of a Linux process's addresses. */
const PROCESS_END = 0x7fff_ffff_f000n;

const NAMES64 = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
const FLAG_NAMES: readonly (readonly [bit: number, name: string])[] = [
  [1, 'CF'],
  [4, 'PF'],
  [0x10, 'AF'],
  [0x40, 'ZF'],
  [0x80, 'SF'],
  [0x400, 'DF'],
  [0x800, 'OF'],
  [0x4000, 'NT'],
  [0x4_0000, 'AC'],
  [0x20_0000, 'ID'],
];

/** Bytes of the FXSAVE image to compare: not the last instruction's address and opcode, and nothing reserved. */
export type FpComparer = (one: OracleCase, expected: Uint8Array, got: Uint8Array) => string | undefined;

const insn = new Insn();

const hex = (value: bigint | number): string => value.toString(16);
const flagNames = (flags: number): string => FLAG_NAMES.flatMap(([bit, name]) => (flags & bit ? [name] : [])).join(' ') || '-';
const faultText = (fault: OracleFault | undefined): string =>
  fault
    ? `#${fault.vector} error ${hex(fault.error)}${fault.vector === PAGE_FAULT ? ` at ${hex(fault.cr2)}` : ''}`
    : 'no exception';

function sameFault(a: OracleFault | undefined, b: OracleFault | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.vector !== b.vector) return false;
  if (a.vector !== PAGE_FAULT) return a.error === b.error;
  // Linux reports what is not the process's as present, whatever is there.
  const ignored = a.cr2 < PROCESS_END ? 0 : 1;
  return a.cr2 === b.cr2 && (a.error | ignored) === (b.error | ignored);
}

/**
 * Two reasons to fault, of which the manuals do not say which comes first, and no register has changed in either case: a near CALL to where
 * it may not go that cannot push either; a misaligned vector beyond its segment; several words of which some lack a page and others room in
 * the segment; a far transfer with more than one thing wrong.
 */
function bothFault(one: OracleCase, expected: OracleFault | undefined, got: OracleFault): boolean {
  if (!expected || !SEGMENT_FAULTS.has(expected.vector) || !SEGMENT_FAULTS.has(got.vector)) return false;
  if (decode(one.bytes, 0, one.bytes.length, one.mode, insn) !== DecodeStatus.Ok) return false;
  const { flow, sem } = insn.row;
  const differ = expected.vector !== got.vector;
  if (flow === 'far' || flow === 'iret') return differ || (got.vector === PAGE_FAULT && expected.cr2 !== got.cr2);
  return (
    differ &&
    (insn.size.includes(16) ||
      insn.size.includes(32) ||
      /^(call|call_ind|enter|bound|l[defgs]s|fnstenv|fldenv|fnsave|frstor)$/.test(sem))
  );
}
/** CMPS may read its operands in either order (SDM vol. 2A has none, and processors differ), so either fault is right where both would. */
function eitherOperand(one: OracleCase, expected: OracleFault | undefined, got: OracleFault | undefined): boolean {
  if (!expected || !got || !SEGMENT_FAULTS.has(expected.vector) || !SEGMENT_FAULTS.has(got.vector)) return false;
  return decode(one.bytes, 0, one.bytes.length, one.mode, insn) === DecodeStatus.Ok && insn.row.sem === 'cmps';
}
/** A far CALL into 64-bit code pushes by its rules on AMD's processors, by the caller's on Intel's; seldom, by chance. */
const entersLongMode = (one: OracleCase, got: OracleResult): boolean =>
  one.mode !== 64 &&
  got.selectors?.[1] === Selectors.code64 &&
  decode(one.bytes, 0, one.bytes.length, one.mode, insn) === DecodeStatus.Ok &&
  insn.row.sem.startsWith('call_far');

/** #NP, #SS, #GP, #PF, #AC. */
const SEGMENT_FAULTS = new Set([11, 12, 13, 14, 17]);

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

function sameChanges(a: readonly Patch[], b: readonly Patch[]): boolean {
  return a.length === b.length && a.every((p, i) => p.offset === b[i].offset && sameBytes(p.bytes, b[i].bytes));
}

const changesText = (changes: readonly Patch[]): string =>
  changes.length === 0
    ? 'nothing written'
    : changes
        .slice(0, 8)
        .map((p) => `${hex(Layout.data + p.offset)}: ${Buffer.from(p.bytes).toString('hex')}`)
        .join(', ') + (changes.length > 8 ? ` and ${changes.length - 8} more` : '');

/**
 * What differs between the expected result and the one got, a line each; undefined when nothing does. `fp` compares FXSAVE images and is
 * called when both results have one.
 */
export function differences(
  one: OracleCase,
  expected: OracleResult,
  got: OracleResult,
  fp: FpComparer = compareFp,
): string[] | undefined {
  if (got.failure !== undefined) return [got.failure];
  let out: string[] | undefined;
  const say = (text: string): void => {
    out ??= [];
    out.push(text);
  };
  if (got.fault && bothFault(one, expected.fault, got.fault)) return undefined;
  if (entersLongMode(one, got)) return undefined;
  const complete = !one.sequence && decode(one.bytes, 0, one.bytes.length, one.mode, insn) === DecodeStatus.Ok;
  const ran = complete && expected.fault === undefined;
  const anyResult = ran && undefinedResult(insn, one);
  if (!sameFault(expected.fault, got.fault) && !eitherOperand(one, expected.fault, got.fault))
    say(`expected ${faultText(expected.fault)}, got ${faultText(got.fault)}`);
  if (expected.rip !== got.rip) say(`rip: expected ${hex(expected.rip)}, got ${hex(got.rip)}`);
  if (!anyResult) {
    const registers = one.mode === 64 ? 16 : 8;
    // Upper halves are undefined outside 64-bit mode (SDM vol. 1 §3.4.1.1): also after a jump out of it.
    const wide = one.mode === 64 && (expected.selectors?.[1] ?? Selectors.code64) === Selectors.code64;
    const defined = complete && expected.fault ? definedAfterFault(insn) : 0xffff;
    for (let i = 0; i < registers; i++) {
      if (!(defined & (1 << i))) continue;
      const a = expected.gpr[i];
      const b = got.gpr[i];
      if (a !== b && (wide || BigInt.asUintN(32, a ^ b) !== 0n)) say(`${NAMES64[i]}: expected ${hex(a)}, got ${hex(b)}`);
    }
    const memory = !complete || expected.fault === undefined || memoryDefinedAfterFault(insn);
    if (memory && !sameChanges(expected.changes, got.changes))
      say(`expected ${changesText(expected.changes)}; got ${changesText(got.changes)}`);
  }
  const masked = COMPARED_FLAGS & ~(ran ? undefinedFlags(insn, one) : one.sequence ? AUXILIARY : 0);
  const flags = (expected.rflags ^ got.rflags) & masked;
  if (flags !== 0) {
    say(`flags ${flagNames(flags)}: expected ${flagNames(expected.rflags & masked)}, got ${flagNames(got.rflags & masked)}`);
  }
  if (expected.selectors && got.selectors) {
    // Linux may switch tasks in between, and gives null selectors back without their RPL.
    const [a, b] = [expected.selectors, got.selectors].map((list) => list.map((s) => hex(s < 4 ? 0 : s)).join(' '));
    if (a !== b) say(`es cs ss ds fs gs: expected ${a}, got ${b}`);
  }
  if (expected.fp && got.fp) {
    const text = fp(one, expected.fp.image, got.fp.image);
    if (text !== undefined) say(text);
    if (expected.fp.ymmHigh && got.fp.ymmHigh && !sameBytes(expected.fp.ymmHigh, got.fp.ymmHigh)) {
      for (let i = 0; i < 16; i++) {
        const [a, b] = [expected.fp.ymmHigh, got.fp.ymmHigh].map((y) =>
          Buffer.from(y.subarray(16 * i, 16 * i + 16)).toString('hex'),
        );
        if (a !== b) say(`ymm${i} upper half: expected ${a}, got ${b}`);
      }
    }
  }
  return out;
}

/** Control, status and tag words, MXCSR, ST0–7 and XMM0–15, byte by byte. */
export function compareFp(_one: OracleCase, expected: Uint8Array, got: Uint8Array): string | undefined {
  const lines: string[] = [];
  const field = (name: string, at: number, length: number): void => {
    const [a, b] = [expected, got].map((image) => Buffer.from(image.subarray(at, at + length)));
    if (a.compare(b) !== 0) lines.push(`${name}: expected ${a.toString('hex')}, got ${b.toString('hex')}`);
  };
  field('fcw', 0, 2);
  field('fsw', 2, 2);
  field('ftw', 4, 1);
  field('mxcsr', 24, 4);
  for (let i = 0; i < 8; i++) field(`st${i}`, 32 + 16 * i, 10);
  for (let i = 0; i < 16; i++) field(`xmm${i}`, 160 + 16 * i, 16);
  return lines.length === 0 ? undefined : lines.join('; ');
}

/** Disassembles for the report; a test gives iced-x86. */
export type Disassembler = (bytes: Uint8Array, mode: 16 | 32 | 64, rip: bigint) => string;

/** One line, or one for each instruction of a sequence. */
function disassembleAll(one: OracleCase, rip: bigint, disassemble: Disassembler | undefined): string {
  if (!disassemble) return '';
  if (!one.sequence) return disassemble(one.bytes, one.mode, rip);
  const lines: string[] = [];
  for (let at = 0; at < one.bytes.length; ) {
    const known = decode(one.bytes, at, one.bytes.length, one.mode, insn) === DecodeStatus.Ok;
    lines.push(`\n    ${hex(rip + BigInt(at))} ${disassemble(one.bytes.subarray(at), one.mode, rip + BigInt(at))}`);
    at += known ? insn.length : 1;
  }
  return `${lines.join('')}\n `;
}

/** A report to read: the instruction, the state before it, and what differs. */
export function report(one: OracleCase, lines: readonly string[], disassemble?: Disassembler): string {
  const rip = BigInt((one.segments ? 0 : Layout.code) + one.codeOffset);
  const text = disassembleAll(one, rip, disassemble);
  const complete = decode(one.bytes, 0, one.bytes.length, one.mode, insn) === DecodeStatus.Ok;
  const registers = one.mode === 64 ? 16 : 8;
  const state = Array.from({ length: registers }, (_, i) => `${NAMES64[i]}=${hex(one.gpr[i])}`).join(' ');
  const segments = one.segments ? ` segments ${JSON.stringify(one.segments)}` : '';
  const patches = one.patches.map((p) => `${hex(Layout.data + p.offset)}: ${Buffer.from(p.bytes).toString('hex')}`).join(', ');
  return [
    `${Buffer.from(one.bytes).toString('hex')} ${text} [${complete ? insn.row.sem : '?'}] ${one.mode}-bit at ${hex(rip)}`,
    `  before: ${state} flags ${flagNames(one.rflags)}${segments}${patches ? `; memory ${patches}` : ''}`,
    ...lines.map((line) => `  ${line}`),
  ].join('\n');
}

/**
 * Text of instructions for people, in Intel syntax: `add qword ptr [rdi+rcx*8+0x10], 0x5`. Operands come from the decoded instruction, so
 * this knows nothing of single instructions but the few names that depend on a size.
 */
import type { Insn } from './insn.ts';
import { BASE_RIP, OperandKind, SegmentNumber } from './insn.ts';

const GPR64 = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const GPR32 = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];
const GPR16 = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const GPR8 = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'];
const HIGH = ['ah', 'ch', 'dh', 'bh'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const POINTERS: Readonly<Record<number, string>> = {
  ...{ 1: 'byte', 2: 'word', 4: 'dword', 6: 'fword', 8: 'qword', 10: 'tbyte', 16: 'xmmword', 32: 'ymmword' },
};

/** A general register by number and bytes. */
export function registerName(reg: number, size: number): string {
  if (reg >= 8) return `r${reg}${size === 8 ? '' : size === 4 ? 'd' : size === 2 ? 'w' : 'b'}`;
  return (size === 8 ? GPR64 : size === 4 ? GPR32 : size === 2 ? GPR16 : GPR8)[reg];
}

const hex = (value: bigint): string => (value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`);

/** Names with the letter of their operand size: string instructions and those whose operands are all implicit. */
const BY_SIZE: Readonly<Record<string, readonly [word: string, double: string, quad: string]>> = {
  cbw: ['cbw', 'cwde', 'cdqe'],
  cwd: ['cwd', 'cdq', 'cqo'],
  pushf: ['pushf', 'pushfd', 'pushfq'],
  popf: ['popf', 'popfd', 'popfq'],
  pusha: ['pusha', 'pushad', ''],
  popa: ['popa', 'popad', ''],
  iret: ['iret', 'iretd', 'iretq'],
  sysret: ['sysret', 'sysret', 'sysretq'],
  sysexit: ['sysexit', 'sysexit', 'sysexitq'],
  cmpxchg8b: ['cmpxchg8b', 'cmpxchg8b', 'cmpxchg16b'],
  jcxz: ['jcxz', 'jecxz', 'jrcxz'],
};
const STRINGS = new Set(['movs', 'cmps', 'stos', 'lods', 'scas', 'ins', 'outs']);
/** MOVD with REX.W, and what has a name of its own with it. */
const WIDE: Readonly<Record<string, string>> = {
  ...{ movd: 'movq', vmovd: 'vmovq', pextrd: 'pextrq', pinsrd: 'pinsrq', vpextrd: 'vpextrq', vpinsrd: 'vpinsrq' },
  ...{ fxsave: 'fxsave64', fxrstor: 'fxrstor64', xsave: 'xsave64', xrstor: 'xrstor64', xsaveopt: 'xsaveopt64' },
  ...{ xsavec: 'xsavec64', xsaves: 'xsaves64', xrstors: 'xrstors64' },
};

const sizeIndex = (size: number): number => (size === 2 ? 0 : size === 4 ? 1 : 2);

/** The mnemonic as assemblers have it, without prefixes. */
export function mnemonicOf(insn: Insn): string {
  const { mnemonic, sem } = insn.row;
  if (STRINGS.has(sem)) {
    const memory = insn.kind.indexOf(OperandKind.Mem);
    return mnemonic + 'bwdq'[Math.log2(insn.size[memory])];
  }
  if (insn.row.flow === 'far') return `${mnemonic} far`;
  const sized = BY_SIZE[mnemonic];
  if (sized !== undefined) return sized[sizeIndex(mnemonic === 'jcxz' ? insn.addrSize : insn.opSize)];
  return (insn.mode === 64 && (insn.rex & 8) !== 0 && WIDE[mnemonic]) || mnemonic;
}

function prefixes(insn: Insn): string {
  if (insn.lock) return 'lock ';
  if (insn.row.rep === 'no' || insn.rep === 0) return '';
  if (insn.rep === 0xf2) return 'repne ';
  return insn.row.rep === 'repcc' ? 'repe ' : 'rep ';
}

/** The memory operand between its brackets, with its segment where that is not the one the registers imply. */
function memoryText(insn: Insn, n: number, rip: bigint): string {
  // Of the two operands of a string instruction, rDI's is in ES and has nothing to say.
  const target = insn.reg[n] === 7 && insn.row.rep !== 'no';
  const base = target ? 7 : insn.base;
  const index = target ? -1 : insn.index;
  const usual = base === 4 || base === 5 ? SegmentNumber.SS : SegmentNumber.DS;
  const segment = target || insn.seg === usual ? '' : `${SEGMENTS[insn.seg]}:`;
  const mask = (1n << BigInt(8 * insn.addrSize)) - 1n;
  if (base === BASE_RIP) return `${segment}[${hex((rip + BigInt(insn.length + insn.disp)) & mask)}]`;
  const terms: string[] = [];
  if (base >= 0) terms.push(registerName(base, insn.addrSize));
  if (index >= 0) terms.push(indexText(insn, index));
  if (terms.length === 0) return `${segment}[${hex(BigInt(insn.disp) & mask)}]`;
  const disp = insn.disp === 0 ? '' : `${insn.disp < 0 ? '-' : '+'}0x${Math.abs(insn.disp).toString(16)}`;
  return `${segment}[${terms.join('+')}${disp}]`;
}

function indexText(insn: Insn, index: number): string {
  // Gathers of 64-bit elements by 32-bit indices need half as many bytes of these.
  const half = /gatherd(?:pd|q)$/.test(insn.row.mnemonic);
  const name = insn.row.vsib ? `${insn.vexL && !half ? 'y' : 'x'}mm${index}` : registerName(index, insn.addrSize);
  return insn.scale || insn.base < 0 ? `${name}*${1 << insn.scale}` : name;
}

function immediateText(insn: Insn, n: number): string {
  if (n > 0 && insn.kind[n - 1] === OperandKind.Imm) return hex(BigInt(insn.imm2));
  const value = (BigInt(insn.immHi) << 32n) | BigInt(insn.immLo >>> 0);
  // Of the operand's size, which for a sign-extended byte is the operation's.
  const bits = 8 * Math.max(1, insn.size[n]);
  return hex(value < 0n && value >= -0x1000n ? value : BigInt.asUintN(bits, value));
}

/** Descriptor-table registers' images have no pointer of their own. */
const pointer = (insn: Insn, n: number): string => {
  const name = insn.row.operands[n] === 'Ms' ? undefined : POINTERS[insn.size[n]];
  return name === undefined ? '' : `${name} ptr `;
};

function operandText(insn: Insn, n: number, rip: bigint): string {
  const reg = insn.reg[n];
  const size = insn.size[n];
  switch (insn.kind[n]) {
    case OperandKind.Gpr:
      return registerName(reg, size);
    case OperandKind.GprHigh:
      return HIGH[reg];
    case OperandKind.Mem:
      return pointer(insn, n) + memoryText(insn, n, rip);
    case OperandKind.Imm:
      return immediateText(insn, n);
    case OperandKind.Rel:
      return hex(BigInt.asUintN(insn.mode === 64 ? 64 : 8 * insn.opSize, rip + BigInt(insn.length + insn.rel)));
    case OperandKind.Far:
      return `${hex(BigInt(insn.imm2))}:${hex(BigInt(insn.immLo >>> 0))}`;
    case OperandKind.Seg:
      return SEGMENTS[reg];
    case OperandKind.Cr:
      return `cr${reg}`;
    case OperandKind.Dr:
      return `dr${reg}`;
    case OperandKind.Xmm:
      return `xmm${reg}`;
    case OperandKind.Ymm:
      return `ymm${reg}`;
    case OperandKind.Mmx:
      return `mm${reg}`;
    case OperandKind.St:
      return insn.row.operands[n] === 'STi' ? `st(${reg})` : 'st';
    default: {
      const address = (BigInt(insn.moffsHi >>> 0) << 32n) | BigInt(insn.moffsLo >>> 0);
      return `${pointer(insn, n)}${insn.seg === SegmentNumber.DS ? '' : `${SEGMENTS[insn.seg]}:`}[${hex(address)}]`;
    }
  }
}

/** The operands, each as text. */
export function operandsOf(insn: Insn, rip: bigint): string[] {
  return Array.from({ length: insn.operandCount }, (_, n) => operandText(insn, n, rip));
}

/** An instruction that was decoded, at an address: relative targets become absolute ones. */
export function formatInstruction(insn: Insn, rip: bigint): string {
  const operands = operandsOf(insn, rip).join(', ');
  return `${prefixes(insn)}${mnemonicOf(insn)}${operands === '' ? '' : ` ${operands}`}`;
}

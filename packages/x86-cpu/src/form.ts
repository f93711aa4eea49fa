/**
 * Forms: what the engine generates code for. Two instructions have the same form when one piece of interpreter code, fed from their
 * records, serves both: same semantics, same shapes and sizes of operands, same way of addressing.
 */
import { type Insn, OperandKind } from './decode/insn.ts';

/** How a memory operand's linear address is found. */
export const AddressMode = {
  /** 64-bit: base + displacement. */
  Base: 0,
  /** (base + (index << scale) + displacement), cut to the address size; a flat segment's base may stand in the index's place. */
  Indexed: 1,
  /** An absolute 64-bit address in the immediate, plus a segment base. */
  Absolute: 2,
  /** Any segment, any address size, limits and rights checked. */
  Segmented: 3,
} as const;
export type AddressMode = (typeof AddressMode)[keyof typeof AddressMode];

/** How pushes and pops address the stack. */
export const StackMode = {
  /** RSP, no segment. */
  Long: 0,
  /** ESP, SS flat. */
  Flat32: 1,
  /** SP or ESP by SS.B, base and limit of SS. */
  Segmented: 2,
} as const;
export type StackMode = (typeof StackMode)[keyof typeof StackMode];

/** Kinds of operands as forms tell them apart; registers of one class are alike. */
export type OperandClass = 'r' | 'm' | 'i' | 'j' | 'p' | 's' | 'c' | 'd' | 'x' | 'y' | 't' | 'f';
const CLASS: Record<number, OperandClass> = {
  [OperandKind.Gpr]: 'r',
  [OperandKind.GprHigh]: 'r',
  [OperandKind.Mem]: 'm',
  [OperandKind.Moffs]: 'm',
  [OperandKind.Imm]: 'i',
  [OperandKind.Rel]: 'j',
  [OperandKind.Far]: 'p',
  [OperandKind.Seg]: 's',
  [OperandKind.Cr]: 'c',
  [OperandKind.Dr]: 'd',
  [OperandKind.Xmm]: 'x',
  [OperandKind.Ymm]: 'y',
  [OperandKind.Mmx]: 't',
  [OperandKind.St]: 'f',
};

export type Form = {
  readonly key: string;
  readonly sem: string;
  /** Condition code of jcc, setcc, cmovcc; else -1. */
  readonly cond: number;
  readonly feature: string;
  readonly classes: readonly OperandClass[];
  /** Bytes per operand; 0 where the size is the instruction's own business. */
  readonly sizes: readonly number[];
  /** Number of a segment, control or debug register operand: those are part of the form. */
  readonly special: number;
  readonly opSize: 2 | 4 | 8;
  readonly addrSize: 2 | 4 | 8;
  readonly mode: 16 | 32 | 64;
  readonly address: AddressMode;
  readonly stack: StackMode;
  readonly rep: 0 | 0xf2 | 0xf3;
  readonly lock: boolean;
  /** Control does not simply go on to the next record. */
  readonly branch: boolean;
  readonly vex: boolean;
  readonly vexL: number;
};

/** Semantics that depend on the operand size though no operand shows it. */
const OPERAND_SIZED = new Set(
  (
    'push_sreg pop_sreg enter leave bound sgdt sidt lgdt lidt lar lsl lds les lss lfs lgs sldt str smsw fxsave fxrstor xsave xsaveopt xsavec xsaves xrstor xrstors ' +
    'pcmpestri pcmpestrm vpcmpestri vpcmpestrm'
  ).split(' '),
);
const ADDRESS_SIZED = new Set(
  'movs cmps stos lods scas ins outs xlat jcxz loop loope loopne maskmovq maskmovdqu vmaskmovdqu monitor invept'.split(' '),
);
const STACK = new Set('push pop push_sreg pop_sreg pusha popa pushf popf enter leave call call_ind ret'.split(' '));
/** Whether an instruction accesses memory, its own or the stack's; one with an address that it only computes counts as well. */
export const reachesMemory = ({ classes, sem }: Pick<Form, 'classes' | 'sem'>): boolean =>
  classes.includes('m') || STACK.has(sem);

const MODE_DEPENDENT = new Set(
  (
    'fxsave fxrstor xsave xsaveopt xsavec xsaves xrstor xrstors pushf popf sgdt sidt lgdt lidt lds les lss lfs lgs mov_to_sreg mov_from_cr mov_to_cr mov_from_dr mov_to_dr ' +
    // A segment base is added to their source: outside of 64-bit mode the sum wraps at 32 bits.
    'movs cmps lods outs xlat maskmovq maskmovdqu vmaskmovdqu vzeroupper vzeroall ' +
    'vmaskmovps vmaskmovpd vpmaskmovd vpmaskmovq'
  ).split(' '),
);

/** Decides the parts of a form that depend on the execution mode, given the segment in use. */
export type AddressContext = {
  readonly address: (insn: Insn) => AddressMode;
  readonly stack: StackMode;
};

/** A number that is equal for two instructions only if their forms are equal: the translator's fast path to a handler. */
export function formNumber(insn: Insn, address: AddressMode, stack: StackMode): number {
  let special = 0;
  for (let n = 0; n < insn.operandCount; n++) {
    const kind = insn.kind[n];
    if (kind === OperandKind.Seg || kind === OperandKind.Cr || kind === OperandKind.Dr) special = insn.reg[n];
  }
  const memory = insn.modrm >= 0 && insn.modrm < 0xc0 ? 1 : 0;
  const sizes = (insn.opSize >> 2) | ((insn.addrSize >> 2) << 2);
  const rep = insn.rep === 0 ? 0 : insn.rep - 0xf1;
  let number = insn.row.id;
  number = (number << 1) | memory;
  number = (number << 4) | sizes;
  number = (number << 2) | (insn.mode >> 5);
  number = (number << 2) | address;
  number = (number << 2) | stack;
  number = (number << 2) | rep;
  number = (number << 1) | (insn.lock ? 1 : 0);
  // Rows with a special register and VEX rows are different rows, so these bits may serve both.
  return (number << 4) | (insn.vex ? insn.vexL * 2 + insn.vexW : special);
}

/** The form of a decoded instruction; `sem` where the processor model gives the encoding another meaning than the table. */
export function formOf(insn: Insn, address: AddressMode, stack: StackMode, sem: string = insn.row.sem): Form {
  const row = insn.row;
  const classes: OperandClass[] = [];
  const sizes: number[] = [];
  let special = -1;
  for (let n = 0; n < insn.operandCount; n++) {
    const kind = insn.kind[n];
    const cls = CLASS[kind];
    if (cls === undefined) throw new Error(`operand kind ${kind} of ${row.mnemonic}`);
    if (cls === 's' || cls === 'c' || cls === 'd') special = insn.reg[n];
    classes.push(cls);
    sizes.push(insn.size[n]);
  }
  const branch = row.flow !== 'next' && row.flow !== 'end';
  const string = row.rep !== 'no';
  const sized = insn.operandCount === 0 || branch || OPERAND_SIZED.has(row.sem);
  const memory = classes.includes('m') && !string;
  const opSize = sized ? insn.opSize : 4;
  const addrSize = ADDRESS_SIZED.has(row.sem) ? insn.addrSize : 8;
  const mode = branch || row.system || MODE_DEPENDENT.has(row.sem) ? insn.mode : 64;
  const form = {
    sem,
    cond: row.cond,
    feature: row.feature,
    classes,
    sizes,
    special,
    opSize,
    addrSize,
    mode,
    address: memory || ADDRESS_SIZED.has(row.sem) ? address : AddressMode.Base,
    stack: STACK.has(row.sem) ? stack : StackMode.Long,
    rep: string ? insn.rep : 0,
    lock: insn.lock,
    branch,
    vex: row.vex,
    vexL: row.vex ? insn.vexL : 0,
  } as const;
  return { ...form, key: keyOf(form) };
}

function keyOf(form: Omit<Form, 'key'>): string {
  const operands = form.classes.map((cls, n) => `${cls}${form.sizes[n]}`).join(',');
  const parts = [`${form.vex ? `v${form.vexL}.` : ''}${form.sem}${form.cond < 0 ? '' : `.${form.cond}`}`, operands];
  parts.push(`o${form.opSize}a${form.addrSize}m${form.mode}`);
  parts.push(`${form.address}${form.stack}${form.rep === 0 ? '' : form.rep.toString(16)}${form.lock ? 'L' : ''}`);
  if (form.special >= 0) parts.push(`#${form.special}`);
  return parts.join(':');
}

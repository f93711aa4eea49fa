/**
 * The opcode table: what one row says, the notation rows are written in, and the compiled form the decoder indexes.
 *
 * A row is one line of text, `OPCODE MNEMONIC OPERANDS ATTRIBUTES…`, in the manual's operand abbreviations (SDM vol. 2, appendix A.2):
 *
 *     80/0      add           Eb,Ib        lock
 *     af        imul=imul2    Gv,Ev
 *     f3.b8     popcnt        Gv,Ev        @popcnt
 *     d9/4r:0   fchs          -
 *
 * OPCODE is `[prefix.]byte[+r|+cc][/digit][m|r][:rm]`:
 * - `prefix`: `np` no 66/F2/F3, `nf` no F2/F3 (66 is the operand size), `66`, `f3`, `f2` mandatory. Without one the row takes every
 *   prefix combination that no other row of the same opcode claims.
 * - `+r` stands for eight opcodes with a register in the low three bits, `+cc` for sixteen with a condition in the low four.
 * - `/digit` is ModRM.reg, `m`/`r` require a memory (mod ≠ 3) or a register (mod = 3) ModRM, `:rm` fixes ModRM.rm.
 *
 * MNEMONIC is the manual's; `=sem` names the semantics where they differ from what the mnemonic alone says.
 *
 * ATTRIBUTES: `@feature`; `i64` invalid in 64-bit mode, `o64` valid there only; `d64` operand size defaults to 64 there, `f64` is forced
 * to 64; `lock` LOCK is allowed on the memory form; `rep`, `repcc` a string instruction; `cpl0` privileged, `iopl` checked against
 * IOPL or the I/O map, `ser` serialising, `sys` system; `modrm` a ModRM byte follows though no operand names it, `anymod` ModRM.mod is
 * ignored and rm is a register; `vsib`; `l0` `l1` `w0` `w1` required VEX bits; `alias` an undocumented second encoding;
 * `else:sem` what the bytes do on a processor without the feature (#UD where absent);
 * and one of the flow words of {@link Flow}.
 */
import type { OperandSpec } from './operand-spec.ts';
import { parseOperands } from './operand-spec.ts';

/** How control leaves an instruction; everything but `next` ends a block. `repeat` stays in place until a string instruction is done. */
export type Flow =
  | 'next'
  | 'jcc' /* direct, conditional */
  | 'jmp' /* direct */
  | 'call' /* direct */
  | 'jmpi' /* near, indirect */
  | 'calli' /* near, indirect */
  | 'ret' /* near */
  | 'far' /* far jump, call or return: loads CS */
  | 'iret'
  | 'int' /* software interrupt or a trap on a condition (into) */
  | 'ud' /* always #UD */
  | 'hlt'
  | 'trans' /* system call, virtualisation entry or exit: leaves the context */
  | 'end'; /* falls through, but the next instruction may decode or be fetched under other rules */

/** Maps, as VEX.mmmmm numbers them; the one-byte map is 0. `VEX` is added for VEX-encoded rows. */
export const OpcodeMap = { OneByte: 0, M0F: 1, M0F38: 2, M0F3A: 3, Vex: 4 } as const;

/** Prefix column of a row. The first four are also the decoder's (and VEX.pp's) numbers. */
export type PrefixSpec = 'np' | '66' | 'f3' | 'f2' | 'nf' | 'any';

/** One instruction form. Immutable. */
export interface OpcodeRow {
  /** Dense index into {@link rows}. */
  readonly id: number;
  /** The manual's mnemonic, lower case. */
  readonly mnemonic: string;
  /** Key of the semantics. */
  readonly sem: string;
  /** 0 one byte, 1 0F, 2 0F38, 3 0F3A. */
  readonly map: 0 | 1 | 2 | 3;
  readonly vex: boolean;
  /** Opcode byte within the map. */
  readonly opcode: number;
  readonly prefix: PrefixSpec;
  /** Required ModRM.reg, or -1. */
  readonly reg: number;
  readonly mod: 'any' | 'mem' | 'reg';
  /** Required ModRM.rm, or -1. */
  readonly rm: number;
  /** Condition code (low four opcode bits) of `+cc` rows, else -1. */
  readonly cond: number;
  /** The row's operands as written, e.g. `['Ev', 'Gv']`. */
  readonly operands: readonly string[];
  readonly specs: readonly OperandSpec[];
  /** The CPU feature that brings it; `base` is the 80386. */
  readonly feature: string;
  /** Semantics without the feature, '' for #UD: TZCNT is then BSF, PAUSE and the hints NOP. */
  readonly fallback: string;
  readonly flow: Flow;
  /** 'rep': F3/F2 repeat by count; 'repcc': also by ZF. */
  readonly rep: 'no' | 'rep' | 'repcc';
  readonly lock: boolean;
  readonly i64: boolean;
  readonly o64: boolean;
  readonly d64: boolean;
  readonly f64: boolean;
  readonly cpl0: boolean;
  readonly iopl: boolean;
  readonly serialising: boolean;
  readonly system: boolean;
  readonly vsib: boolean;
  /** An undocumented second encoding of another row's operation. */
  readonly alias: boolean;
  readonly modrm: boolean;
  readonly anymod: boolean;
  /** Required VEX.L / VEX.W: -1 either. */
  readonly vexL: -1 | 0 | 1;
  readonly vexW: -1 | 0 | 1;
}

/** Thrown while the table is built: a row contradicts the notation or another row. A bug in the table, never the guest's doing. */
export class OpcodeTableError extends Error {
  readonly code = 'X86_CPU_OPCODE_TABLE';
}

const FLOWS = new Set(['jcc', 'jmp', 'call', 'jmpi', 'calli', 'ret', 'far', 'iret', 'int', 'ud', 'hlt', 'trans', 'end']);
const KNOWN_ATTRIBUTES = new Set(
  'i64 o64 d64 f64 lock rep repcc cpl0 iopl ser sys modrm anymod vsib l0 l1 w0 w1 alias'.split(' '),
);
const OPCODE = /^(?:(np|nf|66|f3|f2)\.)?([0-9a-f]{2})(\+r|\+cc)?(?:\/([0-7]))?([mr])?(?::([0-7]))?$/;
const CONDITIONS = ['o', 'no', 'b', 'ae', 'z', 'nz', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];

/** Parses a block of row lines of one map. `feature` is used where a row names none; `#` starts a comment. Ids are given by the caller. */
export function parseRows(map: 0 | 1 | 2 | 3, vex: boolean, feature: string, text: string): OpcodeRow[] {
  const out: OpcodeRow[] = [];
  for (const line of text.split('\n')) {
    const trimmed = line.replace(/#.*/, '').trim();
    if (trimmed !== '') out.push(...parseRow(map, vex, feature, trimmed));
  }
  return out;
}

function parseRow(map: 0 | 1 | 2 | 3, vex: boolean, feature: string, line: string): OpcodeRow[] {
  const [where = '', name = '', operandText = '-', ...words] = line.split(/\s+/);
  const m = OPCODE.exec(where);
  if (!m || name === '') throw new OpcodeTableError(`bad opcode row: ${line}`);
  const attributes = new Set(words);
  const flow = words.find((w) => FLOWS.has(w)) ?? 'next';
  for (const w of words) {
    if (!w.startsWith('@') && !w.startsWith('else:') && !FLOWS.has(w) && !KNOWN_ATTRIBUTES.has(w))
      throw new OpcodeTableError(`unknown attribute ${w}: ${line}`);
  }
  const [mnemonic = '', sem = mnemonic] = name.split('=');
  const operands = operandText === '-' ? [] : operandText.split(',');
  const specs = parseOperands(operands, line);
  const base = parseInt(m[2] ?? '', 16);
  const count = m[3] === '+r' ? 8 : m[3] === '+cc' ? 16 : 1;
  const rows: OpcodeRow[] = [];
  for (let i = 0; i < count; i++) {
    const cc = count === 16 ? (CONDITIONS[i] ?? '') : '';
    rows.push({
      id: -1,
      mnemonic: mnemonic.replace('cc', cc === '' ? 'cc' : cc),
      sem,
      map,
      vex,
      opcode: base + i,
      prefix: (m[1] ?? (vex ? 'np' : 'any')) as PrefixSpec,
      reg: m[4] === undefined ? -1 : Number(m[4]),
      mod: m[5] === 'm' ? 'mem' : m[5] === 'r' ? 'reg' : 'any',
      rm: m[6] === undefined ? -1 : Number(m[6]),
      cond: count === 16 ? i : -1,
      operands,
      specs,
      feature: words.find((w) => w.startsWith('@'))?.slice(1) ?? feature,
      fallback: words.find((w) => w.startsWith('else:'))?.slice(5) ?? (sem === 'nop' ? 'nop' : ''),
      flow: flow as Flow,
      rep: attributes.has('rep') ? 'rep' : attributes.has('repcc') ? 'repcc' : 'no',
      lock: attributes.has('lock'),
      i64: attributes.has('i64'),
      o64: attributes.has('o64'),
      d64: attributes.has('d64'),
      f64: attributes.has('f64'),
      cpl0: attributes.has('cpl0'),
      iopl: attributes.has('iopl'),
      serialising: attributes.has('ser'),
      system: attributes.has('sys') || attributes.has('cpl0'),
      vsib: attributes.has('vsib'),
      alias: attributes.has('alias'),
      modrm: attributes.has('modrm') || m[4] !== undefined || m[5] !== undefined || specs.some((s) => s.modrm),
      anymod: attributes.has('anymod'),
      vexL: attributes.has('l0') ? 0 : attributes.has('l1') ? 1 : -1,
      vexW: attributes.has('w0') ? 0 : attributes.has('w1') ? 1 : -1,
    });
  }
  return rows;
}

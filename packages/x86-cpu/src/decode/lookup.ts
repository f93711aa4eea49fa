/**
 * All rows with their ids, and the index the decoder looks opcodes up in.
 *
 * Two indexes (64-bit mode, other modes), each `[map + 4·vex][opcode] → entry`. An entry is 0 (invalid), a row id + 1, or a negated
 * description of a sub-table indexed by prefix variant and/or ModRM.
 */
import { map0fRows } from './map-0f.ts';
import { map0fSimdRows } from './map-0f-simd.ts';
import { map0f3aRows } from './map-0f3a.ts';
import { map0f38Rows } from './map-0f38.ts';
import { oneByteRows, xchg90Row } from './map-1byte.ts';
import type { OpcodeRow, PrefixSpec } from './opcodes.ts';
import { OpcodeTableError } from './opcodes.ts';
import { vexRows } from './vex.ts';
import { x87Rows } from './x87.ts';

/** Every row of the table; `rows[i].id === i`. */
export const rows: readonly OpcodeRow[] = Object.freeze(
  [
    ...oneByteRows(),
    ...map0fRows(),
    ...x87Rows(),
    ...map0fSimdRows(),
    ...map0f38Rows(),
    ...map0f3aRows(),
    ...vexRows(),
    ...xchg90Row(),
  ].map((row, id) => Object.freeze({ ...row, id })),
);

/** The row of `xchg r8, rAX` at 90 with REX.B. */
export const XCHG_90: OpcodeRow = rows[rows.length - 1] as OpcodeRow;

/** Variants of a sub-table: 0–3 the mandatory prefix (none, 66, F3, F2); VEX adds W·4 and L·8. */
export const VEX_W_VARIANT = 4;
export const VEX_L_VARIANT = 8;
/** ModRM columns of a sub-table: 0–7 memory by reg; 8 + (modrm & 63) register by reg and rm. */
export const MODRM_COLUMNS = 72;

/** One mode's index. */
export interface OpcodeIndex {
  /** `[map * 256 + opcode]`, map 0–7. */
  readonly entries: Int32Array;
  readonly sub: Int16Array;
}

const VARIANTS: Readonly<Record<PrefixSpec, readonly number[]>> = {
  np: [0],
  '66': [1],
  f3: [2],
  f2: [3],
  nf: [0, 1],
  any: [0, 1, 2, 3],
};

function specificity(row: OpcodeRow): number {
  return (row.prefix === 'any' ? 0 : 8) + (row.rm >= 0 ? 4 : 0) + (row.reg >= 0 ? 2 : 0) + (row.mod === 'any' ? 0 : 1);
}

function variantsOf(row: OpcodeRow): number[] {
  const prefixes = VARIANTS[row.prefix];
  if (!row.vex) return [...prefixes];
  const out: number[] = [];
  for (let i = 0; i < 16; i++) {
    const w = (i >> 2) & 1;
    const l = i >> 3;
    if (prefixes.includes(i & 3) && (row.vexW < 0 || row.vexW === w) && (row.vexL < 0 || row.vexL === l)) out.push(i);
  }
  return out;
}

const ALL_COLUMNS: readonly number[] = Array.from({ length: MODRM_COLUMNS }, (_, i) => i);

/** The ModRM columns a row claims. */
function columnsOf(row: OpcodeRow): readonly number[] {
  const wantsMemory = row.mod === 'mem' || row.specs.some((s) => s.needs === 'mem');
  const wantsRegister = row.mod === 'reg' || (!row.anymod && row.specs.some((s) => s.needs === 'reg'));
  if (!row.modrm || (!wantsMemory && !wantsRegister && row.reg < 0 && row.rm < 0)) return ALL_COLUMNS;
  const out: number[] = [];
  for (let reg = Math.max(row.reg, 0); reg <= (row.reg < 0 ? 7 : row.reg); reg++) {
    if (!wantsRegister && row.rm < 0) out.push(reg);
    if (wantsMemory) continue;
    for (let rm = Math.max(row.rm, 0); rm <= (row.rm < 0 ? 7 : row.rm); rm++) out.push(8 + reg * 8 + rm);
  }
  return out;
}

function buildIndex(mode64: boolean): OpcodeIndex {
  const groups = new Map<number, OpcodeRow[]>();
  for (const row of rows) {
    if (row === XCHG_90 || (mode64 ? row.i64 : row.o64)) continue;
    const key = (row.map + (row.vex ? 4 : 0)) * 256 + row.opcode;
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  const entries = new Int32Array(8 * 256);
  const sub: number[] = [];
  for (const [key, group] of groups) entries[key] = addGroup(group, sub);
  return { entries, sub: Int16Array.from(sub) };
}

function addGroup(group: OpcodeRow[], sub: number[]): number {
  const first = group[0] as OpcodeRow;
  const byVariant = group.some((row) => row.vex || row.prefix !== 'any');
  const columns = group.map(columnsOf);
  const byModrm = columns.some((c) => c !== ALL_COLUMNS);
  if (!byVariant && !byModrm) {
    if (group.length > 1) throw new OpcodeTableError(`two rows for one opcode: ${first.mnemonic}`);
    return first.id + 1;
  }
  const variants = byVariant ? (first.vex ? 16 : 4) : 1;
  const width = byModrm ? MODRM_COLUMNS : 1;
  const base = sub.length;
  sub.length = base + variants * width;
  sub.fill(0, base);
  const score = new Int8Array(variants * width).fill(-1);
  for (const [i, row] of group.entries()) {
    const s = specificity(row);
    for (const variant of byVariant ? variantsOf(row) : [0]) {
      for (const column of byModrm ? (columns[i] ?? []) : [0]) {
        const at = variant * width + column;
        if (score[at] === s) throw new OpcodeTableError(`${row.mnemonic} and another row both claim ${row.opcode.toString(16)}`);
        if ((score[at] as number) > s) continue;
        score[at] = s;
        sub[base + at] = row.id + 1;
      }
    }
  }
  return -((base << 2) | (byVariant ? 2 : 0) | (byModrm ? 1 : 0));
}

export const index64: OpcodeIndex = buildIndex(true);
export const index32: OpcodeIndex = buildIndex(false);

/** Per-row facts the decoder needs every time, in flat arrays by row id. */
export const RowFlag = {
  ModRm: 1,
  AnyMod: 2,
  D64: 4,
  F64: 8,
  Lock: 16,
  Vsib: 32,
  Vvvv: 64 /* VEX.vvvv names an operand */,
  Prefix66: 128 /* 66 is part of the opcode, not an operand size */,
  Is4: 256,
} as const;

/** Operands per row in the flat arrays. */
export const OPERANDS = 4;
export const rowFlags = new Uint16Array(rows.length);
export const operandCounts = new Uint8Array(rows.length);
export const operandSources = new Uint8Array(rows.length * OPERANDS);
export const operandSizes = new Uint8Array(rows.length * OPERANDS);
export const operandFixed = new Uint8Array(rows.length * OPERANDS);
for (const row of rows) {
  rowFlags[row.id] =
    (row.modrm ? RowFlag.ModRm : 0) |
    (row.anymod ? RowFlag.AnyMod : 0) |
    (row.d64 ? RowFlag.D64 : 0) |
    (row.f64 ? RowFlag.F64 : 0) |
    (row.lock ? RowFlag.Lock : 0) |
    (row.vsib ? RowFlag.Vsib : 0) |
    (row.operands.some((o) => o.startsWith('H') || (o.startsWith('B') && !o.startsWith('BB') && !o.startsWith('BD')))
      ? RowFlag.Vvvv
      : 0) |
    (row.prefix === '66' ? RowFlag.Prefix66 : 0);
  operandCounts[row.id] = row.specs.length;
  row.specs.forEach((spec, i) => {
    operandSources[row.id * OPERANDS + i] = spec.src;
    operandSizes[row.id * OPERANDS + i] = spec.size;
    operandFixed[row.id * OPERANDS + i] = spec.fixed;
  });
}

/** What the translator has to know of an opcode row beside its operands, worked out once per row and processor model. */
import { Vector } from '../core/memory.ts';
import type { OpcodeRow } from '../decode/opcodes.ts';
import { ModeKey } from './mode-key.ts';

/** Conditions under which an encoding raises instead of running. */
const Need = {
  EXISTENCE: 1 << 0,
  /** x87 and MMX: #NM with CR0.EM or CR0.TS. */
  FPU: 1 << 1,
  /** SSE: #UD with CR0.EM or without CR4.OSFXSR, #NM with CR0.TS. */
  VECTOR: 1 << 2,
  /** FXSAVE, XSAVE and their kin: #NM with CR0.TS. */
  STATE: 1 << 3,
  CPL0: 1 << 4,
  /** #UD above CPL 0 (SDM vol. 2A, CLAC, STAC): privilege is a question of existence here. */
  CPL0_EXISTENCE: 1 << 5,
  /** #GP above CPL 0 with CR4.UMIP. */
  UMIP: 1 << 6,
  /** Not recognised in real-address and virtual-8086 mode; VEX prefixes are among that (SDM vol. 2A §2.3.1). */
  PROTECTED: 1 << 7,
  SEMANTICS: 1 << 8,
  /** VEX on vectors: #UD unless the system enabled AVX state, #NM with CR0.TS (SDM vol. 2A §2.4, table 2-21). */
  AVX: 1 << 9,
  /** XSAVE and its kin: #UD without CR4.OSXSAVE. */
  XSAVE: 1 << 10,
} as const;

export type RowFacts = {
  /** What the encoding means here: without TZCNT's feature bit it is BSF, and the like. */
  readonly sem: string;
  readonly needs: number;
  readonly string: boolean;
  readonly moffs: boolean;
  /** A memory operand although ModRM names registers only: MASKMOVQ, MASKMOVDQU at rDI. */
  readonly masked: boolean;
};

/** An exception that translation already knows of. */
export type KnownException = { readonly vector: number; readonly error: number };

const NO_ERROR_CODE = -1;
export const UNDEFINED_OPCODE: KnownException = { vector: Vector.UD, error: NO_ERROR_CODE };
export const PROTECTION: KnownException = { vector: Vector.GP, error: 0 };
const NOT_AVAILABLE: KnownException = { vector: Vector.NM, error: NO_ERROR_CODE };

const words = (text: string): ReadonlySet<string> => new Set(text.split(' '));
/** Came with SSE or SSE2 but use no vector state, so CR0.EM, CR0.TS and CR4.OSFXSR do not concern them (SDM vol. 3 table 14-1). */
const NOT_VECTOR = words('nop pause movnti lfence mfence sfence clflush crc32 popcnt');
const VECTOR_FEATURES = words('sse sse2 sse3 ssse3 sse4_1 sse4_2 aes pclmulqdq sha');
/** VEX instructions on general registers. */
const GENERAL_VEX = words('bmi1 bmi2');
const FPU_FEATURES = words('x87 mmx');
const STATE = words('fxsave fxrstor xsave xsaveopt xsavec xsaves xrstor xrstors');
const XSAVE_FEATURES = words('xsave xsaveopt xsavec xsaves');
const UMIP = words('sgdt sidt sldt str smsw');
const PROTECTED = words('sldt str lldt ltr verr verw lar lsl arpl');
const CPL0_EXISTENCE = words('clac stac');

/** Whether a model has an encoding: VEX forms of AES or PCLMULQDQ need AVX beside the feature they are listed under. */
export function rowExists(row: OpcodeRow, hasFeature: (feature: string) => boolean): boolean {
  const vector = row.vex && row.operands.some((operand) => /^[VHWUL]/.test(operand));
  return hasFeature(row.feature) && (!vector || hasFeature('avx'));
}

/** @param hasFeature whether the processor model has a feature; @param hasSemantics whether the engine can run a `sem` */
export function rowFacts(
  row: OpcodeRow,
  hasFeature: (feature: string) => boolean,
  hasSemantics: (sem: string) => boolean,
): RowFacts {
  const sem = rowExists(row, hasFeature) ? row.sem : row.fallback;
  const when = (condition: boolean, need: number): number => (condition ? need : 0);
  const needs =
    when(sem === '' || row.flow === 'ud', Need.EXISTENCE) |
    when(FPU_FEATURES.has(row.feature) && sem !== 'fwait', Need.FPU) |
    when(VECTOR_FEATURES.has(row.feature) && !row.vex && !NOT_VECTOR.has(sem), Need.VECTOR) |
    when(row.vex && !GENERAL_VEX.has(row.feature), Need.AVX) |
    when(STATE.has(sem), Need.STATE) |
    when(XSAVE_FEATURES.has(row.feature), Need.XSAVE) |
    when(row.cpl0, Need.CPL0) |
    when(CPL0_EXISTENCE.has(sem), Need.CPL0_EXISTENCE) |
    when(UMIP.has(sem), Need.UMIP) |
    when(PROTECTED.has(sem) || row.vex, Need.PROTECTED) |
    when(!hasSemantics(sem), Need.SEMANTICS);
  const has = (prefix: string): boolean => row.operands.some((operand) => operand.startsWith(prefix));
  return { sem, needs, string: row.rep !== 'no', moffs: has('O'), masked: has('BD') };
}

/** The order is that of SDM vol. 3 table 6-2: #UD before #NM, before #GP of privilege. */
export function knownException(needs: number, key: number): KnownException | undefined {
  if (needs === 0) return undefined;
  const user = !(key & ModeKey.CPL0);
  if (needs & Need.EXISTENCE) return UNDEFINED_OPCODE;
  if (needs & Need.PROTECTED && (!(key & ModeKey.PROTECTED) || key & ModeKey.VIRTUAL_8086)) return UNDEFINED_OPCODE;
  if (needs & Need.VECTOR && key & ModeKey.NO_SSE) return UNDEFINED_OPCODE;
  if (needs & Need.XSAVE && key & ModeKey.NO_XSAVE) return UNDEFINED_OPCODE;
  if (needs & Need.AVX && key & ModeKey.NO_AVX) return UNDEFINED_OPCODE;
  if (needs & Need.CPL0_EXISTENCE && user) return UNDEFINED_OPCODE;
  if (needs & Need.FPU && key & ModeKey.FPU_EMULATED) return NOT_AVAILABLE;
  if (needs & (Need.FPU | Need.VECTOR | Need.AVX | Need.STATE) && key & ModeKey.NO_FPU) return NOT_AVAILABLE;
  if (needs & Need.CPL0 && user) return PROTECTION;
  if (needs & Need.UMIP && user && key & ModeKey.UMIP) return PROTECTION;
  return undefined;
}

/** The engine refuses the instruction: it has no semantics for what the model says exists. */
export const isRefused = (needs: number): boolean => (needs & Need.SEMANTICS) !== 0;

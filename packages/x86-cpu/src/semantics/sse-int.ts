/** Packed integer arithmetic, logic, comparison and shifts of MMX, SSE and SSE2. */
import type { FunctionBuilder, I64, Local, V128, V128Ops } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import type { VectorOp } from './sse-operands.ts';
import { checkPending, enterMmx, immediateByte, isMmx, packed, readAligned, writeMmx, zeroVector } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

type BinaryName = {
  [K in keyof V128Ops]: V128Ops[K] extends (left: V128, right: V128) => V128 ? K : never;
}[keyof V128Ops];

/** Instructions that are one SIMD128 instruction. */
const DIRECT: Readonly<Record<string, BinaryName>> = {
  paddb: 'i8x16_add',
  paddw: 'i16x8_add',
  paddd: 'i32x4_add',
  paddq: 'i64x2_add',
  psubb: 'i8x16_sub',
  psubw: 'i16x8_sub',
  psubd: 'i32x4_sub',
  psubq: 'i64x2_sub',
  paddsb: 'i8x16_add_sat_s',
  paddsw: 'i16x8_add_sat_s',
  paddusb: 'i8x16_add_sat_u',
  paddusw: 'i16x8_add_sat_u',
  psubsb: 'i8x16_sub_sat_s',
  psubsw: 'i16x8_sub_sat_s',
  psubusb: 'i8x16_sub_sat_u',
  psubusw: 'i16x8_sub_sat_u',
  pmullw: 'i16x8_mul',
  pmaddwd: 'i32x4_dot_i16x8_s',
  pavgb: 'i8x16_avgr_u',
  pavgw: 'i16x8_avgr_u',
  pminub: 'i8x16_min_u',
  pmaxub: 'i8x16_max_u',
  pminsw: 'i16x8_min_s',
  pmaxsw: 'i16x8_max_s',
  pcmpeqb: 'i8x16_eq',
  pcmpeqw: 'i16x8_eq',
  pcmpeqd: 'i32x4_eq',
  pcmpgtb: 'i8x16_gt_s',
  pcmpgtw: 'i16x8_gt_s',
  pcmpgtd: 'i32x4_gt_s',
  pand: 'and',
  por: 'or',
  pxor: 'xor',
  andps: 'and',
  andpd: 'and',
  orps: 'or',
  orpd: 'or',
  xorps: 'xor',
  xorpd: 'xor',
  // SSE4.1, SSE4.2
  pminsb: 'i8x16_min_s',
  pmaxsb: 'i8x16_max_s',
  pminuw: 'i16x8_min_u',
  pmaxuw: 'i16x8_max_u',
  pminsd: 'i32x4_min_s',
  pmaxsd: 'i32x4_max_s',
  pminud: 'i32x4_min_u',
  pmaxud: 'i32x4_max_u',
  pmulld: 'i32x4_mul',
  pcmpeqq: 'i64x2_eq',
  pcmpgtq: 'i64x2_gt_s',
};

export const direct =
  (name: BinaryName): VectorOp =>
  (f, a, b) =>
    (f.v128[name] as (left: V128, right: V128) => V128)(f.get(a), f.get(b));

const andNot: VectorOp = (f, a, b) => f.v128.andnot(f.get(b), f.get(a));

/** High words of the 32-bit products of words. */
const multiplyHigh =
  (signed: boolean): VectorOp =>
  (f, a, b) => {
    const { v128 } = f;
    const low = signed ? v128.i32x4_extmul_low_i16x8_s(f.get(a), f.get(b)) : v128.i32x4_extmul_low_i16x8_u(f.get(a), f.get(b));
    const high = signed ? v128.i32x4_extmul_high_i16x8_s(f.get(a), f.get(b)) : v128.i32x4_extmul_high_i16x8_u(f.get(a), f.get(b));
    return v128.shuffle(low, high, [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31]);
  };

const EVEN_DWORDS = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11] as const;
const evenDwords = (f: FunctionBuilder, v: Local<V128>): V128 => f.v128.shuffle(f.get(v), f.get(v), EVEN_DWORDS);
const multiplyEven =
  (signed: boolean): VectorOp =>
  (f, a, b) => {
    const left = evenDwords(f, a);
    const right = evenDwords(f, b);
    return signed ? f.v128.i64x2_extmul_low_i32x4_s(left, right) : f.v128.i64x2_extmul_low_i32x4_u(left, right);
  };

/** Sums of absolute differences of eight bytes, one per half. */
const sumDifferences: VectorOp = (f, a, b) => {
  const { v128 } = f;
  const distance = v128.or(v128.i8x16_sub_sat_u(f.get(a), f.get(b)), v128.i8x16_sub_sat_u(f.get(b), f.get(a)));
  f.set(a, v128.i32x4_extadd_pairwise_i16x8_u(v128.i16x8_extadd_pairwise_i8x16_u(distance)));
  const sums = v128.i64x2_add(f.get(a), v128.i64x2_shr_u(f.get(a), f.i32.const(32)));
  return v128.and(sums, v128.const(-1, 0, -1, 0));
};

// --- shifts ------------------------------------------------------------------------------------------------------------------

type ShiftName =
  | 'i16x8_shl'
  | 'i16x8_shr_s'
  | 'i16x8_shr_u'
  | 'i32x4_shl'
  | 'i32x4_shr_s'
  | 'i32x4_shr_u'
  | 'i64x2_shl'
  | 'i64x2_shr_u';
const SHIFTS: Readonly<Record<string, readonly [ShiftName, width: number]>> = {
  psllw: ['i16x8_shl', 16],
  psraw: ['i16x8_shr_s', 16],
  psrlw: ['i16x8_shr_u', 16],
  pslld: ['i32x4_shl', 32],
  psrad: ['i32x4_shr_s', 32],
  psrld: ['i32x4_shr_u', 32],
  psllq: ['i64x2_shl', 64],
  psrlq: ['i64x2_shr_u', 64],
};

/** Shifts every element by one count: counts from the width on clear it, or fill it with the sign (SDM vol. 2B, PSLLW, PSRAW). */
function shifted(f: FunctionBuilder, [op, width]: readonly [ShiftName, number], value: () => V128, count: Local<I64>): V128 {
  const { i64, i32 } = f;
  const limit = () => i64.const(width - 1);
  const inside = () => i64.le_u(f.get(count), limit());
  if (op.endsWith('_s')) return f.v128[op](value(), i32.wrap_i64(f.select(f.get(count), limit(), inside())));
  const result = f.v128[op](value(), i32.wrap_i64(f.get(count)));
  return f.select(result, zeroVector(f), inside());
}

/** The count operand: an immediate byte, or the low 64 bits of a register or (aligned) memory. */
function shiftCount(e: Emitter): I64 {
  if (e.form.classes[1] === 'i') return e.read(1, 1);
  if (!isMmx(e) && e.isMemory(1)) return e.f.v128.extract_i64(readAligned(e, 1), 0);
  return e.read(1, 8);
}

const shift =
  (kind: readonly [ShiftName, number]): Semantics =>
  (e) => {
    const { f } = e;
    if (isMmx(e)) checkPending(e);
    const count = e.let(shiftCount(e));
    if (isMmx(e)) {
      const r = e.let(
        f.v128.extract_i64(
          shifted(f, kind, () => f.v128.splat('i64x2', e.read(0, 8)), count),
          0,
        ),
      );
      enterMmx(e);
      writeMmx(e, 0, r);
    } else {
      e.writeV(0, e.letV(shifted(f, kind, () => e.readV(0), count)));
    }
  };

/** PSLLDQ, PSRLDQ: byte shifts; an index of 16 or more picks zero, so a count of 16 or more clears. */
const byteShift =
  (left: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const { v128 } = f;
    const count = e.let32(immediateByte(e, 1));
    const capped = () => f.select(f.get(count), f.i32.const(16), f.i32.lt_u(f.get(count), f.i32.const(16)));
    const value = e.readV(0);
    const identity = v128.const(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c);
    const offset = v128.splat('i8x16', capped());
    const index = left ? v128.i8x16_sub(identity, offset) : v128.i8x16_add(identity, offset);
    e.writeV(0, e.letV(v128.i8x16_swizzle(value, index)));
  };

const table: Record<string, Semantics> = {
  pandn: packed(andNot),
  andnps: packed(andNot),
  andnpd: packed(andNot),
  pmulhw: packed(multiplyHigh(true)),
  pmulhuw: packed(multiplyHigh(false)),
  pmuludq: packed(multiplyEven(false)),
  pmuldq: packed(multiplyEven(true)),
  psadbw: packed(sumDifferences),
  pslldq: byteShift(true),
  psrldq: byteShift(false),
};
for (const [sem, name] of Object.entries(DIRECT)) table[sem] = packed(direct(name));
for (const [sem, kind] of Object.entries(SHIFTS)) table[sem] = shift(kind);

export const sseIntegerSemantics: SemanticsTable = table;

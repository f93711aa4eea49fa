/** SSE3 and SSSE3: horizontal and alternating arithmetic, byte shuffles, signs (SDM vol. 1 §12.3, §12.6). */
import type { FunctionBuilder, Local, V128, V128Ops } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { allLanes, commitFlags, DOUBLES, finiteLanes, nativeControl, plainLanes, SINGLES, vectorBinary } from './sse-float.ts';
import type { VectorOp } from './sse-operands.ts';
import { checkPending, enterMmx, immediateByte, isMmx, packed, readAligned, routine, writeMmx } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

type Vector = typeof SINGLES;

// --- floating point ----------------------------------------------------------------------------------------------------------

/** `left ± right` of each pair, natively where that is exact, else by routine; sets MXCSR's flags. */
export function addVectors(
  e: Emitter,
  v: Vector,
  op: 'add' | 'sub',
  pairs: readonly (readonly [left: Local<V128>, right: Local<V128>])[],
): Local<V128>[] {
  const { f } = e;
  const sums = pairs.map(([left, right]) => e.letV(vectorBinary(f, v, op, f.get(left), f.get(right))));
  const stands = pairs
    .map(([left, right], n) => {
      const plain = f.v128.and(plainLanes(f, v, left), plainLanes(f, v, right));
      return f.v128.and(plain, finiteLanes(f, v, sums[n]));
    })
    .reduce((all, one) => f.v128.and(all, one));
  f.if(f.i32.eqz(f.i32.and(allLanes(f, stands), nativeControl(e))), () => {
    const exact = routine<[V128, V128], V128>(e, `${v.prefix}_${op}`);
    pairs.forEach(([left, right], n) => {
      f.set(sums[n], f.call(exact, f.get(left), f.get(right)));
    });
    commitFlags(e);
  });
  return sums;
}

/** Every `width`-byte element at an even (odd) place of a 32-byte pair of vectors. */
function alternate(width: number, odd: 0 | 1): number[] {
  return Array.from({ length: 16 }, (_, byte) => 2 * width * Math.floor(byte / width) + odd * width + (byte % width));
}

/** HADDPS and its kin: neighbours are added, the first operand's in the low half. */
const horizontal =
  (v: Vector, op: 'add' | 'sub'): Semantics =>
  (e) => {
    const { f } = e;
    const b = e.letV(readAligned(e, 1));
    const a = e.letV(e.readV(0));
    const width = v.prefix === 'pd' ? 8 : 4;
    const left = e.letV(f.v128.shuffle(f.get(a), f.get(b), alternate(width, 0)));
    const right = e.letV(f.v128.shuffle(f.get(a), f.get(b), alternate(width, 1)));
    e.writeV(0, addVectors(e, v, op, [[left, right]])[0]);
  };

/** ADDSUBPS, ADDSUBPD: even lanes are subtracted, odd ones added. The routines see zeros in the lanes that are not theirs. */
const alternating =
  (v: Vector): Semantics =>
  (e) => {
    const { f } = e;
    const { v128 } = f;
    const even = () => (v.prefix === 'pd' ? v128.const(-1, -1, 0, 0) : v128.const(-1, 0, -1, 0));
    const b = e.letV(readAligned(e, 1));
    const a = e.letV(e.readV(0));
    const difference = vectorBinary(f, v, 'sub', f.get(a), f.get(b));
    const r = e.letV(v128.bitselect(difference, vectorBinary(f, v, 'add', f.get(a), f.get(b)), even()));
    const plain = v128.and(plainLanes(f, v, a), plainLanes(f, v, b));
    const stands = allLanes(f, v128.and(plain, finiteLanes(f, v, r)));
    f.if(f.i32.eqz(f.i32.and(stands, nativeControl(e))), () => {
      const exact = (op: string) => routine<[V128, V128], V128>(e, `${v.prefix}_${op}`);
      f.set(r, f.call(exact('sub'), v128.and(f.get(a), even()), v128.and(f.get(b), even())));
      const sums = f.call(exact('add'), v128.andnot(f.get(a), even()), v128.andnot(f.get(b), even()));
      f.set(r, v128.or(v128.andnot(sums, even()), v128.and(f.get(r), even())));
      commitFlags(e);
    });
    e.writeV(0, r);
  };

// --- integers ----------------------------------------------------------------------------------------------------------------

const LOW_HALVES = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23] as const;

type Combine = 'i16x8_add' | 'i16x8_sub' | 'i16x8_add_sat_s' | 'i16x8_sub_sat_s' | 'i32x4_add' | 'i32x4_sub';

/** PHADDW and its kin; in MMX both operands together are one vector. */
function horizontalIntegers(op: Combine, width: 2 | 4): Semantics {
  const combine: VectorOp = (f, a, b) => {
    const even = f.v128.shuffle(f.get(a), f.get(b), alternate(width, 0));
    return f.v128[op](even, f.v128.shuffle(f.get(a), f.get(b), alternate(width, 1)));
  };
  return packed(combine, {
    op: (f, a, b) => {
      f.set(a, f.v128.shuffle(f.get(a), f.get(b), LOW_HALVES));
      return combine(f, a, a);
    },
    half: 0,
  });
}

/** Index bytes with bit 7 set clear their byte; otherwise the low bits count, four of them, or three in MMX. */
const shuffleBytes =
  (mask: number): VectorOp =>
  (f, a, b) => {
    const value = f.get(a);
    return f.v128.i8x16_swizzle(value, f.v128.and(f.get(b), f.v128.splat('i8x16', f.i32.const(mask))));
  };

/** Unsigned bytes times signed bytes, neighbours added with saturation: each product fits 16 bits. */
const multiplyAddBytes: VectorOp = (f, a, b) => {
  const { v128, i32 } = f;
  const eight = () => i32.const(8);
  const lowA = v128.and(f.get(a), v128.splat('i16x8', i32.const(0xff)));
  const low = v128.i16x8_mul(lowA, v128.i16x8_shr_s(v128.i16x8_shl(f.get(b), eight()), eight()));
  const high = v128.i16x8_mul(v128.i16x8_shr_u(f.get(a), eight()), v128.i16x8_shr_s(f.get(b), eight()));
  return v128.i16x8_add_sat_s(low, high);
};

type Lanes = 'i8x16' | 'i16x8' | 'i32x4';
const WIDTH = { i8x16: 8, i16x8: 16, i32x4: 32 } as const;

/** Negated where the second operand is negative, zero where it is zero. */
const sign =
  (lanes: Lanes): VectorOp =>
  (f, a, b) => {
    const { v128 } = f;
    const negative = (): V128 => v128[`${lanes}_shr_s`](f.get(b), f.i32.const(WIDTH[lanes] - 1));
    const signed = v128[`${lanes}_sub`](v128.xor(f.get(a), negative()), negative());
    return v128.and(signed, v128[`${lanes}_ne`](f.get(b), v128.const(0, 0, 0, 0)));
  };

/** The one product SIMD128 saturates and PMULHRSW does not is −1 · −1. */
const multiplyRound: VectorOp = (f, a, b) => {
  const { v128 } = f;
  const lowest = () => v128.splat('i16x8', f.i32.const(0x8000));
  const product = v128.i16x8_q15mulr_sat_s(f.get(a), f.get(b));
  return v128.xor(product, v128.and(v128.i16x8_eq(f.get(a), lowest()), v128.i16x8_eq(f.get(b), lowest())));
};

const unary =
  (name: 'i8x16_abs' | 'i16x8_abs' | 'i32x4_abs'): VectorOp =>
  (f, _a, b) =>
    (f.v128[name] as V128Ops['i8x16_abs'])(f.get(b));

const IDENTITY = [0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c] as const;

/** Bytes `count` on from each place; `from` is subtracted first. Counts beyond 32 clear all. */
function slide(f: FunctionBuilder, vector: V128, count: () => V128, from: number): V128 {
  const { v128 } = f;
  const index = v128.i8x16_add(v128.const(...IDENTITY), count());
  const placed = from === 0 ? index : v128.i8x16_sub(index, v128.splat('i8x16', f.i32.const(from)));
  return v128.i8x16_swizzle(vector, placed);
}

/** PALIGNR: the first operand above the second, shifted right by bytes. */
const align: Semantics = (e) => {
  const { f } = e;
  const mmx = isMmx(e);
  if (mmx) checkPending(e);
  const b = e.letV(mmx ? f.v128.splat('i64x2', e.read(1)) : readAligned(e, 1));
  const raw = e.let32(immediateByte(e, 2));
  const capped = f.select(f.get(raw), f.i32.const(32), f.i32.lt_u(f.get(raw), f.i32.const(32)));
  const offset = e.letV(f.v128.splat('i8x16', capped));
  const count = () => f.get(offset);
  if (mmx) {
    const pair = f.v128.replace('i64x2', f.get(b), 1, e.read(0, 8));
    const r = e.let(f.v128.extract_i64(slide(f, pair, count, 0), 0));
    enterMmx(e);
    writeMmx(e, 0, r);
    return;
  }
  const low = slide(f, f.get(b), count, 0);
  e.writeV(0, e.letV(f.v128.or(low, slide(f, e.readV(0), count, 16))));
};

export const sse3Semantics: SemanticsTable = {
  haddps: horizontal(SINGLES, 'add'),
  haddpd: horizontal(DOUBLES, 'add'),
  hsubps: horizontal(SINGLES, 'sub'),
  hsubpd: horizontal(DOUBLES, 'sub'),
  addsubps: alternating(SINGLES),
  addsubpd: alternating(DOUBLES),
  phaddw: horizontalIntegers('i16x8_add', 2),
  phaddd: horizontalIntegers('i32x4_add', 4),
  phaddsw: horizontalIntegers('i16x8_add_sat_s', 2),
  phsubw: horizontalIntegers('i16x8_sub', 2),
  phsubd: horizontalIntegers('i32x4_sub', 4),
  phsubsw: horizontalIntegers('i16x8_sub_sat_s', 2),
  pshufb: packed(shuffleBytes(0x8f), { op: shuffleBytes(0x87), half: 0 }),
  pmaddubsw: packed(multiplyAddBytes),
  psignb: packed(sign('i8x16')),
  psignw: packed(sign('i16x8')),
  psignd: packed(sign('i32x4')),
  pmulhrsw: packed(multiplyRound),
  pabsb: packed(unary('i8x16_abs')),
  pabsw: packed(unary('i16x8_abs')),
  pabsd: packed(unary('i32x4_abs')),
  palignr: align,
};

/** SSE4.1: blends, extensions, single elements, dot products, rounding (SDM vol. 1 §12.10). */
import type { FunctionBuilder, I32, I64, Local, V128, V128Ops } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { commitFlags, DOUBLES, SINGLES } from './sse-float.ts';
import { immediateByte, lowVector, readAligned, routine } from './sse-operands.ts';
import { addVectors } from './sse3.ts';
import type { Semantics, SemanticsTable } from './types.ts';

// --- blends ------------------------------------------------------------------------------------------------------------------

type SignShift = 'i8x16_shr_s' | 'i32x4_shr_s' | 'i64x2_shr_s';

/** Elements of the second operand where XMM0's sign bit is set. */
const blendBySign =
  (shift: SignShift, width: number): Semantics =>
  (e) => {
    const { f } = e;
    const b = e.letV(readAligned(e, 1));
    const mask = e.letV(f.v128[shift](e.readV(2), f.i32.const(width - 1)));
    const chosen = f.get(b);
    e.writeV(0, e.letV(f.v128.bitselect(chosen, e.readV(0), f.get(mask))));
  };

/** All ones in the lanes whose bit is set in `bits`, given each lane's bit. */
function lanesOf(
  f: FunctionBuilder,
  bits: () => I32,
  lanes: 'i16x8' | 'i32x4',
  places: readonly [number, number, number, number],
): V128 {
  const { v128 } = f;
  const own = v128.and(v128.splat(lanes, bits()), v128.const(...places));
  return lanes === 'i16x8' ? v128.i16x8_eq(own, v128.const(...places)) : v128.i32x4_eq(own, v128.const(...places));
}
const FOUR = [1, 2, 4, 8] as const;
const TWO = [1, 1, 2, 2] as const;
const EIGHT = [0x0002_0001, 0x0008_0004, 0x0020_0010, 0x0080_0040] as const;

const blend =
  (lanes: 'i16x8' | 'i32x4', places: readonly [number, number, number, number]): Semantics =>
  (e) => {
    const { f } = e;
    const b = e.letV(readAligned(e, 1));
    const mask = e.letV(lanesOf(f, () => immediateByte(e, 2), lanes, places));
    const chosen = f.get(b);
    e.writeV(0, e.letV(f.v128.bitselect(chosen, e.readV(0), f.get(mask))));
  };

// --- extensions --------------------------------------------------------------------------------------------------------------

type Extend = Extract<keyof V128Ops, `${string}_extend_low_${string}`>;

/** Reads only as much memory as there are elements to extend. */
const extend =
  (...steps: readonly Extend[]): Semantics =>
  (e) => {
    const value = lowVector(e.f, () => e.read(1));
    e.writeV(0, e.letV(steps.reduce((v, step) => e.f.v128[step](v), value)));
  };

// --- single elements ---------------------------------------------------------------------------------------------------------

/** Address of an element of register operand `n`: element `(immediate >> shift) & (16 / width − 1)`. */
function elementAddress(e: Emitter, n: number, width: number, shift = 0): I32 {
  const { f } = e;
  const { i32 } = f;
  const register = e.registerAddress(n);
  const field = i32.and(i32.shr_u(immediateByte(e, 2), i32.const(shift)), i32.const(16 / width - 1));
  return i32.add(register, i32.mul(field, i32.const(width)));
}

/** PEXTRB, PEXTRD, PEXTRQ, EXTRACTPS: a register gets the element zero-extended. */
const extract =
  (width?: number): Semantics =>
  (e) => {
    const bytes = width ?? e.size(0);
    const value = e.let(e.loadHost(elementAddress(e, 1, bytes), bytes));
    e.write(0, value);
  };

const insert =
  (width?: number): Semantics =>
  (e) => {
    const bytes = width ?? e.size(1);
    const value = e.let(e.truncate(e.read(1, bytes), bytes));
    e.storeHost(() => elementAddress(e, 0, bytes), bytes, value);
  };

/** INSERTPS: immediate bits 7:6 choose the source element of a register, 5:4 the place, 3:0 what is cleared afterwards. */
const insertSingle: Semantics = (e) => {
  const { f } = e;
  const value = e.let(e.isMemory(1) ? e.read(1, 4) : e.loadHost(elementAddress(e, 1, 4, 6), 4));
  e.storeHost(() => elementAddress(e, 0, 4, 4), 4, value);
  const whole = e.readV(0);
  e.writeV(
    0,
    e.letV(
      f.v128.andnot(
        whole,
        lanesOf(f, () => immediateByte(e, 2), 'i32x4', FOUR),
      ),
    ),
  );
};

// --- tests and searches ------------------------------------------------------------------------------------------------------

/** PTEST: ZF if no common bit, CF if the second operand has none beyond the first; the other flags are clear. */
const test: Semantics = (e) => {
  const { f } = e;
  const { v128, i64 } = f;
  const b = e.letV(readAligned(e, 1));
  const a = e.letV(e.readV(0));
  const result = e.let(i64.extend_i32_u(v128.any_true(v128.and(f.get(a), f.get(b)))));
  // Even parity of a zero result is inverted.
  const parity = i64.shl(i64.extend_i32_u(i64.eqz(f.get(result))), i64.const(1));
  const beyond = i64.extend_i32_u(f.i32.eqz(v128.any_true(v128.andnot(f.get(b), f.get(a)))));
  const carry = e.let(i64.or(parity, i64.mul(beyond, i64.const(3n << 62n))));
  e.setFlags({ carry: () => f.get(carry), aux: () => f.get(result), result: () => f.get(result) });
};

/** PHMINPOSUW: the least word and its place. Words with their places below them are compared as dwords. */
const leastWord: Semantics = (e) => {
  const { f } = e;
  const { v128, i32, i64 } = f;
  const value = e.letV(readAligned(e, 1));
  const keyed = (half: V128, ...places: [number, number, number, number]) =>
    v128.or(v128.i32x4_shl(half, i32.const(16)), v128.const(...places));
  const low = keyed(v128.i32x4_extend_low_i16x8_u(f.get(value)), 0, 1, 2, 3);
  const least = e.letV(v128.i32x4_min_u(low, keyed(v128.i32x4_extend_high_i16x8_u(f.get(value)), 4, 5, 6, 7)));
  for (const distance of [8, 4]) {
    const rotated = Array.from({ length: 16 }, (_, byte) => (byte + distance) & 15);
    const same = f.get(least);
    f.set(least, v128.i32x4_min_u(same, v128.shuffle(f.get(least), f.get(least), rotated)));
  }
  const key = e.let32(v128.extract_i32('i32x4', f.get(least), 0));
  const answer = () => i64.extend_i32_u(i32.rotl(f.get(key), i32.const(16)));
  e.writeV(0, e.letV(lowVector(f, answer)));
};

/** MPSADBW: eight sums of four absolute differences, between sliding bytes of the first operand and one dword of the second. */
const slidingSums: Semantics = (e) => {
  const { f } = e;
  const { v128, i32 } = f;
  const b = e.letV(readAligned(e, 1));
  const field = (shift: number, mask: number) =>
    i32.shl(i32.and(i32.shr_u(immediateByte(e, 2), i32.const(shift)), i32.const(mask)), i32.const(2));
  const identity = () => v128.const(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c);
  const first = e.readV(0);
  const a = e.letV(v128.i8x16_swizzle(first, v128.i8x16_add(identity(), v128.splat('i8x16', field(2, 1)))));
  const second = f.get(b);
  f.set(b, v128.i8x16_swizzle(second, v128.i8x16_add(identity(), v128.splat('i8x16', field(0, 3)))));
  const sum = e.letV(v128.const(0, 0, 0, 0));
  for (let byte = 0; byte < 4; byte++) {
    const sliding = Array.from({ length: 16 }, (_, n) => (n + byte) & 15);
    const total = f.get(sum);
    const bytes = v128.i16x8_extend_low_i8x16_u(v128.shuffle(f.get(a), f.get(a), sliding));
    const difference = v128.i16x8_sub(bytes, v128.splat('i16x8', v128.extract_i32('i8x16_u', f.get(b), byte)));
    f.set(sum, v128.i16x8_add(total, v128.i16x8_abs(difference)));
  }
  e.writeV(0, sum);
};

// --- floating point ----------------------------------------------------------------------------------------------------------

const roundVector =
  (prefix: 'ps' | 'pd'): Semantics =>
  (e) => {
    const { f } = e;
    const b = e.letV(readAligned(e, 1));
    const vector = f.get(b);
    const r = e.letV(f.call(routine<[V128, I64], V128>(e, `${prefix}_round`), vector, e.read(2, 1)));
    commitFlags(e);
    e.writeV(0, r);
  };

const roundScalar =
  (name: 'f32' | 'f64', size: 4 | 8): Semantics =>
  (e) => {
    const { f } = e;
    const b = e.let(e.read(1, size));
    const value = f.get(b);
    const r = e.let(f.call(routine<[I64, I64], I64>(e, `${name}_round`), value, e.read(2, 1)));
    commitFlags(e);
    e.writeLow(0, size, r);
  };

type Vector = typeof SINGLES;

/**
 * DPPS, DPPD: immediate bits 7:4 choose the products to sum, bits 3:0 where the sum goes; elsewhere is zero. `pairs` are the operands, in
 * halves; what each step raises is looked at before the next.
 */
export function dotProducts(
  e: Emitter,
  v: Vector,
  pairs: readonly (readonly [a: Local<V128>, b: Local<V128>])[],
  immediate: number,
): Local<V128>[] {
  const { f } = e;
  const { v128, i32 } = f;
  const double = v.prefix === 'pd';
  const places = double ? TWO : FOUR;
  const chosen = e.letV(lanesOf(f, () => i32.shr_u(immediateByte(e, immediate), i32.const(4)), 'i32x4', places));
  const exact = routine<[V128, V128], V128>(e, `${v.prefix}_mul`);
  const sums = pairs.map(([a, b]) => {
    const left = v128.and(f.get(a), f.get(chosen));
    return e.letV(f.call(exact, left, v128.and(f.get(b), f.get(chosen))));
  });
  commitFlags(e);
  for (const distance of double ? [8] : [4, 8]) {
    const swapped = Array.from({ length: 16 }, (_, n) => n ^ distance);
    addVectors(
      e,
      v,
      'add',
      sums.map((sum) => [sum, e.letV(v128.shuffle(f.get(sum), f.get(sum), swapped))] as const),
    ).forEach((sum, n) => {
      f.set(sums[n], f.get(sum));
    });
  }
  const first = Array.from({ length: 16 }, (_, n) => n % (double ? 8 : 4));
  return sums.map((sum) => {
    const whole = v128.shuffle(f.get(sum), f.get(sum), first);
    return e.letV(
      v128.and(
        whole,
        lanesOf(f, () => immediateByte(e, immediate), 'i32x4', places),
      ),
    );
  });
}

const dotProduct =
  (v: Vector): Semantics =>
  (e) => {
    const b = e.letV(readAligned(e, 1));
    const a = e.letV(e.readV(0));
    e.writeV(0, dotProducts(e, v, [[a, b]], 2)[0]);
  };

export const sse41Semantics: SemanticsTable = {
  pblendvb: blendBySign('i8x16_shr_s', 8),
  blendvps: blendBySign('i32x4_shr_s', 32),
  blendvpd: blendBySign('i64x2_shr_s', 64),
  pblendw: blend('i16x8', EIGHT),
  blendps: blend('i32x4', FOUR),
  blendpd: blend('i32x4', TWO),
  pmovsxbw: extend('i16x8_extend_low_i8x16_s'),
  pmovsxbd: extend('i16x8_extend_low_i8x16_s', 'i32x4_extend_low_i16x8_s'),
  pmovsxbq: extend('i16x8_extend_low_i8x16_s', 'i32x4_extend_low_i16x8_s', 'i64x2_extend_low_i32x4_s'),
  pmovsxwd: extend('i32x4_extend_low_i16x8_s'),
  pmovsxwq: extend('i32x4_extend_low_i16x8_s', 'i64x2_extend_low_i32x4_s'),
  pmovsxdq: extend('i64x2_extend_low_i32x4_s'),
  pmovzxbw: extend('i16x8_extend_low_i8x16_u'),
  pmovzxbd: extend('i16x8_extend_low_i8x16_u', 'i32x4_extend_low_i16x8_u'),
  pmovzxbq: extend('i16x8_extend_low_i8x16_u', 'i32x4_extend_low_i16x8_u', 'i64x2_extend_low_i32x4_u'),
  pmovzxwd: extend('i32x4_extend_low_i16x8_u'),
  pmovzxwq: extend('i32x4_extend_low_i16x8_u', 'i64x2_extend_low_i32x4_u'),
  pmovzxdq: extend('i64x2_extend_low_i32x4_u'),
  pextrb: extract(1),
  pextrd: extract(),
  extractps: extract(4),
  pinsrb: insert(1),
  pinsrd: insert(),
  insertps: insertSingle,
  ptest: test,
  phminposuw: leastWord,
  mpsadbw: slidingSums,
  roundps: roundVector('ps'),
  roundpd: roundVector('pd'),
  roundss: roundScalar('f32', 4),
  roundsd: roundScalar('f64', 8),
  dpps: dotProduct(SINGLES),
  dppd: dotProduct(DOUBLES),
};

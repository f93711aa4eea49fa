/** Permutations, blends, shifts by element and tests that AVX and AVX2 brought (SDM vol. 1 §14.1, §14.7). */
import type { FunctionBuilder, I32, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { immediateByte, zeroVector } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';
import { readHalves, vectorBytes, writeRegister } from './vex-operands.ts';

const SAME = (value: number): [number, number, number, number] => [value, value, value, value];

/** Byte indices of dwords from dword numbers, of which only the low bits of `mask` count. */
function dwordIndices(f: FunctionBuilder, numbers: V128, mask: number): V128 {
  const { v128 } = f;
  const cut = v128.and(numbers, v128.const(...SAME(mask)));
  return v128.i32x4_add(v128.i32x4_mul(cut, v128.const(...SAME(0x0404_0404))), v128.const(...SAME(0x0302_0100)));
}

/** Byte indices of qwords from bit 1 of each. */
function qwordIndices(f: FunctionBuilder, numbers: V128): V128 {
  const { v128, i32 } = f;
  // The bit, times eight, in every byte of its qword.
  const bit = v128.and(v128.i64x2_shr_u(numbers, i32.const(1)), v128.const(1, 0, 1, 0));
  const low = v128.i8x16_swizzle(bit, v128.const(0, 0, 0x0808_0808, 0x0808_0808));
  const scaled = v128.i8x16_shl(low, i32.const(3));
  return v128.i8x16_add(scaled, v128.const(0x03020100, 0x07060504, 0x03020100, 0x07060504));
}

/** Four two-bit fields of an immediate, one in each dword. */
function fields(f: FunctionBuilder, immediate: I32): V128 {
  const { v128, i32 } = f;
  const moved = v128.i32x4_mul(v128.splat('i32x4', immediate), v128.const(64, 16, 4, 1));
  return v128.and(v128.i32x4_shr_u(moved, i32.const(6)), v128.const(...SAME(3)));
}

/** VPERMILPS: dwords within each half, by the immediate or a register. */
const withinSingles: Semantics = (e) => {
  const { f } = e;
  const byImmediate = e.form.classes[2] === 'i';
  const control = byImmediate ? undefined : readHalves(e, 2, vectorBytes(e));
  const values = readHalves(e, 1, vectorBytes(e));
  writeRegister(
    e,
    0,
    values.map((value, n) => {
      const source = f.get(value);
      const numbers = control ? f.get(control[n]) : fields(f, immediateByte(e, 2));
      return e.letV(f.v128.i8x16_swizzle(source, dwordIndices(f, numbers, 3)));
    }),
  );
};

/** VPERMILPD: qwords within each half; bit 1 of each control element, or a bit of the immediate for each. */
const withinDoubles: Semantics = (e) => {
  const { f } = e;
  const { v128, i32, i64 } = f;
  const control = e.form.classes[2] === 'i' ? undefined : readHalves(e, 2, vectorBytes(e));
  const values = readHalves(e, 1, vectorBytes(e));
  const bit = (n: number) => i64.extend_i32_u(i32.and(i32.shr_u(immediateByte(e, 2), i32.const(n)), i32.const(1)));
  writeRegister(
    e,
    0,
    values.map((value, n) => {
      const source = f.get(value);
      const numbers = (): V128 => {
        if (control) return f.get(control[n]);
        const low = v128.splat('i64x2', i64.shl(bit(2 * n), i64.const(1)));
        return v128.replace('i64x2', low, 1, i64.shl(bit(2 * n + 1), i64.const(1)));
      };
      return e.letV(v128.i8x16_swizzle(source, qwordIndices(f, numbers())));
    }),
  );
};

/** One of four halves, or zero: a four-bit field of VPERM2F128's immediate. */
const halves: Semantics = (e) => {
  const { f } = e;
  const { i32 } = f;
  const b = readHalves(e, 2, 32);
  const a = readHalves(e, 1, 32);
  const control = e.let32(immediateByte(e, 3));
  const has = (bit: number): I32 => i32.and(f.get(control), i32.const(bit));
  const pick = (shift: number): Local<V128> => {
    const odd = (pair: readonly Local<V128>[]): V128 => f.select(f.get(pair[1]), f.get(pair[0]), has(1 << shift));
    const second = odd(b);
    const chosen = e.letV(f.select(second, odd(a), has(2 << shift)));
    const none = zeroVector(f);
    return e.letV(f.select(none, f.get(chosen), has(8 << shift)));
  };
  writeRegister(e, 0, [pick(0), pick(4)]);
};

/** Dwords of 32 bytes by dword numbers 0–7. */
function acrossDwords(e: Emitter, source: readonly Local<V128>[], numbers: Local<V128>): Local<V128> {
  const { f } = e;
  const { v128, i32 } = f;
  const index = e.letV(dwordIndices(f, f.get(numbers), 3));
  // Bit 2 of the number, as a mask.
  const upper = e.letV(v128.i32x4_shr_s(v128.i32x4_shl(f.get(numbers), i32.const(29)), i32.const(31)));
  const high = v128.i8x16_swizzle(f.get(source[1]), f.get(index));
  return e.letV(v128.bitselect(high, v128.i8x16_swizzle(f.get(source[0]), f.get(index)), f.get(upper)));
}

/** VPERMD, VPERMPS: the numbers are the first source. */
const permuteDwords: Semantics = (e) => {
  const source = readHalves(e, 2, 32);
  const numbers = readHalves(e, 1, 32);
  writeRegister(
    e,
    0,
    numbers.map((half) => acrossDwords(e, source, half)),
  );
};

/** VPERMQ, VPERMPD: four two-bit fields. Each qword is two dwords. */
const permuteQwords: Semantics = (e) => {
  const { f } = e;
  const { v128, i32 } = f;
  const source = readHalves(e, 1, 32);
  const doubled = v128.i32x4_shl(fields(f, immediateByte(e, 2)), i32.const(1));
  const places = e.letV(doubled);
  const numbers = [
    [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7],
    [8, 9, 10, 11, 8, 9, 10, 11, 12, 13, 14, 15, 12, 13, 14, 15],
  ].map((lanes) => e.letV(v128.i32x4_add(v128.shuffle(f.get(places), f.get(places), lanes), v128.const(0, 1, 0, 1))));
  writeRegister(
    e,
    0,
    numbers.map((half) => acrossDwords(e, source, half)),
  );
};

/** VPBLENDD: bit n of the immediate takes dword n from the second source. */
const blendDwords: Semantics = (e) => {
  const { f } = e;
  const { v128 } = f;
  const b = readHalves(e, 2, vectorBytes(e));
  const a = readHalves(e, 1, vectorBytes(e));
  writeRegister(
    e,
    0,
    b.map((chosen, n) => {
      const places = (): V128 => v128.const(1 << (4 * n), 2 << (4 * n), 4 << (4 * n), 8 << (4 * n));
      const mask = e.letV(v128.i32x4_eq(v128.and(v128.splat('i32x4', immediateByte(e, 3)), places()), places()));
      return e.letV(v128.bitselect(f.get(chosen), f.get(a[n]), f.get(mask)));
    }),
  );
};

type Shift = 'shl' | 'shr_u' | 'shr_s';

/** VPSLLVD and its kin: every element by its own count; those from the width on clear it, or leave its sign. */
const shiftEach =
  (op: Shift, width: 32 | 64): Semantics =>
  (e) => {
    const { f } = e;
    const { v128, i32, i64 } = f;
    const counts = readHalves(e, 2, vectorBytes(e));
    const values = readHalves(e, 1, vectorBytes(e));
    const dword = (value: Local<V128>, count: Local<V128>, lane: number): I32 => {
      const amount = e.let32(v128.extract_i32('i32x4', f.get(count), lane));
      const inside = (): I32 => i32.lt_u(f.get(amount), i32.const(32));
      const element = v128.extract_i32('i32x4', f.get(value), lane);
      if (op === 'shr_s') return i32.shr_s(element, f.select(f.get(amount), i32.const(31), inside()));
      const shifted = i32[op](element, f.get(amount));
      return f.select(shifted, i32.const(0), inside());
    };
    const shifted = values.map((value, n) => {
      const r = e.letV(zeroVector(f));
      for (let lane = 0; lane < 128 / width; lane++) {
        const old = f.get(r);
        if (width === 32) f.set(r, v128.replace('i32x4', old, lane, dword(value, counts[n], lane)));
        else {
          const amount = e.let(v128.extract_i64(f.get(counts[n]), lane));
          const element = i64[op](v128.extract_i64(f.get(value), lane), f.get(amount));
          f.set(r, v128.replace('i64x2', old, lane, f.select(element, i64.const(0), i64.lt_u(f.get(amount), i64.const(64)))));
        }
      }
      return r;
    });
    writeRegister(e, 0, shifted);
  };

/** VPTEST; VTESTPS and VTESTPD look at sign bits only. ZF: no common bit; CF: the second has none beyond the first. */
const test =
  (mask: readonly [number, number, number, number]): Semantics =>
  (e) => {
    const { f } = e;
    const { v128, i64, i32 } = f;
    const all = mask.every((word) => word === -1);
    const b = readHalves(e, 1, vectorBytes(e));
    const a = readHalves(e, 0, vectorBytes(e));
    const cut = (value: V128): V128 => (all ? value : v128.and(value, v128.const(...mask)));
    const anyOf = (combine: (n: number) => V128): I32 =>
      b.map((_, n) => v128.any_true(cut(combine(n)))).reduce((left, right) => i32.or(left, right));
    const result = e.let(i64.extend_i32_u(anyOf((n) => v128.and(f.get(a[n]), f.get(b[n])))));
    // Even parity of a zero result is inverted.
    const parity = i64.shl(i64.extend_i32_u(i64.eqz(f.get(result))), i64.const(1));
    const beyond = i64.extend_i32_u(i32.eqz(anyOf((n) => v128.andnot(f.get(b[n]), f.get(a[n])))));
    const carry = e.let(i64.or(parity, i64.mul(beyond, i64.const(3n << 62n))));
    e.setFlags({ carry: () => f.get(carry), aux: () => f.get(result), result: () => f.get(result) });
  };

export const vexPermuteSemantics: SemanticsTable = {
  vpermilps: withinSingles,
  vpermilpd: withinDoubles,
  vperm2f128: halves,
  vperm2i128: halves,
  vpermd: permuteDwords,
  vpermps: permuteDwords,
  vpermq: permuteQwords,
  vpermpd: permuteQwords,
  vpblendd: blendDwords,
  vpsllvd: shiftEach('shl', 32),
  vpsllvq: shiftEach('shl', 64),
  vpsrlvd: shiftEach('shr_u', 32),
  vpsrlvq: shiftEach('shr_u', 64),
  vpsravd: shiftEach('shr_s', 32),
  vptest: test([-1, -1, -1, -1]),
  vtestps: test([-0x8000_0000, -0x8000_0000, -0x8000_0000, -0x8000_0000]),
  vtestpd: test([0, -0x8000_0000, 0, -0x8000_0000]),
};

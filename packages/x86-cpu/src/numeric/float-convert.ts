/** Exact conversions between binary32, binary64 and integers, rounding to integral, and the reciprocal approximations. */
import type { F32, F64, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { FormatParts } from './float-arithmetic.ts';
import type { Binary, FloatFormat, FloatModule, Unary } from './float-format.ts';
import { F32_FORMAT, F64_FORMAT, FloatFlag, FloatRoutine, Rounding } from './float-format.ts';

const asF64 = (r: FloatRoutine, a: Local<I64>): F64 => r.f.f64.reinterpret_i64(r.get(a));
const asF32 = (r: FloatRoutine, a: Local<I64>): F32 => r.f.f32.reinterpret_i32(r.f.i32.wrap_i64(r.get(a)));
const fromF32 = (r: FloatRoutine, value: F32): I64 => r.f.i64.extend_i32_u(r.f.i32.reinterpret_f32(value));

/** binary64 → binary32 (CVTSD2SS). A NaN keeps the top of its payload. */
export function narrowRoutine(home: FloatModule, f64: FormatParts, f32: FormatParts): Unary {
  const r = new FloatRoutine(home, F64_FORMAT, 'f64_to_f32', 1);
  const { f } = r;
  const { i64 } = f;
  const a = r.param(0);
  r.denormalsAreZero(a);
  const sign = r.local(() => i64.shr_u(r.sign(a), i64.const(32)));
  f.if(r.isNaN(a), () => {
    f.if(r.isSignaling(a), () => r.raise(FloatFlag.IE));
    const payload = i64.and(i64.shr_u(f.get(a), i64.const(29)), r.const((1n << F32_FORMAT.fraction) - 1n));
    f.return(i64.or(i64.or(payload, f.get(sign)), r.const(F32_FORMAT.infinity | F32_FORMAT.quiet)));
  });
  f.if(r.isInfinite(a), () => f.return(i64.or(f.get(sign), r.const(F32_FORMAT.infinity))));
  f.if(r.isZero(a), () => f.return(f.get(sign)));
  r.raiseDenormal(a);
  const rebias = F64_FORMAT.bias - F32_FORMAT.bias;
  const exponent = () => i64.sub(f.call(f64.exponent, f.get(a)), r.const(rebias));
  f.call(f32.pack, f.get(sign), exponent(), f.call(f64.significand, f.get(a)));
  return r.ref();
}

/** binary32 → binary64 (CVTSS2SD): exact. */
export function widenRoutine(home: FloatModule): Unary {
  const r = new FloatRoutine(home, F32_FORMAT, 'f32_to_f64', 1);
  const { f } = r;
  const { i64 } = f;
  const a = r.param(0);
  r.denormalsAreZero(a);
  f.if(r.isNaN(a), () => {
    f.if(r.isSignaling(a), () => r.raise(FloatFlag.IE));
    const sign = i64.shl(r.sign(a), i64.const(32));
    const payload = i64.shl(i64.and(f.get(a), r.const((1n << F32_FORMAT.fraction) - 1n)), i64.const(29));
    f.return(i64.or(i64.or(sign, payload), r.const(F64_FORMAT.infinity | F64_FORMAT.quiet)));
  });
  r.raiseDenormal(a);
  i64.reinterpret_f64(f.f64.promote_f32(asF32(r, a)));
  return r.ref();
}

/** Rounds the value in `a`, which is not NaN, to an integral one by rounding control `mode`; native, as that is exact. */
function roundNative(r: FloatRoutine, a: Local<I64>, mode: Local<I32>): void {
  const { f } = r;
  const wide = r.fmt.name === 'f64';
  const apply = (op: 'nearest' | 'floor' | 'ceil' | 'trunc') => () =>
    f.set(a, wide ? f.i64.reinterpret_f64(f.f64[op](asF64(r, a))) : fromF32(r, f.f32[op](asF32(r, a))));
  const is = (value: number) => f.i32.eq(f.get(mode), f.i32.const(value));
  f.if(is(Rounding.Nearest), apply('nearest'), () =>
    f.if(is(Rounding.Down), apply('floor'), () => f.if(is(Rounding.Up), apply('ceil'), apply('trunc'))),
  );
}

/** Bits of the second argument of `to_int`. */
export const ToInt = { Truncate: 1, Wide: 2 } as const;

/** (value, {@link ToInt}) → the integer, or the integer indefinite with IE (SDM vol. 1 §4.8.3.8); 32-bit results zero-extended. */
export function toIntRoutine(home: FloatModule): Binary {
  const r = new FloatRoutine(home, F64_FORMAT, 'f64_to_int', 2);
  const { f } = r;
  const { i32, i64 } = f;
  const [a, control] = [r.param(0), r.param(1)];
  const has = (bit: number) => i32.and(i32.wrap_i64(f.get(control)), i32.const(bit));
  r.denormalsAreZero(a);
  const mode = f.local('i32');
  f.set(mode, f.select(i32.const(Rounding.Truncate), r.rounding(), has(ToInt.Truncate)));
  const rounded = r.local(() => f.get(a));
  f.if(i32.eqz(r.isNaN(a)), () => roundNative(r, rounded, mode));
  const limit = f.local('f64');
  f.set(limit, f.select(f.f64.const(2 ** 63), f.f64.const(2 ** 31), has(ToInt.Wide)));
  // NaN fails both comparisons.
  const inRange = i32.and(f.f64.lt(asF64(r, rounded), f.get(limit)), f.f64.ge(asF64(r, rounded), f.f64.neg(f.get(limit))));
  f.if(i32.eqz(inRange), () => {
    r.raise(FloatFlag.IE);
    f.return(f.select(i64.const(1n << 63n), i64.const(1n << 31n), has(ToInt.Wide)));
  });
  f.if(f.f64.ne(asF64(r, rounded), asF64(r, a)), () => r.raise(FloatFlag.PE));
  const result = r.local(() => i64.trunc_sat_f64_s(asF64(r, rounded)));
  f.select(f.get(result), i64.and(f.get(result), i64.const(0xffff_ffff)), has(ToInt.Wide));
  return r.ref();
}

export function toIntFromSingle(home: FloatModule, wide: Binary): Binary {
  const r = new FloatRoutine(home, F32_FORMAT, 'f32_to_int', 2);
  const { f } = r;
  r.denormalsAreZero(r.param(0));
  f.call(wide, f.i64.reinterpret_f64(f.f64.promote_f32(asF32(r, r.param(0)))), f.get(r.param(1)));
  return r.ref();
}

/** Signed 64-bit integer → rounded number. */
export function fromIntRoutine(home: FloatModule, fmt: FloatFormat, parts: FormatParts): Unary {
  const r = new FloatRoutine(home, fmt, `int_to_${fmt.name}`, 1);
  const { f } = r;
  const { i64 } = f;
  const value = r.param(0);
  f.if(i64.eqz(f.get(value)), () => f.return(i64.const(0)));
  const sign = r.local();
  f.if(i64.lt_s(f.get(value), i64.const(0)), () => {
    f.set(sign, r.const(fmt.sign));
    f.set(value, i64.sub(i64.const(0), f.get(value)));
  });
  // −2^63 is its own magnitude: its one bit moves down instead of up.
  const lead = r.local(() => i64.clz(f.get(value)));
  const top = i64.eqz(f.get(lead));
  f.if(
    top,
    () => f.set(value, i64.shr_u(f.get(value), i64.const(1))),
    () => f.set(value, i64.shl(f.get(value), i64.sub(f.get(lead), i64.const(1)))),
  );
  f.call(parts.pack, f.get(sign), i64.sub(r.const(fmt.bias + 63n), f.get(lead)), f.get(value));
  return r.ref();
}

/** ROUNDSD, ROUNDSS: (value, immediate): bits 1:0 mode, bit 2 take it from MXCSR, bit 3 no PE (SDM vol. 2B, figure 4-24). */
export function roundRoutine(home: FloatModule, fmt: FloatFormat, parts: FormatParts): Binary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_round`, 2);
  const { f } = r;
  const { i32, i64 } = f;
  const [a, immediate] = [r.param(0), r.param(1)];
  const has = (bits: number) => i32.and(i32.wrap_i64(f.get(immediate)), i32.const(bits));
  r.denormalsAreZero(a);
  f.if(r.isNaN(a), () => f.return(f.call(parts.nan, f.get(a), f.get(a))));
  const mode = f.local('i32');
  f.set(mode, f.select(r.rounding(), has(3), has(4)));
  const rounded = r.local(() => f.get(a));
  roundNative(r, rounded, mode);
  f.if(i32.and(i64.ne(f.get(rounded), f.get(a)), i32.eqz(has(8))), () => r.raise(FloatFlag.PE));
  f.get(rounded);
  return r.ref();
}

/**
 * RCPSS and RSQRTSS: no flags, no rounding control; denormal operands are zeros and denormal results become zeros (SDM vol. 2B,
 * RCPPS). The manual bounds the relative error by 1.5 · 2^-12; processors differ within it, and this engine answers the nearest binary32.
 */
export function approximationRoutine(home: FloatModule, name: 'rcp' | 'rsqrt'): Unary {
  const fmt = F32_FORMAT;
  const r = new FloatRoutine(home, fmt, `f32_${name}`, 1);
  const { f } = r;
  const { i32, i64 } = f;
  const a = r.param(0);
  f.if(r.isNaN(a), () => f.return(i64.or(f.get(a), r.const(fmt.quiet))));
  f.if(i32.or(r.isZero(a), r.isDenormal(a)), () => f.return(i64.or(r.sign(a), r.const(fmt.infinity))));
  if (name === 'rsqrt') {
    f.if(i64.ne(r.sign(a), i64.const(0)), () => f.return(r.const(fmt.sign | fmt.infinity | fmt.quiet)));
  }
  const wide = f.f64.promote_f32(asF32(r, a));
  const root = name === 'rsqrt' ? f.f64.sqrt(wide) : wide;
  const one = f.local('f64');
  f.set(one, root);
  f.set(a, fromF32(r, f.f32.demote_f64(f.f64.div(f.f64.const(1), f.get(one)))));
  f.select(r.sign(a), f.get(a), r.isDenormal(a));
  return r.ref();
}

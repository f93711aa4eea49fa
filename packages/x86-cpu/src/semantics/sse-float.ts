/**
 * Floating-point arithmetic of SSE and SSE2.
 *
 * Native instructions run when MXCSR makes them exact: round to nearest, everything masked, PE already set, no DAZ or FTZ, and no
 * operand or result that could raise another flag or be a NaN (WebAssembly leaves a NaN's bits open). All else goes to the routines of
 * numeric/float-routines.ts, which also know what is unmasked.
 */
import type { F32, F64, FunctionBuilder, I32, I64, Local, V128, V128Ops } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { readAligned, routine } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const UD = 6;
const XM = 19;
const CR4_OSXMMEXCPT = 1 << 10;
/** RC, FTZ, DAZ, the six masks and PE; and what they are when native arithmetic is exact. */
const NATIVE_FIELDS = 0xffe0;
const NATIVE = 0x1fa0;

/** Does MXCSR let results be computed natively, given that only PE can be raised? */
export function nativeControl(e: Emitter): I32 {
  const { i32 } = e.f;
  return i32.eq(i32.and(e.load32('mxcsr'), i32.const(NATIVE_FIELDS)), i32.const(NATIVE));
}

/** Records the flags of the routines just called; raises #XM, or #UD without CR4.OSXMMEXCPT, if one is unmasked. */
export function commitFlags(e: Emitter): void {
  const { f } = e;
  if (e.deferred) {
    f.set(e.deferred, f.i32.const(1));
    return;
  }
  f.if(f.call(routine<[], I32>(e, 'float_commit')), () => {
    const enabled = () => f.i32.and(f.i32.wrap_i64(e.load64('cr4')), f.i32.const(CR4_OSXMMEXCPT));
    const vector = e.let32(f.select(f.i32.const(XM), f.i32.const(UD), enabled()));
    f.call(e.helpers.raise, f.get(vector), f.i32.const(-1));
    e.fault();
  });
}

export type Shape = 'ps' | 'pd' | 'ss' | 'sd';
type Operation = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'sqrt';

// --- scalars -----------------------------------------------------------------------------------------------------------------

/** A scalar format: how its encodings in i64 are used as native numbers. */
type Scalar = {
  readonly name: 'f32' | 'f64';
  readonly size: 4 | 8;
  /** Largest denormal encoding, and encoding of infinity, shifted left by one to drop the sign. */
  readonly denormal: bigint;
  readonly infinity: bigint;
};
export const SINGLE: Scalar = { name: 'f32', size: 4, denormal: 0x007f_ffffn << 1n, infinity: 0x7f80_0000n << 1n };
export const DOUBLE: Scalar = {
  name: 'f64',
  size: 8,
  denormal: 0x000f_ffff_ffff_ffffn << 1n,
  infinity: 0x7ff0_0000_0000_0000n << 1n,
};

export const asF64 = (f: FunctionBuilder, a: Local<I64>): F64 => f.f64.reinterpret_i64(f.get(a));
export const asF32 = (f: FunctionBuilder, a: Local<I64>): F32 => f.f32.reinterpret_i32(f.i32.wrap_i64(f.get(a)));
export const fromF32 = (f: FunctionBuilder, value: F32): I64 => f.i64.extend_i32_u(f.i32.reinterpret_f32(value));

/** The encoding without its sign, times two; of a binary32 the 64-bit shift leaves the sign at bit 32, so it is cut off. */
function doubled(f: FunctionBuilder, fmt: Scalar, a: Local<I64>): I64 {
  const { i64, i32 } = f;
  if (fmt.size === 8) return i64.shl(f.get(a), i64.const(1));
  return i64.extend_i32_u(i32.shl(i32.wrap_i64(f.get(a)), i32.const(1)));
}
export function notDenormal(f: FunctionBuilder, fmt: Scalar, a: Local<I64>): I32 {
  const { i64 } = f;
  return i64.ge_u(i64.sub(doubled(f, fmt, a), i64.const(1)), i64.const(fmt.denormal));
}
export function isFinite(f: FunctionBuilder, fmt: Scalar, a: Local<I64>): I32 {
  return f.i64.lt_u(doubled(f, fmt, a), f.i64.const(fmt.infinity));
}
const isZero = (f: FunctionBuilder, fmt: Scalar, a: Local<I64>): I32 => f.i64.eqz(doubled(f, fmt, a));
/** Neither NaN nor denormal. */
export const isPlain = (f: FunctionBuilder, fmt: Scalar, a: Local<I64>): I32 =>
  f.i32.and(notDenormal(f, fmt, a), f.i64.le_u(doubled(f, fmt, a), f.i64.const(fmt.infinity)));
const isNormal = (f: FunctionBuilder, fmt: Scalar, a: Local<I64>): I32 =>
  f.i64.gt_u(doubled(f, fmt, a), f.i64.const(fmt.denormal));

function nativeScalar(
  f: FunctionBuilder,
  fmt: Scalar,
  op: 'add' | 'sub' | 'mul' | 'div' | 'sqrt',
  a: Local<I64>,
  b: Local<I64>,
): I64 {
  if (fmt.size === 8) {
    return f.i64.reinterpret_f64(op === 'sqrt' ? f.f64.sqrt(asF64(f, b)) : f.f64[op](asF64(f, a), asF64(f, b)));
  }
  return fromF32(f, op === 'sqrt' ? f.f32.sqrt(asF32(f, b)) : f.f32[op](asF32(f, a), asF32(f, b)));
}

/** May the native result `r` of finite-or-infinite, non-denormal operands stand? It may if no flag but PE can belong to it. */
function resultStands(f: FunctionBuilder, fmt: Scalar, op: Operation, a: Local<I64>, b: Local<I64>, r: Local<I64>): I32 {
  const { i32 } = f;
  const finite = isFinite(f, fmt, r);
  // Sums are exact where they are tiny; a product or quotient that is zero or tiny is exact only if a factor is zero.
  if (op === 'mul') return i32.and(finite, i32.or(isNormal(f, fmt, r), i32.or(isZero(f, fmt, a), isZero(f, fmt, b))));
  if (op === 'div') return i32.and(finite, i32.or(isNormal(f, fmt, r), isZero(f, fmt, a)));
  return finite;
}

function scalar(op: Operation, fmt: Scalar): Semantics {
  return (e) => {
    const { f } = e;
    const { i32 } = f;
    const b = e.let(e.read(1, fmt.size));
    const a = op === 'sqrt' ? b : e.let(e.read(0, fmt.size));
    const r = e.tmp();
    const exact = routine<I64[], I64>(e, `${fmt.name}_${op}`);
    const slow = () => {
      f.set(r, op === 'sqrt' ? f.call(exact, f.get(b)) : f.call(exact, f.get(a), f.get(b)));
      commitFlags(e);
    };
    if (op === 'min' || op === 'max') {
      const plain = i32.and(isPlain(f, fmt, a), isPlain(f, fmt, b));
      f.if(plain, () => f.set(r, nativeMinMax(e, fmt, op, a, b)), slow);
    } else {
      f.set(r, nativeScalar(f, fmt, op, a, b));
      const operands = op === 'sqrt' ? notDenormal(f, fmt, b) : i32.and(notDenormal(f, fmt, a), notDenormal(f, fmt, b));
      const stands = i32.and(operands, resultStands(f, fmt, op, a, b, r));
      f.if(i32.eqz(i32.and(stands, nativeControl(e))), slow);
    }
    e.writeLow(0, fmt.size, r);
  };
}

/** The second operand unless the first is strictly less (or greater); neither is NaN. */
function nativeMinMax(e: Emitter, fmt: Scalar, op: 'min' | 'max', a: Local<I64>, b: Local<I64>): I64 {
  const { f } = e;
  const [values, order] = [[f.get(a), f.get(b)] as const, op === 'min' ? 'lt' : 'gt'] as const;
  const first = fmt.size === 8 ? f.f64[order](asF64(f, a), asF64(f, b)) : f.f32[order](asF32(f, a), asF32(f, b));
  return f.select(values[0], values[1], first);
}

// --- vectors -----------------------------------------------------------------------------------------------------------------

type Vector = {
  readonly lanes: 'f32x4' | 'f64x2';
  readonly prefix: 'ps' | 'pd';
  /** Smallest normal number, and infinity, in every lane. */
  readonly minimum: readonly [number, number, number, number];
  readonly infinity: readonly [number, number, number, number];
};
export const SINGLES: Vector = {
  lanes: 'f32x4',
  prefix: 'ps',
  minimum: [0x0080_0000, 0x0080_0000, 0x0080_0000, 0x0080_0000],
  infinity: [0x7f80_0000, 0x7f80_0000, 0x7f80_0000, 0x7f80_0000],
};
export const DOUBLES: Vector = {
  lanes: 'f64x2',
  prefix: 'pd',
  minimum: [0, 0x0010_0000, 0, 0x0010_0000],
  infinity: [0, 0x7ff0_0000, 0, 0x7ff0_0000],
};

type Suffix = 'add' | 'sub' | 'mul' | 'div' | 'pmin' | 'pmax' | 'eq' | 'lt' | 'gt' | 'ge' | 'le' | 'ne';
export const vectorBinary = (f: FunctionBuilder, v: Vector, op: Suffix, a: V128, b: V128): V128 =>
  (f.v128[`${v.lanes}_${op}` as keyof V128Ops] as unknown as (l: V128, r: V128) => V128).call(f.v128, a, b);
export const vectorUnary = (f: FunctionBuilder, v: Vector, op: 'abs' | 'sqrt' | 'nearest', a: V128): V128 =>
  (f.v128[`${v.lanes}_${op}` as keyof V128Ops] as unknown as (l: V128) => V128).call(f.v128, a);

const magnitude = (f: FunctionBuilder, v: Vector, a: Local<V128>): V128 => vectorUnary(f, v, 'abs', f.get(a));
const zeroLanes = (f: FunctionBuilder, v: Vector, a: Local<V128>): V128 =>
  vectorBinary(f, v, 'eq', f.get(a), f.v128.const(0, 0, 0, 0));
const normalLanes = (f: FunctionBuilder, v: Vector, a: Local<V128>): V128 =>
  vectorBinary(f, v, 'ge', magnitude(f, v, a), f.v128.const(...v.minimum));
export const finiteLanes = (f: FunctionBuilder, v: Vector, a: Local<V128>): V128 =>
  vectorBinary(f, v, 'lt', magnitude(f, v, a), f.v128.const(...v.infinity));
/** Lanes that are neither NaN nor denormal. */
export const plainLanes = (f: FunctionBuilder, v: Vector, a: Local<V128>): V128 =>
  f.v128.or(normalLanes(f, v, a), zeroLanes(f, v, a));
/** Is every lane of a mask set? */
export const allLanes = (f: FunctionBuilder, mask: V128): I32 => f.v128.i32x4_all_true(mask);

function resultLanes(f: FunctionBuilder, v: Vector, op: Operation, a: Local<V128>, b: Local<V128>, r: Local<V128>): V128 {
  const { v128 } = f;
  const finite = finiteLanes(f, v, r);
  if (op === 'mul') return v128.and(finite, v128.or(normalLanes(f, v, r), v128.or(zeroLanes(f, v, a), zeroLanes(f, v, b))));
  if (op === 'div') return v128.and(finite, v128.or(normalLanes(f, v, r), zeroLanes(f, v, a)));
  return finite;
}

function vector(op: Operation, v: Vector): Semantics {
  return (e) => {
    const { f } = e;
    const { v128, i32 } = f;
    const b = e.letV(readAligned(e, 1));
    const a = op === 'sqrt' ? b : e.letV(e.readV(0));
    const r = e.tmpV();
    const exact = routine<V128[], V128>(e, `${v.prefix}_${op}`);
    const slow = () => {
      f.set(r, op === 'sqrt' ? f.call(exact, f.get(b)) : f.call(exact, f.get(a), f.get(b)));
      commitFlags(e);
    };
    const plain = () => (op === 'sqrt' ? plainLanes(f, v, b) : v128.and(plainLanes(f, v, a), plainLanes(f, v, b)));
    if (op === 'min' || op === 'max') {
      // pmin(b, a) is a < b ? a : b: the second operand when equal.
      const native = () => f.set(r, vectorBinary(f, v, op === 'min' ? 'pmin' : 'pmax', f.get(b), f.get(a)));
      f.if(allLanes(f, plain()), native, slow);
    } else {
      f.set(r, op === 'sqrt' ? vectorUnary(f, v, 'sqrt', f.get(b)) : vectorBinary(f, v, op, f.get(a), f.get(b)));
      const stands = allLanes(f, v128.and(plain(), resultLanes(f, v, op, a, b, r)));
      f.if(i32.eqz(i32.and(stands, nativeControl(e))), slow);
    }
    e.writeV(0, r);
  };
}

/** RCP and RSQRT raise nothing and ignore MXCSR. */
const approximateScalar =
  (name: string): Semantics =>
  (e) =>
    e.writeLow(0, 4, e.let(e.f.call(routine<[I64], I64>(e, `f32_${name}`), e.read(1, 4))));
const approximateVector =
  (name: string): Semantics =>
  (e) =>
    e.writeV(0, e.letV(e.f.call(routine<[V128], V128>(e, `ps_${name}`), readAligned(e, 1))));

const table: Record<string, Semantics> = {
  rcpss: approximateScalar('rcp'),
  rsqrtss: approximateScalar('rsqrt'),
  rcpps: approximateVector('rcp'),
  rsqrtps: approximateVector('rsqrt'),
};
for (const op of ['add', 'sub', 'mul', 'div', 'min', 'max', 'sqrt'] as const) {
  table[`${op}ss`] = scalar(op, SINGLE);
  table[`${op}sd`] = scalar(op, DOUBLE);
  table[`${op}ps`] = vector(op, SINGLES);
  table[`${op}pd`] = vector(op, DOUBLES);
}

export const sseFloatSemantics: SemanticsTable = table;

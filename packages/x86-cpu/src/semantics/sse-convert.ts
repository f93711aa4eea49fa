/** Conversions of SSE and SSE2 between integers, binary32 and binary64 (SDM vol. 1 §11.4.4). */
import type { I32, I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { ToInt } from '../numeric/float-convert.ts';
import { replaceElement } from '../numeric/vector-element.ts';
import {
  allLanes,
  asF32,
  asF64,
  commitFlags,
  DOUBLE,
  DOUBLES,
  fromF32,
  isPlain,
  nativeControl,
  plainLanes,
  SINGLE,
  SINGLES,
  vectorBinary,
  vectorUnary,
} from './sse-float.ts';
import { checkPending, enterMmx, isMmx, readAligned, readHalf, routine, writeMmx, zeroVector } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

type Scalar = typeof SINGLE;

// --- scalars -----------------------------------------------------------------------------------------------------------------

/** CVTSI2SS, CVTSI2SD: only a 32-bit integer in binary64 is exact. */
const fromInteger =
  (fmt: Scalar): Semantics =>
  (e) => {
    const { f } = e;
    const value = e.let(e.readSigned(1));
    const wide = fmt.size === 8;
    const r = e.let(
      wide ? f.i64.reinterpret_f64(f.f64.convert_i64_s(f.get(value))) : fromF32(f, f.f32.convert_i64_s(f.get(value))),
    );
    if (!wide || e.size(1) === 8) {
      f.if(f.i32.eqz(nativeControl(e)), () => {
        f.set(r, f.call(routine<[I64], I64>(e, `int_to_${fmt.name}`), f.get(value)));
        commitFlags(e);
      });
    }
    e.writeLow(0, fmt.size, r);
  };

/** CVTSD2SI and its kin: current rounding, or truncation. */
const toInteger =
  (fmt: Scalar, truncate: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const a = e.let(e.read(1, fmt.size));
    const value = e.tmpF64();
    f.set(value, fmt.size === 8 ? asF64(f, a) : f.f64.promote_f32(asF32(f, a)));
    f.set(value, f.f64[truncate ? 'trunc' : 'nearest'](f.get(value)));
    const r = e.tmp();
    // NaN is not in range; −2^31 and −2^63 are left to the routine.
    const inRange = f.f64.lt(f.f64.abs(f.get(value)), f.f64.const(size === 8 ? 2 ** 63 : 2 ** 31));
    f.if(
      f.i32.and(inRange, nativeControl(e)),
      () => f.set(r, e.truncate(f.i64.trunc_sat_f64_s(f.get(value)), size)),
      () => {
        const control = (truncate ? ToInt.Truncate : 0) | (size === 8 ? ToInt.Wide : 0);
        f.set(r, f.call(routine<[I64, I64], I64>(e, `${fmt.name}_to_int`), f.get(a), f.i64.const(control)));
        commitFlags(e);
      },
    );
    e.write(0, r);
  };

const singleToDouble: Semantics = (e) => {
  const { f } = e;
  const a = e.let(e.read(1, 4));
  const r = e.tmp();
  f.if(
    isPlain(f, SINGLE, a),
    () => f.set(r, f.i64.reinterpret_f64(f.f64.promote_f32(asF32(f, a)))),
    () => {
      f.set(r, f.call(routine<[I64], I64>(e, 'f32_to_f64'), f.get(a)));
      commitFlags(e);
    },
  );
  e.writeLow(0, 8, r);
};

/** Bounds within which a binary64 becomes a normal binary32. */
const SMALLEST_SINGLE = 2 ** -126;
const LARGEST_SINGLE = (2 - 2 ** -23) * 2 ** 127;

const doubleToSingle: Semantics = (e) => {
  const { f } = e;
  const { i32, f64 } = f;
  const a = e.let(e.read(1, 8));
  const r = e.tmp();
  const size = e.tmpF64();
  f.set(size, f64.abs(asF64(f, a)));
  const normal = i32.and(f64.ge(f.get(size), f64.const(SMALLEST_SINGLE)), f64.le(f.get(size), f64.const(LARGEST_SINGLE)));
  const fits = i32.or(normal, f64.eq(f.get(size), f64.const(0)));
  f.if(
    i32.and(fits, nativeControl(e)),
    () => f.set(r, fromF32(f, f.f32.demote_f64(asF64(f, a)))),
    () => {
      f.set(r, f.call(routine<[I64], I64>(e, 'f64_to_f32'), f.get(a)));
      commitFlags(e);
    },
  );
  e.writeLow(0, 4, r);
};

// --- vectors -----------------------------------------------------------------------------------------------------------------

/** Converts lanes one by one with a routine; `from` and `to` are the lanes' bytes, and those of the result not written are zero. */
function byLane(
  e: Emitter,
  name: string,
  a: Local<V128>,
  r: Local<V128>,
  from: 4 | 8,
  to: 4 | 8,
  count: number,
  control?: number,
): void {
  const { f } = e;
  const { v128 } = f;
  f.set(r, zeroVector(f));
  for (let n = 0; n < count; n++) {
    const old = f.get(r);
    const lane = from === 8 ? v128.extract_i64(f.get(a), n) : signedLane(e, a, n);
    const value =
      control === undefined
        ? f.call(routine<[I64], I64>(e, name), lane)
        : f.call(routine<[I64, I64], I64>(e, name), lane, f.i64.const(control));
    f.set(r, replaceElement(f, old, to, n, value));
  }
  commitFlags(e);

  function signedLane(context: Emitter, vector: Local<V128>, lane: number): I64 {
    const bits = v128.extract_i32('i32x4', context.f.get(vector), lane);
    // Integers are signed; encodings of binary32 are zero-extended.
    return name.startsWith('int') ? f.i64.extend_i32_s(bits) : f.i64.extend_i32_u(bits);
  }
}

/** The vector operand of a conversion: all 16 bytes, or the low half of a register or 8 bytes of memory. */
function operand(e: Emitter, lanes: 'all' | 'half'): Local<V128> {
  if (isMmx(e)) checkPending(e);
  const value = e.letV(lanes === 'all' ? readAligned(e, 1) : readHalf(e, 1));
  // The x87 state changes even if the conversion then raises #XM.
  if (isMmx(e)) enterMmx(e);
  return value;
}

/** Writes the result: to an XMM register whole or only its low half, or to an MMX register. */
function deliver(e: Emitter, r: Local<V128>, half = false): void {
  const { f } = e;
  if (e.form.classes[0] === 't') {
    writeMmx(e, 0, e.let(f.v128.extract_i64(f.get(r), 0)));
    return;
  }
  if (half) e.writeLow(0, 8, e.let(f.v128.extract_i64(f.get(r), 0)));
  else e.writeV(0, r);
}

/** CVTPS2DQ, CVTPS2PI and truncating kin. */
const singlesToIntegers =
  (truncate: boolean, lanes: 'all' | 'half'): Semantics =>
  (e) => {
    const { f } = e;
    const { v128, i32 } = f;
    const a = operand(e, lanes);
    const r = e.tmpV();
    const limit = 0x4f00_0000; // 2^31
    const inRange = allLanes(
      f,
      vectorBinary(f, SINGLES, 'lt', vectorUnary(f, SINGLES, 'abs', f.get(a)), v128.const(limit, limit, limit, limit)),
    );
    f.if(
      i32.and(inRange, nativeControl(e)),
      () => f.set(r, v128.i32x4_trunc_sat_f32x4_s(truncate ? f.get(a) : v128.f32x4_nearest(f.get(a)))),
      () => byLane(e, 'f32_to_int', a, r, 4, 4, lanes === 'all' ? 4 : 2, truncate ? ToInt.Truncate : 0),
    );
    deliver(e, r);
  };

/** CVTPD2DQ, CVTPD2PI and truncating kin. */
const doublesToIntegers =
  (truncate: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const { v128, i32 } = f;
    const a = operand(e, 'all');
    const r = e.tmpV();
    const rounded = e.letV(truncate ? f.get(a) : v128.f64x2_nearest(f.get(a)));
    const high = 0x41e0_0000; // 2^31
    const size = vectorUnary(f, DOUBLES, 'abs', f.get(rounded));
    const inRange = allLanes(f, vectorBinary(f, DOUBLES, 'lt', size, v128.const(0, high, 0, high)));
    f.if(
      i32.and(inRange, nativeControl(e)),
      () => f.set(r, v128.i32x4_trunc_sat_f64x2_s_zero(f.get(rounded))),
      () => byLane(e, 'f64_to_int', a, r, 8, 4, 2, truncate ? ToInt.Truncate : 0),
    );
    deliver(e, r);
  };

/** CVTDQ2PS, CVTPI2PS. */
const integersToSingles =
  (lanes: 'all' | 'half'): Semantics =>
  (e) => {
    const { f } = e;
    const a = operand(e, lanes);
    const r = e.letV(f.v128.f32x4_convert_i32x4_s(f.get(a)));
    f.if(f.i32.eqz(nativeControl(e)), () => byLane(e, 'int_to_f32', a, r, 4, 4, lanes === 'all' ? 4 : 2));
    deliver(e, r, lanes === 'half');
  };

/** CVTDQ2PD, CVTPI2PD: exact. */
const integersToDoubles: Semantics = (e) => {
  const { f } = e;
  const a = operand(e, 'half');
  deliver(e, e.letV(f.v128.f64x2_convert_low_i32x4_s(f.get(a))));
};

const singlesToDoubles: Semantics = (e) => {
  const { f } = e;
  const a = operand(e, 'half');
  const r = e.tmpV();
  f.if(
    allLanes(f, plainLanes(f, SINGLES, a)),
    () => f.set(r, f.v128.f64x2_promote_low_f32x4(f.get(a))),
    () => byLane(e, 'f32_to_f64', a, r, 4, 8, 2),
  );
  deliver(e, r);
};

const doublesToSingles: Semantics = (e) => {
  const { f } = e;
  const { v128, i32 } = f;
  const a = operand(e, 'all');
  const r = e.tmpV();
  const size = e.letV(vectorUnary(f, DOUBLES, 'abs', f.get(a)));
  const bound = (value: number) => v128.splat('f64x2', f.f64.const(value));
  const large = vectorBinary(f, DOUBLES, 'ge', f.get(size), bound(SMALLEST_SINGLE));
  const normal = v128.and(large, vectorBinary(f, DOUBLES, 'le', f.get(size), bound(LARGEST_SINGLE)));
  const fits: I32 = allLanes(f, v128.or(normal, vectorBinary(f, DOUBLES, 'eq', f.get(size), zeroVector(f))));
  f.if(
    i32.and(fits, nativeControl(e)),
    () => f.set(r, v128.f32x4_demote_f64x2_zero(f.get(a))),
    () => byLane(e, 'f64_to_f32', a, r, 8, 4, 2),
  );
  deliver(e, r);
};

export const sseConvertSemantics: SemanticsTable = {
  cvtsi2ss: fromInteger(SINGLE),
  cvtsi2sd: fromInteger(DOUBLE),
  cvtss2si: toInteger(SINGLE, false),
  cvttss2si: toInteger(SINGLE, true),
  cvtsd2si: toInteger(DOUBLE, false),
  cvttsd2si: toInteger(DOUBLE, true),
  cvtss2sd: singleToDouble,
  cvtsd2ss: doubleToSingle,
  cvtps2dq: singlesToIntegers(false, 'all'),
  cvttps2dq: singlesToIntegers(true, 'all'),
  cvtps2pi: singlesToIntegers(false, 'half'),
  cvttps2pi: singlesToIntegers(true, 'half'),
  cvtpd2dq: doublesToIntegers(false),
  cvttpd2dq: doublesToIntegers(true),
  cvtpd2pi: doublesToIntegers(false),
  cvttpd2pi: doublesToIntegers(true),
  cvtdq2ps: integersToSingles('all'),
  cvtpi2ps: integersToSingles('half'),
  cvtdq2pd: integersToDoubles,
  cvtpi2pd: integersToDoubles,
  cvtps2pd: singlesToDoubles,
  cvtpd2ps: doublesToSingles,
};

/** Comparisons of SSE and SSE2: CMPPS and its kin, COMISS and UCOMISS. */
import type { I32, I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import {
  allLanes,
  asF32,
  asF64,
  commitFlags,
  DOUBLE,
  DOUBLES,
  isPlain,
  plainLanes,
  SINGLE,
  SINGLES,
  vectorBinary,
} from './sse-float.ts';
import { immediateByte, readAligned, routine } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

type Scalar = typeof SINGLE;
type Vector = typeof SINGLES;

function order(e: Emitter, fmt: Scalar, op: 'lt' | 'eq', a: Local<I64>, b: Local<I64>): I32 {
  const { f } = e;
  return fmt.size === 8 ? f.f64[op](asF64(f, a), asF64(f, b)) : f.f32[op](asF32(f, a), asF32(f, b));
}

const bothPlain = (e: Emitter, fmt: Scalar, a: Local<I64>, b: Local<I64>): I32 =>
  e.f.i32.and(isPlain(e.f, fmt, a), isPlain(e.f, fmt, b));

/** COMISS (any NaN is invalid) and UCOMISS (a signaling one is): ZF, PF, CF say how they compare; OF, SF, AF are clear. */
const compareToFlags =
  (fmt: Scalar, signaling: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const { i32, i64 } = f;
    const b = e.let(e.read(1, fmt.size));
    const a = e.let(e.read(0, fmt.size));
    const ordering = e.tmp32();
    f.if(
      bothPlain(e, fmt, a, b),
      () => {
        const less = order(e, fmt, 'lt', a, b);
        f.set(ordering, i32.or(less, i32.shl(order(e, fmt, 'eq', a, b), i32.const(1))));
      },
      () => {
        const exact = routine<[I64, I64, I64], I64>(e, `${fmt.name}_compare`);
        f.set(ordering, i32.wrap_i64(f.call(exact, f.get(a), f.get(b), i64.const(signaling ? 1 : 0))));
        commitFlags(e);
      },
    );
    // Orderings 0 greater, 1 less, 2 equal, 3 unordered. Less and unordered set CF; equal and unordered make the result zero, whose
    // even parity is inverted where the operands are equal.
    const result = e.let(i64.extend_i32_u(i32.lt_u(f.get(ordering), i32.const(2))));
    const carried = i64.mul(i64.extend_i32_u(i32.and(f.get(ordering), i32.const(1))), i64.const(3n << 62n));
    const parity = i64.shl(i64.extend_i32_u(i32.eq(f.get(ordering), i32.const(2))), i64.const(1));
    const carry = e.let(i64.or(carried, parity));
    e.setFlags({ carry: () => f.get(carry), aux: () => f.get(result), result: () => f.get(result) });
  };

/** Native masks of plain operands; predicates 4–7 negate 0–3, and nothing is unordered (SDM vol. 2A, table 3-1). */
function nativePredicate(e: Emitter, predicate: Local<I32>, r: Local<I64>, fmt: Scalar, a: Local<I64>, b: Local<I64>): void {
  const { f } = e;
  const { i32, i64 } = f;
  const low = e.let32(i32.and(f.get(predicate), i32.const(3)));
  // Bit 0: equal counts (EQ, LE); bit 1: less counts (LT, LE).
  const equal = i32.and(i32.shr_u(i32.const(0b0101), f.get(low)), order(e, fmt, 'eq', a, b));
  const less = i32.and(i32.shr_u(i32.const(0b0110), f.get(low)), order(e, fmt, 'lt', a, b));
  const negated = i32.xor(i32.or(equal, less), i32.and(i32.shr_u(f.get(predicate), i32.const(2)), i32.const(1)));
  const all = i64.extend_i32_s(i32.shr_s(i32.shl(negated, i32.const(31)), i32.const(31)));
  f.set(r, fmt.size === 8 ? all : i64.and(all, i64.const(0xffff_ffff)));
}

/** Eight predicates, or with VEX thirty-two, of which the others differ in what they say of NaNs alone. */
const predicateByte = (e: Emitter): Local<I32> => e.let32(e.f.i32.and(immediateByte(e, 2), e.f.i32.const(e.form.vex ? 31 : 7)));

const compareScalar =
  (fmt: Scalar): Semantics =>
  (e) => {
    const { f } = e;
    const b = e.let(e.read(1, fmt.size));
    const a = e.let(e.read(0, fmt.size));
    const predicate = predicateByte(e);
    const r = e.tmp();
    f.if(
      bothPlain(e, fmt, a, b),
      () => nativePredicate(e, predicate, r, fmt, a, b),
      () => {
        const exact = routine<[I64, I64, I64], I64>(e, `${fmt.name}_predicate`);
        f.set(r, f.call(exact, f.get(a), f.get(b), f.i64.extend_i32_u(f.get(predicate))));
        commitFlags(e);
      },
    );
    e.writeLow(0, fmt.size, r);
  };

const compareVector =
  (v: Vector): Semantics =>
  (e) => {
    const { f } = e;
    const { v128, i32 } = f;
    const b = e.letV(readAligned(e, 1));
    const a = e.letV(e.readV(0));
    const predicate = predicateByte(e);
    const r = e.tmpV();
    const is = (n: number) => i32.eq(i32.and(f.get(predicate), i32.const(3)), i32.const(n));
    const native = () => {
      const mask = (op: 'eq' | 'lt' | 'le') => () => f.set(r, vectorBinary(f, v, op, f.get(a), f.get(b)));
      const none = () => f.set(r, v128.const(0, 0, 0, 0));
      f.if(is(0), mask('eq'), () => f.if(is(1), mask('lt'), () => f.if(is(2), mask('le'), none)));
      const sign = i32.sub(i32.const(0), i32.and(i32.shr_u(f.get(predicate), i32.const(2)), i32.const(1)));
      const inverted = e.letV(v128.splat('i32x4', sign));
      f.set(r, v128.xor(f.get(r), f.get(inverted)));
    };
    const exact = () => {
      const lanes = routine<[V128, V128, I64], V128>(e, `${v.prefix}_predicate`);
      f.set(r, f.call(lanes, f.get(a), f.get(b), f.i64.extend_i32_u(f.get(predicate))));
      commitFlags(e);
    };
    f.if(allLanes(f, v128.and(plainLanes(f, v, a), plainLanes(f, v, b))), native, exact);
    e.writeV(0, r);
  };

export const sseCompareSemantics: SemanticsTable = {
  comiss: compareToFlags(SINGLE, true),
  comisd: compareToFlags(DOUBLE, true),
  ucomiss: compareToFlags(SINGLE, false),
  ucomisd: compareToFlags(DOUBLE, false),
  cmpss: compareScalar(SINGLE),
  cmpsd: compareScalar(DOUBLE),
  cmpps: compareVector(SINGLES),
  cmppd: compareVector(DOUBLES),
};

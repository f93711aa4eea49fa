import * as op from './opcodes.ts';
import type { AnyValue, F32, F64, I32, I64, TokenOf, V128 } from './types.ts';
import { anyToken } from './types.ts';
import type { Writer } from './writer.ts';

type Names<T> = Extract<keyof T, string>;
type Unary<T, V> = { [K in Names<T>]: (value: V) => V };
type Binary<T, V> = { [K in Names<T>]: (left: V, right: V) => V };
type Test<T, V> = { [K in Names<T>]: (value: V) => I32 };
/** The type a conversion's name ends with, perhaps before its signedness. */
type SourceOf<K extends string> = K extends `${string}_${infer N extends 'i32' | 'i64' | 'f32' | 'f64'}${'' | '_s' | '_u'}`
  ? TokenOf<N>
  : never;
type Convert<T, V> = { [K in Names<T>]: (value: SourceOf<K>) => V };
type Compare<T, V> = { [K in Names<T>]: (left: V, right: V) => I32 };
type Load<T, V> = { [K in Names<T>]: (address: I32, offset?: number) => V };
type Store<T, V> = { [K in Names<T>]: (address: I32, value: V, offset?: number) => void };
type Rmw<T, V> = { [K in Names<T>]: (address: I32, value: V, offset?: number) => V };
type CmpXchg<T, V> = { [K in Names<T>]: (address: I32, expected: V, replacement: V, offset?: number) => V };

class Ops {
  protected readonly w: Writer;
  constructor(writer: Writer) {
    this.w = writer;
  }
}

type OpsClass = { readonly prototype: object };
type Self = { w: Writer };

/** Installs one method per table entry; operands are on the stack by the time it runs, so it only writes its opcode. */
function plain(target: OpsClass, table: Readonly<Record<string, number>>): void {
  for (const [name, code] of Object.entries(table))
    Object.assign(target.prototype, {
      [name](this: Self) {
        this.w.u8(code);
        return anyToken;
      },
    });
}

/** The same for opcodes behind a prefix. */
function prefixed(target: OpsClass, prefix: number, table: Readonly<Record<string, number>>): void {
  for (const [name, code] of Object.entries(table))
    Object.assign(target.prototype, {
      [name](this: Self) {
        this.w.u8(prefix);
        this.w.u32(code);
        return anyToken;
      },
    });
}

/** Memory accesses; `operands` is how many stack operands the method takes before the static offset. */
function memory(
  target: OpsClass,
  table: Readonly<Record<string, readonly [number, number]>>,
  operands: 1 | 2 | 3,
  prefix?: number,
): void {
  for (const [name, [code, align]] of Object.entries(table)) {
    const emit = (w: Writer, offset: number) => {
      if (prefix !== undefined) w.u8(prefix);
      w.u8(code);
      // Guest accesses are unaligned as often as not; only atomics state (and need) their natural alignment.
      w.u32(prefix === undefined ? 0 : align);
      w.u32(offset);
      // A store leaves nothing on the operand stack.
      return name.includes('store') ? undefined : anyToken;
    };
    const method =
      operands === 1
        ? function (this: Self, _address: AnyValue, offset = 0) {
            return emit(this.w, offset);
          }
        : operands === 2
          ? function (this: Self, _address: AnyValue, _value: AnyValue, offset = 0) {
              return emit(this.w, offset);
            }
          : function (this: Self, _address: AnyValue, _expected: AnyValue, _value: AnyValue, offset = 0) {
              return emit(this.w, offset);
            };
    Object.assign(target.prototype, { [name]: method });
  }
}

/** i32 instructions, named as in the specification without the `i32.` prefix. */
export class I32Ops extends Ops {
  const(value: number): I32 {
    this.w.u8(op.CONST.i32);
    this.w.s32(value);
    return anyToken;
  }
}
export interface I32Ops
  extends Test<typeof op.I32_TEST, I32>,
    Convert<typeof op.I32_CONVERT, I32>,
    Convert<typeof op.I32_TRUNCATE, I32>,
    Unary<typeof op.I32_UNARY, I32>,
    Binary<typeof op.I32_BINARY, I32>,
    Load<typeof op.I32_LOAD, I32>,
    Store<typeof op.I32_STORE, I32>,
    Load<typeof op.I32_ATOMIC_LOAD, I32>,
    Store<typeof op.I32_ATOMIC_STORE, I32>,
    Rmw<typeof op.I32_ATOMIC_RMW, I32>,
    Rmw<typeof op.ATOMIC_NOTIFY, I32> {}
plain(I32Ops, { ...op.I32_TEST, ...op.I32_CONVERT, ...op.I32_UNARY, ...op.I32_BINARY });
prefixed(I32Ops, op.PREFIX.misc, op.I32_TRUNCATE);
memory(I32Ops, op.I32_LOAD, 1);
memory(I32Ops, op.I32_STORE, 2);
memory(I32Ops, op.I32_ATOMIC_LOAD, 1, op.PREFIX.atomic);
memory(I32Ops, op.I32_ATOMIC_STORE, 2, op.PREFIX.atomic);
memory(I32Ops, op.I32_ATOMIC_RMW, 2, op.PREFIX.atomic);
memory(I32Ops, op.ATOMIC_NOTIFY, 2, op.PREFIX.atomic);

/** i64 instructions, named as in the specification without the `i64.` prefix. */
export class I64Ops extends Ops {
  /** A constant given as a JavaScript integer of at most 53 bits, or as a BigInt taken modulo 2^64. */
  const(value: number | bigint): I64 {
    if (typeof value === 'bigint') {
      const bits = BigInt.asUintN(64, value);
      return this.halves(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
    }
    return this.halves(value | 0, Math.floor(value / 0x1_0000_0000));
  }
  /** A constant given as two 32-bit halves: what code generators use, since it needs no BigInt. */
  halves(lo: number, hi: number): I64 {
    this.w.u8(op.CONST.i64);
    this.w.s64(lo, hi);
    return anyToken;
  }
}
export interface I64Ops
  extends Test<typeof op.I64_TEST, I64>,
    Convert<typeof op.I64_CONVERT, I64>,
    Convert<typeof op.I64_TRUNCATE, I64>,
    Unary<typeof op.I64_UNARY, I64>,
    Binary<typeof op.I64_BINARY, I64>,
    Compare<typeof op.I64_COMPARE, I64>,
    Load<typeof op.I64_LOAD, I64>,
    Store<typeof op.I64_STORE, I64>,
    Load<typeof op.I64_ATOMIC_LOAD, I64>,
    Store<typeof op.I64_ATOMIC_STORE, I64>,
    Rmw<typeof op.I64_ATOMIC_RMW, I64>,
    CmpXchg<typeof op.I64_ATOMIC_CMPXCHG, I64> {}
plain(I64Ops, { ...op.I64_TEST, ...op.I64_CONVERT, ...op.I64_UNARY, ...op.I64_BINARY, ...op.I64_COMPARE });
prefixed(I64Ops, op.PREFIX.misc, op.I64_TRUNCATE);
memory(I64Ops, op.I64_LOAD, 1);
memory(I64Ops, op.I64_STORE, 2);
memory(I64Ops, op.I64_ATOMIC_LOAD, 1, op.PREFIX.atomic);
memory(I64Ops, op.I64_ATOMIC_STORE, 2, op.PREFIX.atomic);
memory(I64Ops, op.I64_ATOMIC_RMW, 2, op.PREFIX.atomic);
memory(I64Ops, op.I64_ATOMIC_CMPXCHG, 3, op.PREFIX.atomic);

export class F32Ops extends Ops {
  const(value: number): F32 {
    this.w.u8(op.CONST.f32);
    this.w.f32(value);
    return anyToken;
  }
}
export interface F32Ops
  extends Convert<typeof op.F32_CONVERT, F32>,
    Unary<typeof op.F32_UNARY, F32>,
    Binary<typeof op.F32_BINARY, F32>,
    Compare<typeof op.F32_COMPARE, F32>,
    Load<typeof op.F32_LOAD, F32>,
    Store<typeof op.F32_STORE, F32> {}
plain(F32Ops, { ...op.F32_CONVERT, ...op.F32_UNARY, ...op.F32_BINARY, ...op.F32_COMPARE });
memory(F32Ops, op.F32_LOAD, 1);
memory(F32Ops, op.F32_STORE, 2);

export class F64Ops extends Ops {
  const(value: number): F64 {
    this.w.u8(op.CONST.f64);
    this.w.f64(value);
    return anyToken;
  }
}
export interface F64Ops
  extends Convert<typeof op.F64_CONVERT, F64>,
    Unary<typeof op.F64_UNARY, F64>,
    Binary<typeof op.F64_BINARY, F64>,
    Compare<typeof op.F64_COMPARE, F64>,
    Load<typeof op.F64_LOAD, F64>,
    Store<typeof op.F64_STORE, F64> {}
plain(F64Ops, { ...op.F64_CONVERT, ...op.F64_UNARY, ...op.F64_BINARY, ...op.F64_COMPARE });
memory(F64Ops, op.F64_LOAD, 1);
memory(F64Ops, op.F64_STORE, 2);

type LaneShape = keyof typeof op.SPLAT;
const LANE_LOG2: Record<LaneShape, number> = { i8x16: 0, i16x8: 1, i32x4: 2, i64x2: 3, f32x4: 2, f64x2: 3 };
type LaneValue<S> = S extends 'i64x2' ? I64 : S extends 'f32x4' ? F32 : S extends 'f64x2' ? F64 : I32;

/** Vector instructions; lane-shaped ones are named `i8x16_add` for the specification's `i8x16.add`. */
export class V128Ops extends Ops {
  #op(code: number): void {
    this.w.u8(op.PREFIX.vector);
    this.w.u32(code);
  }
  /** A constant given as four 32-bit lanes, lowest first. */
  const(lane0: number, lane1: number, lane2: number, lane3: number): V128 {
    this.#op(op.V128_CONST);
    for (const lane of [lane0, lane1, lane2, lane3])
      for (let shift = 0; shift < 32; shift += 8) this.w.u8((lane >>> shift) & 0xff);
    return anyToken;
  }
  load(_address: I32, offset = 0): V128 {
    this.#op(op.V128_MEMORY.load);
    this.w.u32(0);
    this.w.u32(offset);
    return anyToken;
  }
  /** Loads 4 or 8 bytes into the low lane and clears the rest. */
  load_zero(bits: 32 | 64, _address: I32, offset = 0): V128 {
    this.#op(bits === 32 ? op.V128_MEMORY.load32_zero : op.V128_MEMORY.load64_zero);
    this.w.u32(0);
    this.w.u32(offset);
    return anyToken;
  }
  store(_address: I32, _value: V128, offset = 0): void {
    this.#op(op.V128_MEMORY.store);
    this.w.u32(0);
    this.w.u32(offset);
  }
  /** Picks 16 bytes by constant index out of the 32 bytes `left:right`. */
  shuffle(_left: V128, _right: V128, lanes: readonly number[]): V128 {
    this.#op(op.V128_SHUFFLE);
    for (let i = 0; i < 16; i++) this.w.u8(lanes[i]);
    return anyToken;
  }
  splat<S extends LaneShape>(shape: S, _value: LaneValue<S>): V128 {
    this.#op(op.SPLAT[shape]);
    return anyToken;
  }
  extract_i32(shape: 'i8x16_s' | 'i8x16_u' | 'i16x8_s' | 'i16x8_u' | 'i32x4', _vector: V128, lane: number): I32 {
    this.#op(op.EXTRACT[shape]);
    this.w.u8(lane);
    return anyToken;
  }
  extract_i64(_vector: V128, lane: number): I64 {
    this.#op(op.EXTRACT.i64x2);
    this.w.u8(lane);
    return anyToken;
  }
  extract_f32(_vector: V128, lane: number): F32 {
    this.#op(op.EXTRACT.f32x4);
    this.w.u8(lane);
    return anyToken;
  }
  extract_f64(_vector: V128, lane: number): F64 {
    this.#op(op.EXTRACT.f64x2);
    this.w.u8(lane);
    return anyToken;
  }
  replace<S extends LaneShape>(shape: S, _vector: V128, lane: number, _value: LaneValue<S>): V128;
  replace(shape: LaneShape, _vector: V128, lane: number): V128 {
    // The lane's value is pushed after the vector by argument order; only the immediate is written here.
    if (lane >= 16 >> LANE_LOG2[shape]) throw new RangeError(`${shape} has no lane ${lane}`);
    this.#op(op.REPLACE[shape]);
    this.w.u8(lane);
    return anyToken;
  }
}
export interface V128Ops
  extends Unary<typeof op.V128_UNARY, V128>,
    Binary<typeof op.V128_BINARY, V128>,
    Compare<Record<never, never>, V128> {}
export interface V128Ops extends VectorShifts, VectorTests, VectorTernary {}
type VectorShifts = { [K in keyof typeof op.V128_SHIFT]: (vector: V128, count: I32) => V128 };
/** `bitselect`: bits of `left` where `mask` is one, of `right` elsewhere. */
type VectorTernary = { [K in keyof typeof op.V128_TERNARY]: (left: V128, right: V128, mask: V128) => V128 };
type VectorTests = { [K in keyof typeof op.V128_TEST]: (vector: V128) => I32 };
prefixed(V128Ops, op.PREFIX.vector, {
  ...op.V128_TERNARY,
  ...op.V128_UNARY,
  ...op.V128_BINARY,
  ...op.V128_SHIFT,
  ...op.V128_TEST,
});

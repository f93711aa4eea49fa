/**
 * What the exact binary32 and binary64 routines share: the formats, the MXCSR bits, and a builder whose methods emit the usual tests.
 *
 * Every value is an i64 holding the encoding (binary32 zero-extended). Inside a routine a finite non-zero number is a sign, a biased
 * exponent that may be zero or negative, and a significand with its leading one at bit 62: the ten (or 39) bits below the format's
 * last place are guard bits, the lowest of which is sticky.
 */
import type { FuncRef, FunctionBuilder, GlobalRef, I32, I64, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { CPU } from '../state.ts';

/** Exception flags of MXCSR; the masks are the same bits 7 places up (SDM vol. 1 §10.2.3). */
export const FloatFlag = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 16, PE: 32 } as const;
/** The other fields of MXCSR. */
export const Mxcsr = {
  DAZ: 1 << 6,
  IM: 1 << 7,
  DM: 1 << 8,
  ZM: 1 << 9,
  OM: 1 << 10,
  UM: 1 << 11,
  PM: 1 << 12,
  RC: 3 << 13,
  FTZ: 1 << 15,
} as const;
/** Values of MXCSR.RC. */
export const Rounding = { Nearest: 0, Down: 1, Up: 2, Truncate: 3 } as const;

export type FloatFormat = {
  readonly name: 'f16' | 'f32' | 'f64';
  /** Bits of the stored fraction. */
  readonly fraction: bigint;
  readonly exponentMax: bigint;
  readonly bias: bigint;
  readonly sign: bigint;
  readonly infinity: bigint;
  readonly quiet: bigint;
};

const format = (name: FloatFormat['name'], fraction: bigint, exponent: bigint): FloatFormat => ({
  name,
  fraction,
  exponentMax: (1n << exponent) - 1n,
  bias: (1n << (exponent - 1n)) - 1n,
  sign: 1n << (fraction + exponent),
  infinity: ((1n << exponent) - 1n) << fraction,
  quiet: 1n << (fraction - 1n),
});
export const F16_FORMAT: FloatFormat = format('f16', 10n, 5n);
export const F32_FORMAT: FloatFormat = format('f32', 23n, 8n);
export const F64_FORMAT: FloatFormat = format('f64', 52n, 11n);

export type Unary = FuncRef<[I64], I64>;
export type Binary = FuncRef<[I64, I64], I64>;
export type Ternary = FuncRef<[I64, I64, I64], I64>;

/** Where routines are built: the module, the processor state's address, and the flags raised since the last `float_commit`. */
export type FloatModule = {
  readonly module: ModuleBuilder;
  readonly cpu: GlobalRef<I32>;
  readonly raised: GlobalRef<I32>;
};

/** A routine on i64 arguments being built, in one format. */
export class FloatRoutine {
  readonly f: FunctionBuilder;
  readonly fmt: FloatFormat;
  readonly #home: FloatModule;

  constructor(home: FloatModule, fmt: FloatFormat, name: string, params: number) {
    this.#home = home;
    this.fmt = fmt;
    this.f = home.module.function(name, new Array<'i64'>(params).fill('i64'), ['i64']);
  }

  param(n: number): Local<I64> {
    return this.f.param(n, 'i64');
  }
  local(value?: () => I64): Local<I64> {
    const local = this.f.local('i64');
    if (value) this.f.set(local, value());
    return local;
  }
  ref<P extends readonly I64[]>(): FuncRef<P, I64> {
    return this.f.ref<P, I64>();
  }

  mxcsr(): I32 {
    return this.f.i32.load(this.f.globalGet(this.#home.cpu), CPU.offset.mxcsr);
  }
  /** Non-zero if MXCSR has any of `bits`. */
  control(bits: number): I32 {
    return this.f.i32.and(this.mxcsr(), this.f.i32.const(bits));
  }
  rounding(): I32 {
    const { i32 } = this.f;
    return i32.and(i32.shr_u(this.mxcsr(), i32.const(13)), i32.const(3));
  }
  raise(flags: number): void {
    const { f } = this;
    f.globalSet(this.#home.raised, f.i32.or(f.globalGet(this.#home.raised), f.i32.const(flags)));
  }

  const(value: bigint): I64 {
    return this.f.i64.const(value);
  }
  get(local: Local<I64>): I64 {
    return this.f.get(local);
  }
  set(local: Local<I64>, value: I64): void {
    this.f.set(local, value);
  }

  abs(a: Local<I64>): I64 {
    return this.f.i64.and(this.get(a), this.const(this.fmt.sign - 1n));
  }
  sign(a: Local<I64>): I64 {
    return this.f.i64.and(this.get(a), this.const(this.fmt.sign));
  }
  isNaN(a: Local<I64>): I32 {
    return this.f.i64.gt_u(this.abs(a), this.const(this.fmt.infinity));
  }
  isSignaling(a: Local<I64>): I32 {
    const { f } = this;
    return f.i32.and(this.isNaN(a), f.i64.eqz(f.i64.and(this.get(a), this.const(this.fmt.quiet))));
  }
  isInfinite(a: Local<I64>): I32 {
    return this.f.i64.eq(this.abs(a), this.const(this.fmt.infinity));
  }
  isZero(a: Local<I64>): I32 {
    return this.f.i64.eqz(this.abs(a));
  }
  isDenormal(a: Local<I64>): I32 {
    const { i64 } = this.f;
    return i64.lt_u(i64.sub(this.abs(a), this.const(1n)), this.const((1n << this.fmt.fraction) - 1n));
  }

  /** MXCSR.DAZ: denormal operands count as zeros of their sign, without DE (SDM vol. 1 §10.2.3.4). */
  denormalsAreZero(...operands: readonly Local<I64>[]): void {
    this.f.if(this.control(Mxcsr.DAZ), () => {
      for (const a of operands) this.f.if(this.isDenormal(a), () => this.set(a, this.sign(a)));
    });
  }
  raiseDenormal(...operands: readonly Local<I64>[]): void {
    for (const a of operands) this.f.if(this.isDenormal(a), () => this.raise(FloatFlag.DE));
  }
  /** The real indefinite (SDM vol. 1 §4.8.3.7), raising IE. */
  invalid(): void {
    this.raise(FloatFlag.IE);
    this.f.return(this.const(this.fmt.sign | this.fmt.infinity | this.fmt.quiet));
  }
}

/**
 * Vocabulary of the generated x87 routines.
 *
 * An 80-bit value travels as two WebAssembly values: `sig: i64`, the significand with its explicit integer bit, and `se: i32`,
 * sign (bit 15) and biased exponent (bits 0–14). Bit 16 of an *operand's* `se` (`NARROW_DENORMAL`) says that it was widened
 * from a denormal single or double, whose widened form no longer shows it. A routine that yields an 80-bit value returns `sig`
 * and leaves `se` in `CPU.helper[0]`. Exceptions (IE DE ZE OE UE PE, and SF and C1, at their places in the status word) collect
 * in `CPU.helper[1]`; the stack routines clear it first and commit it to the status word last.
 */
import type { FuncRef, FunctionBuilder, GlobalRef, I32, I64, Local, ModuleBuilder, ValTypeName } from '@tsvisor/wasm-codegen';
import { CPU } from '../state.ts';

/** Status word (SDM vol. 1 §8.1.3). */
export const Fsw = {
  IE: 1 << 0,
  DE: 1 << 1,
  ZE: 1 << 2,
  OE: 1 << 3,
  UE: 1 << 4,
  PE: 1 << 5,
  SF: 1 << 6,
  ES: 1 << 7,
  C0: 1 << 8,
  C1: 1 << 9,
  C2: 1 << 10,
  C3: 1 << 14,
  B: 1 << 15,
} as const;
/** The six exceptions, which the low six control word bits mask. */
export const EXCEPTIONS = 0x3f;
/** Detected before the operation: unmasked, they leave destination and stack alone (SDM vol. 1 §8.5). */
export const PRE_OPERATION = Fsw.IE | Fsw.DE | Fsw.ZE;
/** Control word: rounding (bits 10–11) and precision (bits 8–9). */
export const Rounding = { Nearest: 0, Down: 1, Up: 2, Zero: 3 } as const;

export const EXP_MASK = 0x7fff;
export const SIGN = 0x8000;
export const BIAS = 0x3fff;
export const NARROW_DENORMAL = 0x10000;
export const INTEGER_BIT = 1n << 63n;
export const QUIET_BIT = 1n << 62n;
/** The default NaN, "real indefinite" (SDM vol. 1, table 4-3). */
export const DEFAULT_NAN = { sig: 3n << 62n, se: 0xffff } as const;
/** What an unmasked overflow or underflow adds to or takes from the exponent (SDM vol. 1 §8.5.4). */
export const WRAP = 24576;

const SE = CPU.offset.helper;
const EXC = CPU.offset.helper + 8;
const SECOND = CPU.offset.helper + 16;
const THIRD = CPU.offset.helper + 24;

/** A function under construction with short names for what every routine says often. */
export class Num {
  readonly f: FunctionBuilder;
  readonly cpu: GlobalRef<I32>;

  constructor(f: FunctionBuilder, cpu: GlobalRef<I32>) {
    this.f = f;
    this.cpu = cpu;
  }

  g<T extends I32 | I64>(local: Local<T>): T {
    return this.f.get(local) as T;
  }
  c(value: number): I32 {
    return this.f.i32.const(value);
  }
  k(value: number | bigint): I64 {
    return this.f.i64.const(value);
  }
  i32(value: I32): Local<I32> {
    const local = this.f.local('i32');
    this.f.set(local, value);
    return local;
  }
  i64(value: I64): Local<I64> {
    const local = this.f.local('i64');
    this.f.set(local, value);
    return local;
  }
  base(): I32 {
    return this.f.globalGet(this.cpu);
  }
  field(name: 'fcw' | 'fsw' | 'ftop' | 'fempty'): I32 {
    return this.f.i32.load(this.base(), CPU.offset[name]);
  }
  setField(name: 'fcw' | 'fsw' | 'ftop' | 'fempty', value: () => I32): void {
    this.f.i32.store(this.base(), value(), CPU.offset[name]);
  }

  /** Second result of a routine: sign and exponent. */
  se(): I32 {
    return this.f.i32.load(this.base(), SE);
  }
  setSe(value: () => I32): void {
    this.f.i32.store(this.base(), value(), SE);
  }
  /** Further result words. */
  second(): I64 {
    return this.f.i64.load(this.base(), SECOND);
  }
  setSecond(value: () => I64): void {
    this.f.i64.store(this.base(), value(), SECOND);
  }
  third(): I64 {
    return this.f.i64.load(this.base(), THIRD);
  }
  setThird(value: () => I64): void {
    this.f.i64.store(this.base(), value(), THIRD);
  }

  exceptions(): I32 {
    return this.f.i32.load(this.base(), EXC);
  }
  clearExceptions(): void {
    this.f.i32.store(this.base(), this.c(0), EXC);
  }
  keepExceptions(flags: number): void {
    this.f.i32.store(this.base(), this.f.i32.and(this.exceptions(), this.c(flags)), EXC);
  }
  raise(flags: number): void {
    this.raiseValue(() => this.c(flags));
  }
  raiseValue(flags: () => I32): void {
    const { i32 } = this.f;
    i32.store(this.base(), i32.or(this.exceptions(), flags()), EXC);
  }

  /** Returns an 80-bit constant. */
  returnConst(sig: bigint, se: number): void {
    this.setSe(() => this.c(se));
    this.f.return(this.k(sig));
  }
  returnValue(sig: () => I64, se: () => I32): void {
    this.setSe(se);
    this.f.return(sig());
  }
  /** IE and the default NaN. */
  returnInvalid(): void {
    this.raise(Fsw.IE);
    this.returnConst(DEFAULT_NAN.sig, DEFAULT_NAN.se);
  }

  exponent(se: Local<I32>): I32 {
    return this.f.i32.and(this.g(se), this.c(EXP_MASK));
  }
  sign(se: Local<I32>): I32 {
    return this.f.i32.and(this.g(se), this.c(SIGN));
  }
  /** The exponent field is 1…0x7ffe and the integer bit is set. */
  isNormal(sig: Local<I64>, se: Local<I32>): I32 {
    const { i32, i64 } = this.f;
    const inRange = i32.lt_u(i32.sub(this.exponent(se), this.c(1)), this.c(EXP_MASK - 1));
    const normal = i32.and(inRange, i64.lt_s(this.g(sig), this.k(0)));
    return i32.and(normal, i32.eqz(i32.and(this.g(se), this.c(NARROW_DENORMAL))));
  }
  isZero(sig: Local<I64>, se: Local<I32>): I32 {
    const { i32, i64 } = this.f;
    return i32.and(i32.eqz(this.exponent(se)), i64.eqz(this.g(sig)));
  }
  isDenormal(sig: Local<I64>, se: Local<I32>): I32 {
    const { i32, i64 } = this.f;
    const wide = i32.and(i32.eqz(this.exponent(se)), i64.ne(this.g(sig), this.k(0)));
    return i32.or(wide, i32.ne(i32.and(this.g(se), this.c(NARROW_DENORMAL)), this.c(0)));
  }
  isInfinite(sig: Local<I64>, se: Local<I32>): I32 {
    const { i32, i64 } = this.f;
    return i32.and(i32.eq(this.exponent(se), this.c(EXP_MASK)), i64.eq(this.g(sig), this.k(INTEGER_BIT)));
  }
  /** Shifts a denormal's significand up; `exp` becomes what it would be with an unbounded range. Zero is left alone. */
  normalise(sig: Local<I64>, exp: Local<I32>): void {
    const { f } = this;
    const { i32, i64 } = f;
    f.if(i32.and(i32.eqz(this.g(exp)), i64.ne(this.g(sig), this.k(0))), () => {
      f.set(exp, i32.sub(this.c(1), i32.wrap_i64(i64.clz(this.g(sig)))));
      f.set(sig, i64.shl(this.g(sig), i64.clz(this.g(sig))));
    });
  }
  raiseDenormal(sig: Local<I64>, se: Local<I32>): void {
    this.f.if(this.isDenormal(sig, se), () => this.raise(Fsw.DE));
  }
  bool64(value: I32): I64 {
    return this.f.i64.extend_i32_u(value);
  }
  neg32(value: () => I32): I32 {
    return this.f.i32.sub(this.c(0), value());
  }

  /** 64 × 64 → 128 bits. The operands may be the results' locals. */
  multiply(a: Local<I64>, b: Local<I64>, hi: Local<I64>, lo: Local<I64>): void {
    const { f } = this;
    const { i64 } = f;
    const low = (v: Local<I64>) => i64.and(this.g(v), this.k(0xffff_ffff));
    const high = (v: Local<I64>) => i64.shr_u(this.g(v), this.k(32));
    const ll = this.i64(i64.mul(low(a), low(b)));
    const lh = this.i64(i64.mul(low(a), high(b)));
    const hl = this.i64(i64.mul(high(a), low(b)));
    const hh = this.i64(i64.mul(high(a), high(b)));
    // lh + high(ll) cannot carry; nor can low(hl) be added to it without room.
    const mid = this.i64(i64.add(this.g(lh), high(ll)));
    const mid2 = this.i64(i64.add(this.g(hl), low(mid)));
    f.set(lo, i64.or(i64.shl(this.g(mid2), this.k(32)), low(ll)));
    f.set(hi, i64.add(i64.add(this.g(hh), high(mid)), high(mid2)));
  }
}

/** The kit's short names, usable without `this`. */
export function bound(n: Num): Pick<Num, 'f' | 'c' | 'k' | 'g'> {
  return { f: n.f, c: (v) => n.c(v), k: (v) => n.k(v), g: (l) => n.g(l) };
}

export type Binary = FuncRef<[I64, I32, I64, I32], I64>;
export type Unary = FuncRef<[I64, I32], I64>;

/** Collects routines: each is defined once, by name, and may call those defined before it. */
export class Routines {
  readonly module: ModuleBuilder;
  readonly cpu: GlobalRef<I32>;
  readonly map = new Map<string, FuncRef<never, unknown>>();

  constructor(module: ModuleBuilder, cpu: GlobalRef<I32>) {
    this.module = module;
    this.cpu = cpu;
  }

  define(
    name: string,
    params: readonly ValTypeName[],
    results: readonly ValTypeName[],
    body: (n: Num) => void,
  ): FuncRef<never, unknown> {
    const f = this.module.function(name, params, results);
    body(new Num(f, this.cpu));
    const ref = f.ref<never, unknown>();
    this.map.set(name, ref);
    return ref;
  }

  get<T>(name: string): T {
    const ref = this.map.get(name);
    if (!ref) throw new Error(`no routine ${name}`);
    return ref as T;
  }
}

/** Exact add, subtract, multiply, divide, square root, minimum, maximum and comparison (SDM vol. 1 §4.9, §11.5). */
import type { FuncRef, I64, Local } from '@tsvisor/wasm-codegen';
import type { Binary, FloatFormat, FloatModule, Ternary, Unary } from './float-format.ts';
import { F64_FORMAT, FloatFlag, FloatRoutine, Mxcsr, Rounding } from './float-format.ts';

/** Routines that do not depend on the format. */
export type SharedParts = { readonly jam: Binary; readonly mulHigh: Binary };
/** Routines of one format that the operations call. */
export type FormatParts = SharedParts & {
  readonly exponent: Unary;
  readonly significand: Unary;
  readonly nan: Binary;
  /** (sign bit in place, biased exponent, significand with its leading one at bit 62) → the rounded encoding. */
  readonly pack: Ternary;
};

/** Shifts right by any count; ones that fall out stick to bit 0. */
function jamRoutine(home: FloatModule): Binary {
  const r = new FloatRoutine(home, F64_FORMAT, 'sig_jam', 2);
  const { f } = r;
  const { i64 } = f;
  const [value, count] = [r.param(0), r.param(1)];
  f.if(i64.eqz(f.get(count)), () => f.return(f.get(value)));
  f.if(i64.gt_u(f.get(count), i64.const(63)), () => f.return(i64.extend_i32_u(i64.ne(f.get(value), i64.const(0)))));
  const lost = i64.shl(f.get(value), i64.sub(i64.const(64), f.get(count)));
  i64.or(i64.extend_i32_u(i64.ne(lost, i64.const(0))), i64.shr_u(f.get(value), f.get(count)));
  return r.ref();
}

/** High 64 bits of a 128-bit unsigned product. */
export function productHigh(r: FloatRoutine, a: Local<I64>, b: Local<I64>): I64 {
  const { f } = r;
  const { i64 } = f;
  const low = (v: Local<I64>) => i64.and(f.get(v), i64.const(0xffff_ffff));
  const high = (v: Local<I64>) => i64.shr_u(f.get(v), i64.const(32));
  const t = r.local(() => i64.mul(low(a), low(b)));
  const middle = r.local(() => i64.add(i64.mul(high(a), low(b)), high(t)));
  f.set(t, i64.add(i64.mul(low(a), high(b)), low(middle)));
  return i64.add(i64.add(i64.mul(high(a), high(b)), high(middle)), high(t));
}

/** The same with a non-zero low half sticking to bit 0. */
function mulHighRoutine(home: FloatModule): Binary {
  const r = new FloatRoutine(home, F64_FORMAT, 'mul_high', 2);
  const { f } = r;
  const { i64 } = f;
  const [a, b] = [r.param(0), r.param(1)];
  const top = productHigh(r, a, b);
  i64.or(top, i64.extend_i32_u(i64.ne(i64.mul(f.get(a), f.get(b)), i64.const(0))));
  return r.ref();
}

export function sharedParts(home: FloatModule): SharedParts {
  return { jam: jamRoutine(home), mulHigh: mulHighRoutine(home) };
}

/** Biased exponent as if the number were normal; of a zero, meaningless. */
function exponentRoutine(home: FloatModule, fmt: FloatFormat): Unary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_exponent`, 1);
  const { f } = r;
  const { i64 } = f;
  const e = r.local(() => i64.and(i64.shr_u(f.get(r.param(0)), r.const(fmt.fraction)), r.const(fmt.exponentMax)));
  f.if(i64.ne(f.get(e), i64.const(0)), () => f.return(f.get(e)));
  i64.sub(r.const(64n - fmt.fraction), i64.clz(r.abs(r.param(0))));
  return r.ref();
}

function significandRoutine(home: FloatModule, fmt: FloatFormat): Unary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_significand`, 1);
  const { f } = r;
  const { i64 } = f;
  const a = r.local(() => r.abs(r.param(0)));
  f.if(i64.lt_u(f.get(a), r.const(1n << fmt.fraction)), () =>
    f.return(i64.shl(f.get(a), i64.sub(i64.clz(f.get(a)), i64.const(1)))),
  );
  const fraction = i64.and(f.get(a), r.const((1n << fmt.fraction) - 1n));
  i64.shl(i64.or(fraction, r.const(1n << fmt.fraction)), r.const(62n - fmt.fraction));
  return r.ref();
}

/** Result of an operation with a NaN: the first operand's if it is one, else the second's, quieted (SDM vol. 1, table 4-7). */
function nanRoutine(home: FloatModule, fmt: FloatFormat): Binary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_nan`, 2);
  const { f } = r;
  const [a, b] = [r.param(0), r.param(1)];
  f.if(f.i32.or(r.isSignaling(a), r.isSignaling(b)), () => r.raise(FloatFlag.IE));
  f.i64.or(f.select(f.get(a), f.get(b), r.isNaN(a)), r.const(fmt.quiet));
  return r.ref();
}

function packRoutine(home: FloatModule, fmt: FloatFormat, { jam }: SharedParts): Ternary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_pack`, 3);
  const { f } = r;
  const { i32, i64 } = f;
  const [sign, exponent, significand] = [r.param(0), r.param(1), r.param(2)];
  const guardBits = 62n - fmt.fraction;
  const mask = (1n << guardBits) - 1n;
  const half = 1n << (guardBits - 1n);
  const rounding = f.local('i32');
  f.set(rounding, r.rounding());
  const is = (mode: number) => i32.eq(f.get(rounding), i32.const(mode));
  // Directed rounding adds all guard bits when it points away from zero.
  const increment = r.local();
  f.if(
    is(Rounding.Nearest),
    () => f.set(increment, r.const(half)),
    () => {
      const away = () => f.select(is(Rounding.Up), is(Rounding.Down), i64.eqz(f.get(sign)));
      f.set(increment, f.select(r.const(mask), r.const(0n), away()));
    },
  );
  const tiny = f.local('i32');
  f.if(i64.le_s(f.get(exponent), i64.const(0)), () => {
    // Tininess is detected after rounding to unbounded exponents (SDM vol. 1 §4.9.1.5).
    const carries = i64.lt_s(i64.add(f.get(significand), f.get(increment)), i64.const(0));
    f.set(tiny, i32.eqz(i32.and(i64.eqz(f.get(exponent)), carries)));
    f.if(f.get(tiny), () => {
      f.if(
        r.control(Mxcsr.UM),
        () =>
          f.if(r.control(Mxcsr.FTZ), () => {
            r.raise(FloatFlag.UE | FloatFlag.PE);
            f.return(f.get(sign));
          }),
        () => {
          // Unmasked, the result is discarded, and PE tells of rounding to an unbounded exponent (SDM vol. 1 §4.9.1.5).
          r.raise(FloatFlag.UE);
          f.if(i64.ne(i64.and(f.get(significand), r.const(mask)), i64.const(0)), () => r.raise(FloatFlag.PE));
          f.return(f.get(sign));
        },
      );
    });
    f.set(significand, f.call(jam, f.get(significand), i64.sub(i64.const(1), f.get(exponent))));
    f.set(exponent, i64.const(1));
  });
  const guard = r.local(() => i64.and(f.get(significand), r.const(mask)));
  f.if(i64.ne(f.get(guard), i64.const(0)), () => {
    r.raise(FloatFlag.PE);
    f.if(f.get(tiny), () => r.raise(FloatFlag.UE));
  });
  f.set(significand, i64.shr_u(i64.add(f.get(significand), f.get(increment)), r.const(guardBits)));
  f.if(i32.and(is(Rounding.Nearest), i64.eq(f.get(guard), r.const(half))), () =>
    f.set(significand, i64.and(f.get(significand), i64.const(-2))),
  );
  // The significand's leading one adds one to the exponent field, a carry out of rounding another.
  const rank = i64.add(i64.sub(f.get(exponent), i64.const(1)), i64.shr_u(f.get(significand), r.const(fmt.fraction)));
  f.if(i64.ge_s(rank, r.const(fmt.exponentMax)), () => {
    r.raise(FloatFlag.OE);
    // The masked response is inexact by itself; unmasked, PE only tells of rounding (SDM vol. 1 §4.9.1.4).
    f.if(r.control(Mxcsr.OM), () => r.raise(FloatFlag.PE));
    const toInfinity = () => i32.or(is(Rounding.Nearest), i64.ne(f.get(increment), i64.const(0)));
    f.return(i64.or(f.get(sign), i64.sub(r.const(fmt.infinity), i64.extend_i32_u(i32.eqz(toInfinity())))));
  });
  const scaled = i64.shl(i64.sub(f.get(exponent), i64.const(1)), r.const(fmt.fraction));
  i64.or(i64.add(scaled, f.get(significand)), f.get(sign));
  return r.ref();
}

export function formatParts(home: FloatModule, fmt: FloatFormat, shared: SharedParts): FormatParts {
  return {
    ...shared,
    exponent: exponentRoutine(home, fmt),
    significand: significandRoutine(home, fmt),
    nan: nanRoutine(home, fmt),
    pack: packRoutine(home, fmt, shared),
  };
}

/** Starts a two-operand routine: DAZ applied, NaNs returned. */
function binary(home: FloatModule, fmt: FloatFormat, parts: FormatParts, name: string): [FloatRoutine, Local<I64>, Local<I64>] {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_${name}`, 2);
  const { f } = r;
  const [a, b] = [r.param(0), r.param(1)];
  r.denormalsAreZero(a, b);
  f.if(f.i32.or(r.isNaN(a), r.isNaN(b)), () => f.return(f.call(parts.nan, f.get(a), f.get(b))));
  return [r, a, b];
}

const packed = (r: FloatRoutine, p: FormatParts, a: Local<I64>): I64 =>
  r.f.call(p.pack, r.sign(a), r.f.call(p.exponent, r.get(a)), r.f.call(p.significand, r.get(a)));

export function addRoutine(home: FloatModule, fmt: FloatFormat, parts: FormatParts): Binary {
  const [r, a, b] = binary(home, fmt, parts, 'add');
  const { f } = r;
  const { i32, i64 } = f;
  const signsDiffer = () => i64.ne(r.sign(a), r.sign(b));
  const zero = () => f.select(r.const(fmt.sign), r.const(0n), i32.eq(r.rounding(), i32.const(Rounding.Down)));
  r.raiseDenormal(a, b);
  f.if(r.isInfinite(a), () => {
    f.if(i32.and(r.isInfinite(b), signsDiffer()), () => r.invalid());
    f.return(f.get(a));
  });
  f.if(r.isInfinite(b), () => f.return(f.get(b)));
  f.if(r.isZero(a), () => {
    f.if(r.isZero(b), () => {
      f.if(signsDiffer(), () => f.return(zero()));
      f.return(f.get(a));
    });
    f.return(packed(r, parts, b));
  });
  f.if(r.isZero(b), () => f.return(packed(r, parts, a)));
  f.if(i64.lt_u(r.abs(a), r.abs(b)), () => {
    const smaller = r.local(() => f.get(a));
    f.set(a, f.get(b));
    f.set(b, f.get(smaller));
  });
  const exponent = r.local(() => f.call(parts.exponent, f.get(a)));
  const distance = () => i64.sub(f.get(exponent), f.call(parts.exponent, f.get(b)));
  const sum = r.local(() => f.call(parts.significand, f.get(a)));
  const addend = r.local(() => f.call(parts.jam, f.call(parts.significand, f.get(b)), distance()));
  f.if(
    signsDiffer(),
    () => {
      f.set(sum, i64.sub(f.get(sum), f.get(addend)));
      f.if(i64.eqz(f.get(sum)), () => f.return(zero()));
      f.set(addend, i64.sub(i64.clz(f.get(sum)), i64.const(1)));
      f.set(sum, i64.shl(f.get(sum), f.get(addend)));
      f.set(exponent, i64.sub(f.get(exponent), f.get(addend)));
    },
    () => {
      f.set(sum, i64.add(f.get(sum), f.get(addend)));
      carryOut(r, sum, exponent);
    },
  );
  f.call(parts.pack, r.sign(a), f.get(exponent), f.get(sum));
  return r.ref();
}

/** Moves a leading one at bit 63 back to bit 62. */
function carryOut(r: FloatRoutine, significand: Local<I64>, exponent: Local<I64>): void {
  const { f } = r;
  const { i64 } = f;
  f.if(i64.lt_s(f.get(significand), i64.const(0)), () => {
    const sticky = i64.and(f.get(significand), i64.const(1));
    f.set(significand, i64.or(sticky, i64.shr_u(f.get(significand), i64.const(1))));
    f.set(exponent, i64.add(f.get(exponent), i64.const(1)));
  });
}

export function subRoutine(home: FloatModule, fmt: FloatFormat, add: Binary): Binary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_sub`, 2);
  const { f } = r;
  const b = r.param(1);
  // A NaN subtrahend is propagated with its own sign.
  f.if(f.i32.eqz(r.isNaN(b)), () => f.set(b, f.i64.xor(f.get(b), r.const(fmt.sign))));
  f.call(add, f.get(r.param(0)), f.get(b));
  return r.ref();
}

export function mulRoutine(home: FloatModule, fmt: FloatFormat, parts: FormatParts): Binary {
  const [r, a, b] = binary(home, fmt, parts, 'mul');
  const { f } = r;
  const { i32, i64 } = f;
  const sign = r.local(() => i64.and(i64.xor(f.get(a), f.get(b)), r.const(fmt.sign)));
  const either = (test: (v: Local<I64>) => ReturnType<FloatRoutine['isZero']>) => i32.or(test(a), test(b));
  f.if(
    i32.and(
      either((v) => r.isInfinite(v)),
      either((v) => r.isZero(v)),
    ),
    () => r.invalid(),
  );
  r.raiseDenormal(a, b);
  f.if(
    either((v) => r.isInfinite(v)),
    () => f.return(i64.or(f.get(sign), r.const(fmt.infinity))),
  );
  f.if(
    either((v) => r.isZero(v)),
    () => f.return(f.get(sign)),
  );
  const exponents = i64.add(f.call(parts.exponent, f.get(a)), f.call(parts.exponent, f.get(b)));
  const exponent = r.local();
  f.set(exponent, i64.sub(exponents, r.const(fmt.bias)));
  const doubled = (v: Local<I64>) => i64.shl(f.call(parts.significand, f.get(v)), i64.const(1));
  const product = r.local(() => f.call(parts.mulHigh, doubled(a), doubled(b)));
  carryOut(r, product, exponent);
  f.call(parts.pack, f.get(sign), f.get(exponent), f.get(product));
  return r.ref();
}

export function divRoutine(home: FloatModule, fmt: FloatFormat, parts: FormatParts): Binary {
  const [r, a, b] = binary(home, fmt, parts, 'div');
  const { f } = r;
  const { i32, i64 } = f;
  const sign = r.local(() => i64.and(i64.xor(f.get(a), f.get(b)), r.const(fmt.sign)));
  f.if(i32.or(i32.and(r.isInfinite(a), r.isInfinite(b)), i32.and(r.isZero(a), r.isZero(b))), () => r.invalid());
  f.if(i32.and(r.isZero(b), i32.eqz(r.isInfinite(a))), () => {
    // Division by zero outranks a denormal dividend (SDM vol. 1 §4.9.2).
    r.raise(FloatFlag.ZE);
    f.return(i64.or(f.get(sign), r.const(fmt.infinity)));
  });
  r.raiseDenormal(a, b);
  f.if(r.isInfinite(a), () => f.return(i64.or(f.get(sign), r.const(fmt.infinity))));
  f.if(i32.or(r.isZero(a), r.isInfinite(b)), () => f.return(f.get(sign)));
  const exponents = i64.sub(f.call(parts.exponent, f.get(a)), f.call(parts.exponent, f.get(b)));
  const exponent = r.local();
  f.set(exponent, i64.add(exponents, r.const(fmt.bias)));
  // 53-bit significands: eleven quotient bits per 64-bit division, 56 in all.
  const short = (v: Local<I64>) => i64.shr_u(f.call(parts.significand, f.get(v)), i64.const(10));
  const rest = r.local(() => short(a));
  const divisor = r.local(() => short(b));
  f.if(i64.lt_u(f.get(rest), f.get(divisor)), () => {
    f.set(rest, i64.shl(f.get(rest), i64.const(1)));
    f.set(exponent, i64.sub(f.get(exponent), i64.const(1)));
  });
  const quotient = r.local(() => i64.const(1));
  f.set(rest, i64.sub(f.get(rest), f.get(divisor)));
  for (let digit = 0; digit < 5; digit++) {
    f.set(rest, i64.shl(f.get(rest), i64.const(11)));
    f.set(quotient, i64.or(i64.shl(f.get(quotient), i64.const(11)), i64.div_u(f.get(rest), f.get(divisor))));
    f.set(rest, i64.rem_u(f.get(rest), f.get(divisor)));
  }
  const sticky = () => i64.extend_i32_u(i64.ne(f.get(rest), i64.const(0)));
  f.call(parts.pack, f.get(sign), f.get(exponent), i64.or(i64.shl(f.get(quotient), i64.const(7)), sticky()));
  return r.ref();
}

export function sqrtRoutine(home: FloatModule, fmt: FloatFormat, parts: FormatParts): Unary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_sqrt`, 1);
  const { f } = r;
  const { i64 } = f;
  const a = r.param(0);
  r.denormalsAreZero(a);
  f.if(r.isNaN(a), () => f.return(f.call(parts.nan, f.get(a), f.get(a))));
  f.if(r.isZero(a), () => f.return(f.get(a)));
  f.if(i64.ne(r.sign(a), i64.const(0)), () => r.invalid());
  r.raiseDenormal(a);
  f.if(r.isInfinite(a), () => f.return(f.get(a)));
  const exponent = r.local(() => i64.sub(f.call(parts.exponent, f.get(a)), r.const(fmt.bias)));
  // The radicand in [1, 4) at an even exponent, its 54 bits at the top of a word; one bit of the root per two of it.
  const radicand = r.local();
  const odd = () => i64.and(f.get(exponent), i64.const(1));
  f.set(radicand, i64.shl(f.call(parts.significand, f.get(a)), odd()));
  const rest = r.local();
  const root = r.local();
  const trial = r.local();
  const count = r.local(() => i64.const(56));
  f.loop((again) => {
    f.set(rest, i64.or(i64.shl(f.get(rest), i64.const(2)), i64.shr_u(f.get(radicand), i64.const(62))));
    f.set(radicand, i64.shl(f.get(radicand), i64.const(2)));
    f.set(trial, i64.or(i64.shl(f.get(root), i64.const(2)), i64.const(1)));
    f.set(root, i64.shl(f.get(root), i64.const(1)));
    f.if(i64.ge_u(f.get(rest), f.get(trial)), () => {
      f.set(rest, i64.sub(f.get(rest), f.get(trial)));
      f.set(root, i64.or(f.get(root), i64.const(1)));
    });
    f.set(count, i64.sub(f.get(count), i64.const(1)));
    f.brIf(again, i64.ne(f.get(count), i64.const(0)));
  });
  const sticky = () => i64.extend_i32_u(i64.ne(f.get(rest), i64.const(0)));
  const halved = () => i64.add(i64.shr_s(f.get(exponent), i64.const(1)), r.const(fmt.bias));
  f.call(parts.pack, r.const(0n), halved(), i64.or(i64.shl(f.get(root), i64.const(7)), sticky()));
  return r.ref();
}

/** a < b, or equal, of two numbers that are not NaN, by the native instruction. */
export function nativeCompare(
  r: FloatRoutine,
  op: 'lt' | 'gt' | 'eq',
  a: Local<I64>,
  b: Local<I64>,
): ReturnType<FloatRoutine['isZero']> {
  const { f } = r;
  if (r.fmt.name === 'f64') return f.f64[op](f.f64.reinterpret_i64(f.get(a)), f.f64.reinterpret_i64(f.get(b)));
  const float = (v: Local<I64>) => f.f32.reinterpret_i32(f.i32.wrap_i64(f.get(v)));
  return f.f32[op](float(a), float(b));
}

/** MINSS and MAXSS: the second operand unless the first is strictly less (greater); any NaN is invalid (SDM vol. 2B, MINSD). */
export function minMaxRoutine(home: FloatModule, fmt: FloatFormat, name: 'min' | 'max'): Binary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_${name}`, 2);
  const { f } = r;
  const [a, b] = [r.param(0), r.param(1)];
  r.denormalsAreZero(a, b);
  f.if(f.i32.or(r.isNaN(a), r.isNaN(b)), () => {
    r.raise(FloatFlag.IE);
    f.return(f.get(b));
  });
  r.raiseDenormal(a, b);
  f.select(f.get(a), f.get(b), nativeCompare(r, name === 'min' ? 'lt' : 'gt', a, b));
  return r.ref();
}

/** How two numbers compare, as the compare routines say it: bit 0 is COMISD's CF, bit 1 set alone its ZF. */
export const Ordering = { Greater: 0, Less: 1, Equal: 2, Unordered: 3 } as const;

/** (a, b, any NaN is invalid) → {@link Ordering}. */
export function compareRoutine(home: FloatModule, fmt: FloatFormat): Ternary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_compare`, 3);
  const { f } = r;
  const { i32, i64 } = f;
  const [a, b, signaling] = [r.param(0), r.param(1), r.param(2)];
  r.denormalsAreZero(a, b);
  f.if(i32.or(r.isNaN(a), r.isNaN(b)), () => {
    f.if(i32.or(i64.ne(f.get(signaling), i64.const(0)), i32.or(r.isSignaling(a), r.isSignaling(b))), () => r.raise(FloatFlag.IE));
    f.return(i64.const(Ordering.Unordered));
  });
  r.raiseDenormal(a, b);
  const less = nativeCompare(r, 'lt', a, b);
  i64.extend_i32_u(i32.or(less, i32.shl(nativeCompare(r, 'eq', a, b), i32.const(1))));
  return r.ref();
}

/** (a, b, predicate 0–31) → all ones or zero in the format's width (SDM vol. 2A, CMPPD, tables 3-1 and 3-5). */
export function predicateRoutine(home: FloatModule, fmt: FloatFormat, compare: FuncRef<[I64, I64, I64], I64>): Ternary {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_predicate`, 3);
  const { f } = r;
  const { i32, i64 } = f;
  const predicate = r.param(2);
  const low = () => i32.and(i32.wrap_i64(f.get(predicate)), i32.const(3));
  // LT, LE and their negations are signaling: predicate bits 1:0 are 1 or 2. Bit 4 turns that around.
  const signaling = () => {
    const ordered = i64.shr_u(i64.const(0b0110), i64.extend_i32_u(low()));
    return i64.and(i64.xor(ordered, i64.shr_u(f.get(predicate), i64.const(4))), i64.const(1));
  };
  const order = r.local(() => f.call(compare, f.get(r.param(0)), f.get(r.param(1)), signaling()));
  // Bit n of each nibble: the predicate holds for ordering n. EQ {2}, LT {1}, LE {1, 2}, UNORD {3}; with bit 3 the first two and
  // LE hold for unordered operands as well, and the fourth never does.
  const nibble = () => i32.or(low(), i32.and(i32.shr_u(i32.wrap_i64(f.get(predicate)), i32.const(1)), i32.const(4)));
  const sets = i32.shr_u(i32.const(0x0eac_8624), i32.shl(nibble(), i32.const(2)));
  const holds = i32.shr_u(sets, i32.wrap_i64(f.get(order)));
  const negated = i32.xor(holds, i32.shr_u(i32.wrap_i64(f.get(predicate)), i32.const(2)));
  const all = i64.extend_i32_s(i32.shr_s(i32.shl(negated, i32.const(31)), i32.const(31)));
  i64.and(all, r.const((fmt.sign << 1n) - 1n));
  return r.ref();
}

/** Fused multiply-add: a product of full length, a sum, and one rounding (SDM vol. 1 §14.5.2). */
import type { F64, FuncRef, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { FormatParts } from './float-arithmetic.ts';
import { productHigh } from './float-arithmetic.ts';
import type { FloatFormat, FloatModule } from './float-format.ts';
import { FloatFlag, FloatRoutine, Rounding } from './float-format.ts';

/** Bits of the last argument. */
export const Fused = { NegateProduct: 1, NegateAddend: 2 } as const;

/** MXCSR's rounding, masks and PE when native arithmetic is exact: to nearest, all masked, PE already set (semantics/sse-float.ts). */
const NATIVE_FIELDS = 0xffe0;
const NATIVE = 0x1fa0;

type Double = Local<F64>;

/** f64 arithmetic in a routine, on locals. */
class Doubles {
  readonly #r: FloatRoutine;
  constructor(r: FloatRoutine) {
    this.#r = r;
  }
  local(value?: () => F64): Double {
    const local = this.#r.f.local('f64');
    if (value) this.#r.f.set(local, value());
    return local;
  }
  /** The rounded sum and what it lacks (Knuth's TwoSum, exact barring overflow). */
  sum(a: Double, b: Double): readonly [sum: Double, error: Double] {
    const { f } = this.#r;
    const { f64 } = f;
    const s = this.local(() => f64.add(f.get(a), f.get(b)));
    const t = this.local(() => f64.sub(f.get(s), f.get(a)));
    const rest = f64.sub(f.get(a), f64.sub(f.get(s), f.get(t)));
    const error = this.local(() => f64.add(rest, f64.sub(f.get(b), f.get(t))));
    return [s, error];
  }
  /** Two numbers of 26 bits that make up a (Veltkamp's splitting). */
  #split(a: Double): readonly [high: Double, low: Double] {
    const { f } = this.#r;
    const { f64 } = f;
    const c = this.local(() => f64.mul(f.get(a), f64.const(2 ** 27 + 1)));
    const high = this.local(() => f64.sub(f.get(c), f64.sub(f.get(c), f.get(a))));
    return [high, this.local(() => f64.sub(f.get(a), f.get(high)))];
  }
  /** The rounded product and what it lacks (Dekker's product, exact barring overflow and underflow). */
  product(a: Double, b: Double): readonly [product: Double, error: Double] {
    const { f } = this.#r;
    const { f64 } = f;
    const p = this.local(() => f64.mul(f.get(a), f.get(b)));
    const [ah, al] = this.#split(a);
    const [bh, bl] = this.#split(b);
    const times = (x: Double, y: Double): F64 => f64.mul(f.get(x), f.get(y));
    const top = f64.sub(times(ah, bh), f.get(p));
    const middle = f64.add(f64.add(top, times(ah, bl)), times(al, bh));
    return [p, this.local(() => f64.add(middle, times(al, bl)))];
  }
  /**
   * a + b rounded to odd: what is inexact gets an odd last bit, so that rounding once more, to two bits fewer at least, is right (Boldo and
   * Melquiond, "Emulation of FMA and correctly rounded sums", IEEE Transactions on Computers 57, 2008).
   */
  oddSum(a: Double, b: Double): Double {
    const { f } = this.#r;
    const { i64, i32, f64 } = f;
    const [s, error] = this.sum(a, b);
    const bits = this.#r.local(() => i64.reinterpret_f64(f.get(s)));
    const zero = (): F64 => f64.const(0);
    const inexact = i32.and(f64.ne(f.get(error), zero()), i64.eqz(i64.and(f.get(bits), i64.const(1))));
    f.if(inexact, () => {
      const away = (): I32 => i32.eq(f64.gt(f.get(error), zero()), f64.gt(f.get(s), zero()));
      f.set(bits, i64.add(f.get(bits), f.select(i64.const(1), i64.const(-1), away())));
    });
    return this.local(() => f64.reinterpret_i64(f.get(bits)));
  }
}

/** Returns the result if it can be had from native operations, whatever MXCSR's masks, without another flag than PE. */
function tryNative(r: FloatRoutine, a: Local<I64>, b: Local<I64>, c: Local<I64>, control: Local<I64>): void {
  const { f, fmt } = r;
  const { i64, i32, f64 } = f;
  const d = new Doubles(r);
  const wide = fmt.name === 'f64';
  const number = (v: Local<I64>): F64 =>
    wide ? f64.reinterpret_i64(f.get(v)) : f64.promote_f32(f.f32.reinterpret_i32(i32.wrap_i64(f.get(v))));
  const signed = (v: Local<I64>, bit: 1 | 2): Double => {
    const up = (wide ? 63 : 31) - (bit >> 1);
    const flipped = r.local(() => i64.xor(f.get(v), i64.shl(i64.and(f.get(control), i64.const(bit)), i64.const(up))));
    return d.local(() => number(flipped));
  };
  f.if(i32.eq(i32.and(r.mxcsr(), i32.const(NATIVE_FIELDS)), i32.const(NATIVE)), () => {
    const x = signed(a, Fused.NegateProduct);
    const y = d.local(() => number(b));
    const z = signed(c, Fused.NegateAddend);
    // Magnitudes within which nothing below overflows or loses bits at the bottom, and no operand is denormal. NaN is not within.
    const within = (v: Double, least: number, most: number): I32 =>
      i32.and(f64.ge(f64.abs(f.get(v)), f64.const(least)), f64.le(f64.abs(f.get(v)), f64.const(most)));
    if (wide) {
      const factors = i32.and(within(x, 2 ** -450, 2 ** 450), within(y, 2 ** -450, 2 ** 450));
      f.if(i32.and(factors, within(z, 2 ** -900, 2 ** 1000)), () => {
        const [uh, ul] = d.product(x, y);
        const [th, tl] = d.sum(z, ul);
        const [vh, vl] = d.sum(uh, th);
        const rest = d.oddSum(tl, vl);
        const result = d.local(() => f64.add(f.get(vh), f.get(rest)));
        f.if(within(result, 2 ** -1000, 2 ** 1020), () => f.return(i64.reinterpret_f64(f.get(result))));
      });
    } else {
      const least = 2 ** -126;
      const most = (2 - 2 ** -23) * 2 ** 127;
      const factors = i32.and(within(x, least, most), within(y, least, most));
      f.if(i32.and(factors, within(z, least, most)), () => {
        const p = d.local(() => f64.mul(f.get(x), f.get(y)));
        const result = d.oddSum(p, z);
        f.if(within(result, least, most), () => f.return(i64.extend_i32_u(i32.reinterpret_f32(f.f32.demote_f64(f.get(result))))));
      });
    }
  });
}

/** (a, b, c, {@link Fused} bits) → ±a·b ± c. */
export function fusedRoutine(home: FloatModule, fmt: FloatFormat, parts: FormatParts): FuncRef<[I64, I64, I64, I64], I64> {
  const r = new FloatRoutine(home, fmt, `${fmt.name}_fma`, 4);
  const { f } = r;
  const { i32, i64 } = f;
  const [a, b, c, control] = [r.param(0), r.param(1), r.param(2), r.param(3)];
  tryNative(r, a, b, c, control);
  r.denormalsAreZero(a, b, c);
  const either = (test: (v: Local<I64>) => I32): I32 => i32.or(test(a), test(b));
  const isNaN = (v: Local<I64>): I32 => r.isNaN(v);
  const zeroTimesInfinity = (): I32 =>
    i32.and(
      either((v) => r.isInfinite(v)),
      either((v) => r.isZero(v)),
    );
  f.if(i32.or(either(isNaN), r.isNaN(c)), () => {
    f.if(
      i32.or(
        either((v) => r.isSignaling(v)),
        r.isSignaling(c),
      ),
      () => r.raise(FloatFlag.IE),
    );
    for (const v of [a, b, c]) f.if(r.isNaN(v), () => f.return(i64.or(f.get(v), r.const(fmt.quiet))));
  });
  f.if(zeroTimesInfinity(), () => r.invalid());
  const flip = (bit: number): I64 =>
    f.select(r.const(fmt.sign), i64.const(0), i32.and(i32.wrap_i64(f.get(control)), i32.const(bit)));
  f.set(a, i64.xor(f.get(a), flip(Fused.NegateProduct)));
  f.set(c, i64.xor(f.get(c), flip(Fused.NegateAddend)));
  const sign = r.local(() => i64.and(i64.xor(f.get(a), f.get(b)), r.const(fmt.sign)));
  const signsDiffer = (): I32 => i64.ne(f.get(sign), r.sign(c));
  f.if(
    either((v) => r.isInfinite(v)),
    () => {
      f.if(i32.and(r.isInfinite(c), signsDiffer()), () => r.invalid());
      r.raiseDenormal(a, b, c);
      f.return(i64.or(f.get(sign), r.const(fmt.infinity)));
    },
  );
  r.raiseDenormal(a, b, c);
  f.if(r.isInfinite(c), () => f.return(f.get(c)));
  const zero = (): I64 => f.select(r.const(fmt.sign), r.const(0n), i32.eq(r.rounding(), i32.const(Rounding.Down)));
  f.if(
    either((v) => r.isZero(v)),
    () => {
      f.if(r.isZero(c), () => {
        f.if(signsDiffer(), () => f.return(zero()));
        f.return(f.get(c));
      });
      f.return(f.call(parts.pack, r.sign(c), f.call(parts.exponent, f.get(c)), f.call(parts.significand, f.get(c))));
    },
  );

  // The product, 128 bits with its leading one at bit 126.
  const exponent = r.local();
  const sum = i64.add(f.call(parts.exponent, f.get(a)), f.call(parts.exponent, f.get(b)));
  f.set(exponent, i64.sub(sum, r.const(fmt.bias)));
  const [x, y] = [a, b].map((v) => r.local(() => i64.shl(f.call(parts.significand, f.get(v)), i64.const(1))));
  const hi = r.local();
  f.set(hi, productHigh(r, x, y));
  const lo = r.local(() => i64.mul(f.get(x), f.get(y)));
  const w = new Wide(r);
  f.if(i64.lt_s(f.get(hi), i64.const(0)), () => {
    w.shiftRight(
      hi,
      lo,
      r.local(() => i64.const(1)),
    );
    f.set(exponent, i64.add(f.get(exponent), i64.const(1)));
  });
  const packed = (): I64 =>
    f.call(parts.pack, f.get(sign), f.get(exponent), i64.or(f.get(hi), i64.extend_i32_u(i64.ne(f.get(lo), i64.const(0)))));
  f.if(r.isZero(c), () => f.return(packed()));

  // The addend in the same form; whichever is smaller moves down.
  const addHi = r.local(() => f.call(parts.significand, f.get(c)));
  const addLo = r.local(() => i64.const(0));
  const distance = r.local(() => f.call(parts.exponent, f.get(c)));
  f.set(distance, i64.sub(f.get(exponent), f.get(distance)));
  f.if(
    i64.lt_s(f.get(distance), i64.const(0)),
    () => {
      f.set(exponent, i64.sub(f.get(exponent), f.get(distance)));
      f.set(distance, i64.sub(i64.const(0), f.get(distance)));
      w.shiftRight(hi, lo, distance);
    },
    () => w.shiftRight(addHi, addLo, distance),
  );
  f.if(
    signsDiffer(),
    () => {
      w.subtract(hi, lo, addHi, addLo);
      f.if(i64.lt_s(f.get(hi), i64.const(0)), () => {
        w.negate(hi, lo);
        f.set(sign, i64.xor(f.get(sign), r.const(fmt.sign)));
      });
      f.if(i64.eqz(i64.or(f.get(hi), f.get(lo))), () => f.return(zero()));
    },
    () => w.add(hi, lo, addHi, addLo),
  );
  w.normalise(hi, lo, exponent);
  packed();
  return r.ref();
}

/** 128-bit numbers in pairs of locals. */
class Wide {
  readonly #r: FloatRoutine;
  constructor(r: FloatRoutine) {
    this.#r = r;
  }

  #sticky(lost: I64): I64 {
    const { i64 } = this.#r.f;
    return i64.extend_i32_u(i64.ne(lost, i64.const(0)));
  }

  /** By any count from 0 on; ones that fall out stick to bit 0. */
  shiftRight(hi: Local<I64>, lo: Local<I64>, count: Local<I64>): void {
    const { f } = this.#r;
    const { i64 } = f;
    f.if(i64.gt_u(f.get(count), i64.const(63)), () => {
      const lost = this.#sticky(f.get(lo));
      f.set(lo, i64.or(lost, f.get(hi)));
      f.set(hi, i64.const(0));
      f.set(count, i64.sub(f.get(count), i64.const(64)));
      f.if(i64.gt_u(f.get(count), i64.const(63)), () => {
        f.set(lo, this.#sticky(f.get(lo)));
        f.set(count, i64.const(0));
      });
    });
    f.if(i64.ne(f.get(count), i64.const(0)), () => {
      const left = (v: Local<I64>): I64 => i64.shl(f.get(v), i64.sub(i64.const(64), f.get(count)));
      const lost = this.#sticky(left(lo));
      f.set(lo, i64.or(lost, i64.or(left(hi), i64.shr_u(f.get(lo), f.get(count)))));
      f.set(hi, i64.shr_u(f.get(hi), f.get(count)));
    });
  }

  add(hi: Local<I64>, lo: Local<I64>, addHi: Local<I64>, addLo: Local<I64>): void {
    const { f } = this.#r;
    const { i64 } = f;
    f.set(lo, i64.add(f.get(lo), f.get(addLo)));
    const carry = i64.extend_i32_u(i64.lt_u(f.get(lo), f.get(addLo)));
    f.set(hi, i64.add(i64.add(carry, f.get(hi)), f.get(addHi)));
  }

  subtract(hi: Local<I64>, lo: Local<I64>, subHi: Local<I64>, subLo: Local<I64>): void {
    const { f } = this.#r;
    const { i64 } = f;
    const borrow = this.#r.local(() => i64.extend_i32_u(i64.lt_u(f.get(lo), f.get(subLo))));
    f.set(lo, i64.sub(f.get(lo), f.get(subLo)));
    f.set(hi, i64.sub(i64.sub(f.get(hi), f.get(subHi)), f.get(borrow)));
  }

  negate(hi: Local<I64>, lo: Local<I64>): void {
    const { f } = this.#r;
    const { i64 } = f;
    f.set(lo, i64.sub(i64.const(0), f.get(lo)));
    const flipped = i64.xor(f.get(hi), i64.const(-1));
    f.set(hi, i64.add(flipped, i64.extend_i32_u(i64.eqz(f.get(lo)))));
  }

  /** Moves the leading one to bit 126 and keeps the value; not of zero. */
  normalise(hi: Local<I64>, lo: Local<I64>, exponent: Local<I64>): void {
    const { f } = this.#r;
    const { i64 } = f;
    f.if(i64.eqz(f.get(hi)), () => {
      f.set(hi, f.get(lo));
      f.set(lo, i64.const(0));
      f.set(exponent, i64.sub(f.get(exponent), i64.const(64)));
    });
    const count = this.#r.local();
    f.if(
      i64.lt_s(f.get(hi), i64.const(0)),
      () => {
        f.set(count, i64.const(1));
        this.shiftRight(hi, lo, count);
        f.set(exponent, i64.add(f.get(exponent), i64.const(1)));
      },
      () => {
        f.set(count, i64.sub(i64.clz(f.get(hi)), i64.const(1)));
        f.set(exponent, i64.sub(f.get(exponent), f.get(count)));
        // Shifting by 64 would be shifting by none: the bits come from below in two steps.
        const below = i64.shr_u(i64.shr_u(f.get(lo), i64.const(1)), i64.sub(i64.const(63), f.get(count)));
        f.set(hi, i64.or(below, i64.shl(f.get(hi), f.get(count))));
        f.set(lo, i64.shl(f.get(lo), f.get(count)));
      },
    );
  }
}

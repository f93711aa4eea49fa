/**
 * 128-bit fixed point and floating point, which the transcendental functions are computed in.
 *
 * A fraction is two words, hi and lo, worth (hi · 2^64 + lo) / 2^128. A wide number is a fraction whose top bit is set, times
 * 2^E. Routines return hi and leave lo in `second` and, where there is one, E in `se`.
 */
import type { FuncRef, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Num, Routines } from './x87-kit.ts';
import { bound } from './x87-kit.ts';

export type Words = readonly [hi: Local<I64>, lo: Local<I64>];
export type Wide = { readonly hi: Local<I64>; readonly lo: Local<I64>; readonly e: Local<I32> };

type MulHigh = FuncRef<[I64, I64, I64, I64], I64>;
type Shift = FuncRef<[I64, I64, I32], I64>;
type Divide = FuncRef<[I64, I64, I64, I64, I32], I64>;
type Normalise = FuncRef<[I64, I64, I32], I64>;
type Series = FuncRef<[I64, I64], I64>;

export const FRACTION_ONE = 1n << 128n;
const MASK = (1n << 64n) - 1n;

/** Arithmetic on wide values inside a function under construction. */
export class WideMath {
  readonly n: Num;
  readonly #r: Routines;
  constructor(r: Routines, n: Num) {
    this.#r = r;
    this.n = n;
  }
  words(hi: () => I64, lo: () => I64): Words {
    const h = this.n.i64(hi());
    return [h, this.n.i64(lo())];
  }
  constant(value: bigint): Words {
    return this.words(
      () => this.n.k(value >> 64n),
      () => this.n.k(value & MASK),
    );
  }
  /** Product of two fractions, rounded down. */
  multiply(a: Words, b: Words): Words {
    const { n } = this;
    const mul = this.#r.get<MulHigh>('x87.mulHigh');
    return this.words(
      () => n.f.call(mul, n.g(a[0]), n.g(a[1]), n.g(b[0]), n.g(b[1])),
      () => n.second(),
    );
  }
  shiftRight(a: Words, by: () => I32): Words {
    const { n } = this;
    return this.words(
      () => n.f.call(this.#r.get<Shift>('x87.shiftRight'), n.g(a[0]), n.g(a[1]), by()),
      () => n.second(),
    );
  }
  /** The fraction that a wide number below one is. */
  fraction(w: Wide): Words {
    return this.shiftRight([w.hi, w.lo], () => this.n.neg32(() => this.n.g(w.e)));
  }
  /** fraction · 2^e, normalised; zero stays zero. */
  normalise(a: Words, e: () => I32): Wide {
    const { n } = this;
    const hi = n.i64(n.f.call(this.#r.get<Normalise>('x87.normaliseWide'), n.g(a[0]), n.g(a[1]), e()));
    return { hi, lo: n.i64(n.second()), e: n.i32(n.se()) };
  }
  divide(a: Wide, b: Wide): Wide {
    const { n } = this;
    const e = () => n.f.i32.sub(n.g(a.e), n.g(b.e));
    const hi = n.i64(n.f.call(this.#r.get<Divide>('x87.divideWide'), n.g(a.hi), n.g(a.lo), n.g(b.hi), n.g(b.lo), e()));
    return { hi, lo: n.i64(n.second()), e: n.i32(n.se()) };
  }
  series(name: string, z: Words): Words {
    const { n } = this;
    return this.words(
      () => n.f.call(this.#r.get<Series>(name), n.g(z[0]), n.g(z[1])),
      () => n.second(),
    );
  }
  /** 1 - a; of zero the largest fraction, which is right but for the last place. */
  oneMinus(a: Words): Words {
    const { n } = this;
    const { i64 } = n.f;
    const out = this.words(
      () => n.k(0),
      () => n.k(0),
    );
    this.subtractInto(out, a);
    n.f.if(i64.eqz(i64.or(n.g(out[0]), n.g(out[1]))), () => {
      n.f.set(out[0], n.k(-1));
      n.f.set(out[1], n.k(-1));
    });
    return out;
  }
  /** a -= b, modulo 2^128. */
  subtractInto(a: Words, b: Words): void {
    const { n } = this;
    const { i64 } = n.f;
    const borrow = n.i64(n.bool64(i64.lt_u(n.g(a[1]), n.g(b[1]))));
    n.f.set(a[1], i64.sub(n.g(a[1]), n.g(b[1])));
    n.f.set(a[0], i64.sub(i64.sub(n.g(a[0]), n.g(b[0])), n.g(borrow)));
  }
  /** a += b, modulo 2^128. */
  addInto(a: Words, b: Words): void {
    const { n } = this;
    const { i64 } = n.f;
    n.f.set(a[1], i64.add(n.g(a[1]), n.g(b[1])));
    const carry = n.i64(n.bool64(i64.lt_u(n.g(a[1]), n.g(b[1]))));
    n.f.set(a[0], i64.add(i64.add(n.g(a[0]), n.g(b[0])), n.g(carry)));
  }
  /** a ± b by a flag that says minus. */
  addSigned(a: Words, b: Words, minus: () => I32): void {
    this.n.f.if(
      minus(),
      () => this.subtractInto(a, b),
      () => this.addInto(a, b),
    );
  }
  lessThan(a: Words, b: Words): I32 {
    const { n } = this;
    const { i32, i64 } = n.f;
    const below = i64.lt_u(n.g(a[0]), n.g(b[0]));
    const tie = i32.and(i64.eq(n.g(a[0]), n.g(b[0])), i64.lt_u(n.g(a[1]), n.g(b[1])));
    return i32.or(below, tie);
  }
  isZero(a: Words): I32 {
    const { n } = this;
    return n.f.i64.eqz(n.f.i64.or(n.g(a[0]), n.g(a[1])));
  }
  negate(a: Words): void {
    const { n } = this;
    const out = this.words(
      () => n.k(0),
      () => n.k(0),
    );
    this.subtractInto(out, a);
    n.f.set(a[0], n.g(out[0]));
    n.f.set(a[1], n.g(out[1]));
  }
  /** w · (1 + t) for a fraction t. */
  grow(w: Wide, t: Words): Wide {
    const { n } = this;
    const { i32, i64 } = n.f;
    const extra = this.multiply([w.hi, w.lo], t);
    const out = { hi: n.i64(n.g(w.hi)), lo: n.i64(n.g(w.lo)), e: n.i32(n.g(w.e)) };
    this.addInto([out.hi, out.lo], extra);
    n.f.if(i64.lt_u(n.g(out.hi), n.g(w.hi)), () => {
      n.f.set(out.lo, i64.or(i64.shr_u(n.g(out.lo), n.k(1)), i64.shl(n.g(out.hi), n.k(63))));
      n.f.set(out.hi, i64.or(i64.shr_u(n.g(out.hi), n.k(1)), n.k(1n << 63n)));
      n.f.set(out.e, i32.add(n.g(out.e), n.c(1)));
    });
    return out;
  }
  /** w · m for a fraction m of at least a quarter. */
  shrink(w: Wide, m: Words): Wide {
    return this.normalise(this.multiply([w.hi, w.lo], m), () => this.n.g(w.e));
  }
}

const factorial = (n: number): bigint => (n < 2 ? 1n : BigInt(n) * factorial(n - 1));

/** Coefficients of the series, as fractions; each is evaluated as c0 ± z·(c1 ± z·(c2 ± …)). */
const SERIES = {
  /** sin r = r · (1 - z·q), z = r² ≤ 0.62. */
  'x87.sinSeries': { minus: true, terms: Array.from({ length: 16 }, (_, k) => FRACTION_ONE / factorial(2 * k + 3)) },
  /** cos r = 1 - z·q. */
  'x87.cosSeries': { minus: true, terms: Array.from({ length: 17 }, (_, k) => FRACTION_ONE / factorial(2 * k + 2)) },
  /** atan u = u · (1 - z·q), z = u² ≤ 2^-8. */
  'x87.atanSeries': { minus: true, terms: Array.from({ length: 15 }, (_, k) => FRACTION_ONE / BigInt(2 * k + 3)) },
  /** atanh s = s · (1 + z·q), z = s² ≤ 2^-10. */
  'x87.atanhSeries': { minus: false, terms: Array.from({ length: 12 }, (_, k) => FRACTION_ONE / BigInt(2 * k + 3)) },
  /** e^w - 1 = w · (1 + w·q), w ≤ ln 2. */
  'x87.expSeries': { minus: false, terms: Array.from({ length: 30 }, (_, k) => FRACTION_ONE / factorial(k + 2)) },
  /** 1 - e^-w = w · (1 - w·q). */
  'x87.expNegativeSeries': { minus: true, terms: Array.from({ length: 30 }, (_, k) => FRACTION_ONE / factorial(k + 2)) },
} as const;

export function addWide(r: Routines): void {
  r.define('x87.mulHigh', ['i64', 'i64', 'i64', 'i64'], ['i64'], (n) => {
    const { f, g } = bound(n);
    const { i64 } = f;
    const [aHi, aLo, bHi, bLo] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i64'), f.param(3, 'i64')];
    const product = (a: Local<I64>, b: Local<I64>): Words => {
      const [hi, lo] = [f.local('i64'), f.local('i64')];
      n.multiply(a, b, hi, lo);
      return [hi, lo];
    };
    const [hh, hl, lh] = [product(aHi, bHi), product(aHi, bLo), product(aLo, bHi)];
    const [ll] = product(aLo, bLo);
    // The middle column: three words, with up to two carries.
    const sum = n.i64(i64.add(g(hl[1]), g(lh[1])));
    const carry = n.i64(n.bool64(i64.lt_u(g(sum), g(lh[1]))));
    f.set(sum, i64.add(g(sum), g(ll)));
    f.set(carry, i64.add(g(carry), n.bool64(i64.lt_u(g(sum), g(ll)))));
    const w = new WideMath(r, n);
    const zero = n.i64(n.k(0));
    w.addInto(hh, [zero, hl[0]]);
    w.addInto(hh, [zero, lh[0]]);
    w.addInto(hh, [zero, carry]);
    n.setSecond(() => g(hh[1]));
    g(hh[0]);
  });

  r.define('x87.shiftRight', ['i64', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [hi, lo, by] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32')];
    f.if(i32.ge_u(g(by), c(64)), () => {
      f.set(lo, f.select(i64.shr_u(g(hi), n.bool64(i32.sub(g(by), c(64)))), k(0), i32.lt_u(g(by), c(128))));
      n.setSecond(() => g(lo));
      f.return(k(0));
    });
    f.if(i32.eqz(g(by)), () => {
      n.setSecond(() => g(lo));
      f.return(g(hi));
    });
    const s = n.i64(n.bool64(g(by)));
    n.setSecond(() => i64.or(i64.shr_u(g(lo), g(s)), i64.shl(g(hi), i64.sub(k(64), g(s)))));
    i64.shr_u(g(hi), g(s));
  });

  r.define('x87.normaliseWide', ['i64', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [hi, lo, e] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32')];
    f.if(i64.eqz(g(hi)), () => {
      f.set(hi, g(lo));
      f.set(lo, k(0));
      f.set(e, i32.sub(g(e), c(64)));
    });
    const up = n.i64(i64.and(i64.clz(g(hi)), k(63)));
    f.if(i64.ne(g(up), k(0)), () => {
      f.set(hi, i64.or(i64.shl(g(hi), g(up)), i64.shr_u(g(lo), i64.sub(k(64), g(up)))));
      f.set(lo, i64.shl(g(lo), g(up)));
      f.set(e, i32.sub(g(e), i32.wrap_i64(g(up))));
    });
    n.setSecond(() => g(lo));
    n.setSe(() => g(e));
    g(hi);
  });

  /**
   * Quotient of two wide numbers, rounded down: (aHi, aLo, bHi, bLo, Ea - Eb). Two 64-bit digits, each estimated and corrected.
   */
  const divide128 = r.get<FuncRef<[I64, I64, I64], I64>>('x87.divide128');
  r.define('x87.divideWide', ['i64', 'i64', 'i64', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [aHi, aLo, bHi, bLo, e] = [
      f.param(0, 'i64'),
      f.param(1, 'i64'),
      f.param(2, 'i64'),
      f.param(3, 'i64'),
      f.param(4, 'i32'),
    ];
    const w = new WideMath(r, n);
    // Three words, the lowest zero at first; below the divisor after at most one halving.
    const low = n.i64(k(0));
    f.if(i32.eqz(w.lessThan([aHi, aLo], [bHi, bLo])), () => {
      f.set(low, i64.shl(g(aLo), k(63)));
      f.set(aLo, i64.or(i64.shr_u(g(aLo), k(1)), i64.shl(g(aHi), k(63))));
      f.set(aHi, i64.shr_u(g(aHi), k(1)));
      f.set(e, i32.add(g(e), c(1)));
    });
    const digits = [f.local('i64'), f.local('i64')];
    for (const [i, digit] of digits.entries()) {
      // Estimate by the divisor's high word: at most two too large (Knuth, vol. 2, 4.3.1, theorem B).
      f.set(digit, k(-1));
      f.if(i64.lt_u(g(aHi), g(bHi)), () => f.set(digit, f.call(divide128, g(aHi), g(aLo), g(bHi))));
      // remainder = a · 2^64 + low - digit · b, in three words of which the highest is a sign.
      const [p1, p0, q1, q0] = [f.local('i64'), f.local('i64'), f.local('i64'), f.local('i64')];
      n.multiply(digit, bLo, p1, p0);
      n.multiply(digit, bHi, q1, q0);
      w.addInto([q1, q0], [n.i64(k(0)), p1]);
      const r0 = n.i64(i64.sub(g(low), g(p0)));
      const borrow = n.i64(n.bool64(i64.lt_u(g(low), g(p0))));
      const rest = [n.i64(g(aHi)), n.i64(g(aLo))] as const;
      w.subtractInto(rest, [n.i64(k(0)), borrow]);
      w.subtractInto(rest, [q1, q0]);
      f.block((done) => {
        f.loop((again) => {
          f.brIf(done, i64.ge_s(g(rest[0]), k(0)));
          f.set(digit, i64.sub(g(digit), k(1)));
          f.set(r0, i64.add(g(r0), g(bLo)));
          f.set(borrow, n.bool64(i64.lt_u(g(r0), g(bLo))));
          w.addInto(rest, [n.i64(k(0)), borrow]);
          w.addInto(rest, [n.i64(k(0)), bHi]);
          f.br(again);
        });
      });
      if (i === 0) {
        f.set(aHi, g(rest[1]));
        f.set(aLo, g(r0));
        f.set(low, k(0));
      }
    }
    n.setSecond(() => g(digits[1]));
    n.setSe(() => g(e));
    g(digits[0]);
  });

  for (const [name, { minus, terms }] of Object.entries(SERIES))
    r.define(name, ['i64', 'i64'], ['i64'], (n) => {
      const { f, g } = bound(n);
      const z: Words = [f.param(0, 'i64'), f.param(1, 'i64')];
      const w = new WideMath(r, n);
      const sum = w.constant(terms[terms.length - 1]);
      for (let k = terms.length - 2; k >= 0; k--) {
        const product = w.multiply(z, sum);
        f.set(sum[0], n.k(terms[k] >> 64n));
        f.set(sum[1], n.k(terms[k] & MASK));
        if (minus) w.subtractInto(sum, product);
        else w.addInto(sum, product);
      }
      n.setSecond(() => g(sum[1]));
      g(sum[0]);
    });
}

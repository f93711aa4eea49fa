/** Addition, multiplication, division and square root on 80-bit values, rounded to the control word's precision. */
import type { FuncRef, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Routines } from './x87-kit.ts';
import { BIAS, bound, EXP_MASK, Fsw, INTEGER_BIT, Rounding, SIGN } from './x87-kit.ts';

export type RoundPrecision = FuncRef<[I32, I32, I64, I64], I64>;
export type Nan2 = FuncRef<[I64, I32, I64, I32], I32>;
export type Nan1 = FuncRef<[I64, I32], I32>;
/** (high, low, divisor) → quotient; remainder in `second`. */
export type Divide = FuncRef<[I64, I64, I64], I64>;

export function addArithmetic(r: Routines): void {
  addDivide128(r);
  addAdd(r);
  addMultiply(r);
  addDivide(r);
  addSquareRoot(r);
}

/** 128 / 64 → 64 bits, by two 32-bit digits (Knuth, vol. 2, algorithm D). Needs high < divisor and a normalised divisor. */
function addDivide128(r: Routines): void {
  r.define('x87.divide128', ['i64', 'i64', 'i64'], ['i64'], (n) => {
    const { f, k, g } = bound(n);
    const { i64 } = f;
    const [hi, lo, v] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i64')];
    const v1 = n.i64(i64.shr_u(g(v), k(32)));
    const v0 = n.i64(i64.and(g(v), k(0xffff_ffff)));
    const rest = n.i64(g(hi));
    const quotient = n.i64(k(0));
    const [q, m] = [f.local('i64'), f.local('i64')];
    for (const next of [() => i64.shr_u(g(lo), k(32)), () => i64.and(g(lo), k(0xffff_ffff))]) {
      f.set(q, i64.div_u(g(rest), g(v1)));
      f.set(m, i64.sub(g(rest), i64.mul(g(q), g(v1))));
      f.block((done) => {
        f.loop((again) => {
          const digit = i64.lt_u(g(q), k(0x1_0000_0000));
          const fits = i64.le_u(i64.mul(g(q), g(v0)), i64.or(i64.shl(g(m), k(32)), next()));
          f.brIf(done, f.i32.and(digit, fits));
          f.set(q, i64.sub(g(q), k(1)));
          f.set(m, i64.add(g(m), g(v1)));
          f.brIf(again, i64.lt_u(g(m), k(0x1_0000_0000)));
        });
      });
      // Wraps modulo 2^64 to the right remainder.
      f.set(rest, i64.sub(i64.or(i64.shl(g(rest), k(32)), next()), i64.mul(g(q), g(v))));
      f.set(quotient, i64.or(i64.shl(g(quotient), k(32)), g(q)));
    }
    n.setSecond(() => g(rest));
    g(quotient);
  });
}

/** a + b, or a - b with `flip` = 0x8000. */
function addAdd(r: Routines): void {
  const pack = r.get<RoundPrecision>('x87.roundPrecision');
  const nan2 = r.get<Nan2>('x87.nan2');
  r.define('x87.addSigned', ['i64', 'i32', 'i64', 'i32', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [aSig, aSe, bSig, bSe, flip] = [
      f.param(0, 'i64'),
      f.param(1, 'i32'),
      f.param(2, 'i64'),
      f.param(3, 'i32'),
      f.param(4, 'i32'),
    ];
    const aExp = n.i32(n.exponent(aSe));
    const bExp = n.i32(n.exponent(bSe));
    const aSign = n.i32(n.sign(aSe));
    const bSign = n.i32(i32.xor(n.sign(bSe), g(flip)));
    f.if(i32.eqz(i32.and(n.isNormal(aSig, aSe), n.isNormal(bSig, bSe))), () => {
      f.if(f.call(nan2, g(aSig), g(aSe), g(bSig), g(bSe)), () => f.return(n.third()));
      n.raiseDenormal(aSig, aSe);
      n.raiseDenormal(bSig, bSe);
      f.if(i32.eq(g(aExp), c(EXP_MASK)), () => {
        f.if(i32.and(i32.eq(g(bExp), c(EXP_MASK)), i32.ne(g(aSign), g(bSign))), () => n.returnInvalid());
        n.returnValue(
          () => g(aSig),
          () => i32.or(g(aSign), c(EXP_MASK)),
        );
      });
      f.if(i32.eq(g(bExp), c(EXP_MASK)), () =>
        n.returnValue(
          () => g(bSig),
          () => i32.or(g(bSign), c(EXP_MASK)),
        ),
      );
      n.normalise(aSig, aExp);
      n.normalise(bSig, bExp);
      f.if(i64.eqz(g(aSig)), () => {
        f.if(i64.eqz(g(bSig)), () => {
          const down = () => i32.eq(i32.and(n.field('fcw'), c(0xc00)), c(Rounding.Down << 10));
          const zero = n.i32(f.select(c(SIGN), c(0), down()));
          n.returnValue(
            () => k(0),
            () => f.select(g(aSign), g(zero), i32.eq(g(aSign), g(bSign))),
          );
        });
        f.return(f.call(pack, g(bSign), g(bExp), g(bSig), k(0)));
      });
      f.if(i64.eqz(g(bSig)), () => f.return(f.call(pack, g(aSign), g(aExp), g(aSig), k(0))));
    });
    // The larger magnitude first.
    const swap = i32.or(i32.lt_s(g(aExp), g(bExp)), i32.and(i32.eq(g(aExp), g(bExp)), i64.lt_u(g(aSig), g(bSig))));
    f.if(swap, () => {
      for (const [x, y] of [[aSig, bSig]] as const) {
        const t = n.i64(g(x));
        f.set(x, g(y));
        f.set(y, g(t));
      }
      for (const [x, y] of [
        [aExp, bExp],
        [aSign, bSign],
      ] as const) {
        const t = n.i32(g(x));
        f.set(x, g(y));
        f.set(y, g(t));
      }
    });
    const d = n.i64(n.bool64(i32.sub(g(aExp), g(bExp))));
    const [lo, hi] = [n.i64(k(0)), n.i64(g(bSig))];
    f.if(i64.ne(g(d), k(0)), () => {
      f.if(
        i64.lt_u(g(d), k(64)),
        () => {
          f.set(lo, i64.shl(g(hi), i64.sub(k(64), g(d))));
          f.set(hi, i64.shr_u(g(hi), g(d)));
        },
        () => {
          // Below the last place and its rounding bit: jammed into the lowest fraction bit.
          const shifted = n.i64(i64.and(i64.sub(g(d), k(64)), k(63)));
          f.set(shifted, f.select(k(63), g(shifted), i64.gt_u(g(d), k(126))));
          const jam = n.i64(n.bool64(i64.ne(i64.shl(i64.shr_u(g(hi), g(shifted)), g(shifted)), g(hi))));
          f.set(lo, i64.or(i64.shr_u(g(hi), g(shifted)), g(jam)));
          f.set(hi, k(0));
        },
      );
    });
    f.if(
      i32.eq(g(aSign), g(bSign)),
      () => {
        f.set(hi, i64.add(g(aSig), g(hi)));
        f.if(i64.lt_u(g(hi), g(aSig)), () => {
          const jam = n.i64(i64.and(g(lo), k(1)));
          f.set(lo, i64.or(i64.or(i64.shr_u(g(lo), k(1)), i64.shl(g(hi), k(63))), g(jam)));
          f.set(hi, i64.or(i64.shr_u(g(hi), k(1)), k(INTEGER_BIT)));
          f.set(aExp, i32.add(g(aExp), c(1)));
        });
      },
      () => {
        f.set(hi, i64.sub(i64.sub(g(aSig), g(hi)), n.bool64(i64.ne(g(lo), k(0)))));
        f.set(lo, i64.sub(k(0), g(lo)));
        f.if(i64.eqz(i64.or(g(hi), g(lo))), () => {
          const down = () => i32.eq(i32.and(n.field('fcw'), c(0xc00)), c(Rounding.Down << 10));
          const zero = n.i32(f.select(c(SIGN), c(0), down()));
          n.returnValue(
            () => k(0),
            () => g(zero),
          );
        });
        f.if(i64.eqz(g(hi)), () => {
          f.set(hi, g(lo));
          f.set(lo, k(0));
          f.set(aExp, i32.sub(g(aExp), c(64)));
        });
        const up = n.i64(i64.clz(g(hi)));
        f.if(i64.ne(g(up), k(0)), () => {
          f.set(hi, i64.or(i64.shl(g(hi), g(up)), i64.shr_u(g(lo), i64.sub(k(64), g(up)))));
          f.set(lo, i64.shl(g(lo), g(up)));
          f.set(aExp, i32.sub(g(aExp), i32.wrap_i64(g(up))));
        });
      },
    );
    f.call(pack, g(aSign), g(aExp), g(hi), g(lo));
  });
  const add = r.get<FuncRef<[I64, I32, I64, I32, I32], I64>>('x87.addSigned');
  for (const [name, flip] of [
    ['x87.value.add', 0],
    ['x87.value.sub', SIGN],
  ] as const)
    r.define(name, ['i64', 'i32', 'i64', 'i32'], ['i64'], (n) => {
      const { f, c, g } = bound(n);
      f.call(add, g(f.param(0, 'i64')), g(f.param(1, 'i32')), g(f.param(2, 'i64')), g(f.param(3, 'i32')), c(flip));
    });
}

function addMultiply(r: Routines): void {
  const pack = r.get<RoundPrecision>('x87.roundPrecision');
  const nan2 = r.get<Nan2>('x87.nan2');
  r.define('x87.value.mul', ['i64', 'i32', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [aSig, aSe, bSig, bSe] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i32')];
    const aExp = n.i32(n.exponent(aSe));
    const bExp = n.i32(n.exponent(bSe));
    const sign = n.i32(i32.and(i32.xor(g(aSe), g(bSe)), c(SIGN)));
    f.if(i32.eqz(i32.and(n.isNormal(aSig, aSe), n.isNormal(bSig, bSe))), () => {
      f.if(f.call(nan2, g(aSig), g(aSe), g(bSig), g(bSe)), () => f.return(n.third()));
      f.if(i32.or(i32.eq(g(aExp), c(EXP_MASK)), i32.eq(g(bExp), c(EXP_MASK))), () => {
        f.if(i32.or(n.isZero(aSig, aSe), n.isZero(bSig, bSe)), () => n.returnInvalid());
        n.raiseDenormal(aSig, aSe);
        n.raiseDenormal(bSig, bSe);
        n.returnValue(
          () => k(INTEGER_BIT),
          () => i32.or(g(sign), c(EXP_MASK)),
        );
      });
      n.raiseDenormal(aSig, aSe);
      n.raiseDenormal(bSig, bSe);
      f.if(i32.or(i64.eqz(g(aSig)), i64.eqz(g(bSig))), () =>
        n.returnValue(
          () => k(0),
          () => g(sign),
        ),
      );
      n.normalise(aSig, aExp);
      n.normalise(bSig, bExp);
    });
    f.set(aExp, i32.sub(i32.add(g(aExp), g(bExp)), c(BIAS - 1)));
    const [hi, lo] = [f.local('i64'), f.local('i64')];
    n.multiply(aSig, bSig, hi, lo);
    f.if(i64.ge_s(g(hi), k(0)), () => {
      f.set(hi, i64.or(i64.shl(g(hi), k(1)), i64.shr_u(g(lo), k(63))));
      f.set(lo, i64.shl(g(lo), k(1)));
      f.set(aExp, i32.sub(g(aExp), c(1)));
    });
    f.call(pack, g(sign), g(aExp), g(hi), g(lo));
  });
}

function addDivide(r: Routines): void {
  const pack = r.get<RoundPrecision>('x87.roundPrecision');
  const nan2 = r.get<Nan2>('x87.nan2');
  const divide = r.get<Divide>('x87.divide128');
  r.define('x87.value.div', ['i64', 'i32', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [aSig, aSe, bSig, bSe] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i32')];
    const aExp = n.i32(n.exponent(aSe));
    const bExp = n.i32(n.exponent(bSe));
    const sign = n.i32(i32.and(i32.xor(g(aSe), g(bSe)), c(SIGN)));
    f.if(i32.eqz(i32.and(n.isNormal(aSig, aSe), n.isNormal(bSig, bSe))), () => {
      f.if(f.call(nan2, g(aSig), g(aSe), g(bSig), g(bSe)), () => f.return(n.third()));
      f.if(i32.eq(g(aExp), c(EXP_MASK)), () => {
        f.if(i32.eq(g(bExp), c(EXP_MASK)), () => n.returnInvalid());
        n.raiseDenormal(bSig, bSe);
        n.returnValue(
          () => k(INTEGER_BIT),
          () => i32.or(g(sign), c(EXP_MASK)),
        );
      });
      f.if(i32.eq(g(bExp), c(EXP_MASK)), () => {
        n.raiseDenormal(aSig, aSe);
        n.returnValue(
          () => k(0),
          () => g(sign),
        );
      });
      f.if(i64.eqz(g(bSig)), () => {
        f.if(i64.eqz(g(aSig)), () => n.returnInvalid());
        n.raise(Fsw.ZE); // even of a denormal: the division comes first
        n.returnValue(
          () => k(INTEGER_BIT),
          () => i32.or(g(sign), c(EXP_MASK)),
        );
      });
      n.raiseDenormal(aSig, aSe);
      n.raiseDenormal(bSig, bSe);
      f.if(i64.eqz(g(aSig)), () =>
        n.returnValue(
          () => k(0),
          () => g(sign),
        ),
      );
      n.normalise(aSig, aExp);
      n.normalise(bSig, bExp);
    });
    f.set(aExp, i32.add(i32.sub(g(aExp), g(bExp)), c(BIAS - 1)));
    const lo = n.i64(k(0));
    f.if(i64.ge_u(g(aSig), g(bSig)), () => {
      f.set(lo, i64.shl(g(aSig), k(63)));
      f.set(aSig, i64.shr_u(g(aSig), k(1)));
      f.set(aExp, i32.add(g(aExp), c(1)));
    });
    const q = n.i64(f.call(divide, g(aSig), g(lo), g(bSig)));
    const rest = n.i64(n.second());
    // Below, at or above half a divisor: as a fraction that rounds the same way.
    const other = n.i64(i64.sub(g(bSig), g(rest)));
    const above = () => f.select(k(INTEGER_BIT), k(3n * QUARTER), i64.eq(g(rest), g(other)));
    const extra = n.i64(f.select(k(QUARTER), above(), i64.lt_u(g(rest), g(other))));
    f.if(i64.eqz(g(rest)), () => f.set(extra, k(0)));
    f.call(pack, g(sign), g(aExp), g(q), g(extra));
  });
}
const QUARTER = 1n << 62n;

/**
 * Square root by Zimmermann's "Karatsuba square root": the high half by the host's f64 square root, the low half by one
 * division.
 */
function addSquareRoot(r: Routines): void {
  const pack = r.get<RoundPrecision>('x87.roundPrecision');
  const nan1 = r.get<Nan1>('x87.nan1');
  r.define('x87.value.sqrt', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64, f64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const exp = n.i32(n.exponent(se));
    f.if(i32.or(i32.eqz(n.isNormal(sig, se)), n.sign(se)), () => {
      f.if(f.call(nan1, g(sig), g(se)), () => f.return(n.third()));
      f.if(n.isZero(sig, se), () =>
        n.returnValue(
          () => k(0),
          () => n.sign(se),
        ),
      );
      f.if(n.sign(se), () => n.returnInvalid());
      f.if(i32.eq(g(exp), c(EXP_MASK)), () => n.returnConst(INTEGER_BIT, EXP_MASK));
      n.raiseDenormal(sig, se);
      n.normalise(sig, exp);
    });
    // The radicand is a 128-bit integer hi:lo with one of its top two bits set; its root has 64 bits.
    const unbiased = n.i32(i32.sub(g(exp), c(BIAS)));
    const [hi, lo] = [n.i64(g(sig)), n.i64(k(0))];
    f.if(i32.eqz(i32.and(g(unbiased), c(1))), () => {
      f.set(lo, i64.shl(g(sig), k(63)));
      f.set(hi, i64.shr_u(g(sig), k(1)));
    });
    f.set(exp, i32.add(i32.shr_s(g(unbiased), c(1)), c(BIAS)));
    const root = n.i64(i64.trunc_sat_f64_s(f64.sqrt(f64.convert_i64_u(g(hi)))));
    f.set(root, f.select(k(0xffff_ffff), g(root), i64.gt_u(g(root), k(0xffff_ffff))));
    f.if(i64.gt_u(i64.mul(g(root), g(root)), g(hi)), () => f.set(root, i64.sub(g(root), k(1))));
    const rest = n.i64(i64.sub(g(hi), i64.mul(g(root), g(root))));
    // q, u = divmod(rest · 2^32 + next 32 bits, 2 · root), halved so that it fits.
    const next = n.i64(i64.shr_u(g(lo), k(32)));
    const half = n.i64(i64.or(i64.shl(g(rest), k(31)), i64.shr_u(g(next), k(1))));
    const q = n.i64(i64.div_u(g(half), g(root)));
    const u = n.i64(i64.or(i64.shl(i64.rem_u(g(half), g(root)), k(1)), i64.and(g(next), k(1))));
    f.if(i64.gt_u(g(q), k(0xffff_ffff)), () => {
      f.set(q, k(0xffff_ffff));
      f.set(u, i64.add(g(u), i64.shl(g(root), k(1))));
    });
    const s = n.i64(i64.add(i64.shl(g(root), k(32)), g(q)));
    // Remainder: u · 2^32 + low 32 bits - q², signed, in two words.
    const restLow = n.i64(i64.or(i64.shl(g(u), k(32)), i64.and(g(lo), k(0xffff_ffff))));
    const square = n.i64(i64.mul(g(q), g(q)));
    const restHigh = n.i64(i64.sub(i64.shr_u(g(u), k(32)), n.bool64(i64.lt_u(g(restLow), g(square)))));
    f.set(restLow, i64.sub(g(restLow), g(square)));
    f.if(i64.lt_s(g(restHigh), k(0)), () => {
      f.set(s, i64.sub(g(s), k(1)));
      // + 2s + 1
      const twice = n.i64(i64.or(i64.shl(g(s), k(1)), k(1)));
      f.set(restLow, i64.add(g(restLow), g(twice)));
      f.set(restHigh, i64.add(i64.add(g(restHigh), i64.shr_u(g(s), k(63))), n.bool64(i64.lt_u(g(restLow), g(twice)))));
    });
    // (s + ½)² = s² + s + ¼: above half exactly when the remainder exceeds s; never at half.
    const above = () => i32.or(i64.ne(g(restHigh), k(0)), i64.gt_u(g(restLow), g(s)));
    const extra = n.i64(f.select(k(3n * QUARTER), k(QUARTER), above()));
    f.if(i64.eqz(i64.or(g(restHigh), g(restLow))), () => f.set(extra, k(0)));
    f.call(pack, c(0), g(exp), g(s), g(extra));
  });
}

/** F2XM1, FYL2X and FYL2XP1, computed to some 110 bits and rounded once. */
import type { FuncRef, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Nan1, Nan2 } from './x87-arith.ts';
import type { Num, Routines } from './x87-kit.ts';
import { BIAS, bound, EXP_MASK, Fsw, INTEGER_BIT, SIGN } from './x87-kit.ts';
import type { RoundPack } from './x87-round.ts';
import type { RoundWide } from './x87-trig.ts';
import type { Wide } from './x87-wide.ts';
import { WideMath } from './x87-wide.ts';

/** ln 2 and (2 / ln 2) / 4 as fractions. */
const LN2 = 0xb17217f7d1cf79abc9e3b39803f2f6afn;
const TWO_BY_LN2 = 0xb8aa3b295c17f0bbbe87fed0691d3e89n;
/** log2(i / 16) for i = 11 … 23, with 112 bits behind the point. */
const LOG2 = [
  -0x8a62b07f3457c407050799beaaabn,
  -0x6a3fe5c6042978605ff4edf5f974n,
  -0x4caffb8dc3b9a1968925e378d67dn,
  -0x315130157f7a64ccd536fc5bec1an,
  -0x17d60496cfbb4c673b4511f8c2b5n,
  0n,
  0x1663f6fac913167ccc5382614457n,
  0x2b803473f7ad0f3f401624140d17n,
  0x3f782d7204d0144751b3314f09den,
  0x5269e12f346e2bf924afdbfd36bfn,
  0x646eea247c5c22d2cad415ae1a71n,
  0x759d4f80cba83bf8faf866415555n,
  0x86082806b1d532c412ba94db12efn,
];
const FIRST = 11;
/** √2 as a significand. */
const ROOT2 = 0xb504f333f9de6484n;

/** (hi, lo of m in [1, 2) with 127 bits behind the point, e) → wide |log2(m · 2^e)|; `third`: 1 negative, 2 zero, 4 exact. */
type Log = FuncRef<[I64, I64, I32], I64>;

export function addLogarithms(r: Routines): void {
  addExponential(r);
  addLogSeries(r);
  addLogKernel(r);
  addTimes(r);
  addLog(r);
  addLogPlusOne(r);
}

function addExponential(r: Routines): void {
  const nan1 = r.get<Nan1>('x87.nan1');
  const round = r.get<RoundWide>('x87.roundWide');
  r.define('x87.value.2xm1', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const w = new WideMath(r, n);
    const exp = n.i32(n.exponent(se));
    f.if(i32.eqz(n.isNormal(sig, se)), () => {
      f.if(f.call(nan1, g(sig), g(se)), () => f.return(n.third()));
      f.if(i32.eq(g(exp), c(EXP_MASK)), () => {
        // 2^∞ - 1 and 2^-∞ - 1.
        f.if(n.sign(se), () => n.returnConst(INTEGER_BIT, SIGN | BIAS));
        n.returnValue(
          () => g(sig),
          () => g(se),
        );
      });
      f.if(i64.eqz(g(sig)), () =>
        n.returnValue(
          () => g(sig),
          () => g(se),
        ),
      );
      n.raiseDenormal(sig, se);
      n.normalise(sig, exp);
    });
    // PE is reported even for ±1.
    n.raise(Fsw.PE);
    f.if(i32.ge_s(g(exp), c(BIAS)), () => {
      // ±1 is exact; beyond, the result is undefined (SDM vol. 2A, F2XM1): the operand, as on the host's AMD processor.
      f.if(i32.and(i32.eq(g(exp), c(BIAS)), i64.eq(g(sig), k(INTEGER_BIT))), () =>
        n.returnValue(
          () => g(sig),
          () => f.select(c(SIGN | (BIAS - 1)), c(BIAS), n.sign(se)),
        ),
      );
      n.returnValue(
        () => g(sig),
        () => g(se),
      );
    });
    const x: Wide = { hi: sig, lo: n.i64(k(0)), e: n.i32(i32.sub(g(exp), c(BIAS - 1))) };
    const v = w.shrink(x, w.constant(LN2));
    const fraction = w.fraction(v);
    f.if(n.sign(se), () => {
      const out = w.shrink(v, w.oneMinus(w.multiply(fraction, w.series('x87.expNegativeSeries', fraction))));
      f.return(f.call(round, c(SIGN), g(out.hi), g(out.lo), g(out.e)));
    });
    const out = w.grow(v, w.multiply(fraction, w.series('x87.expSeries', fraction)));
    f.call(round, c(0), g(out.hi), g(out.lo), g(out.e));
  });
}

/** (hi, lo, E of a; hi, lo, E of b), a < b: wide (2 / ln 2) · atanh(a / b), which is log2 of (b + a) / (b - a). */
function addLogSeries(r: Routines): void {
  r.define('x87.logSeries', ['i64', 'i64', 'i32', 'i64', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, g } = bound(n);
    const w = new WideMath(r, n);
    const a: Wide = { hi: f.param(0, 'i64'), lo: f.param(1, 'i64'), e: f.param(2, 'i32') };
    const b: Wide = { hi: f.param(3, 'i64'), lo: f.param(4, 'i64'), e: f.param(5, 'i32') };
    const s = w.divide(a, b);
    const fraction = w.fraction(s);
    const z = w.multiply(fraction, fraction);
    const atanh = w.grow(s, w.multiply(z, w.series('x87.atanhSeries', z)));
    const out = w.shrink(atanh, w.constant(TWO_BY_LN2));
    n.setSecond(() => g(out.lo));
    n.setSe(() => f.i32.add(g(out.e), c(2)));
    g(out.hi);
  });
}
type LogSeries = FuncRef<[I64, I64, I32, I64, I64, I32], I64>;

function addLogKernel(r: Routines): void {
  const series = r.get<LogSeries>('x87.logSeries');
  r.define('x87.log2', ['i64', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [hi, lo, e] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32')];
    const w = new WideMath(r, n);
    // m with 126 bits behind the point, between √½ and √2.
    const upper = n.i32(i64.ge_u(g(hi), k(ROOT2)));
    f.set(e, i32.add(g(e), g(upper)));
    const m = w.shiftRight([hi, lo], () => i32.add(c(1), g(upper)));
    const i = n.i64(i64.shr_u(i64.add(g(m[0]), k(1n << 57n)), k(58)));
    const near = w.words(
      () => i64.shl(g(i), k(58)),
      () => k(0),
    );
    const minus = n.i32(w.lessThan(m, near));
    const above = w.words(
      () => g(m[0]),
      () => g(m[1]),
    );
    w.subtractInto(above, near);
    f.if(g(minus), () => w.negate(above));
    const zero = n.i32(w.isZero(above));
    w.addInto(near, m);
    const part = { hi: n.i64(k(0)), lo: n.i64(k(0)), e: n.i32(c(0)) };
    f.if(i32.eqz(g(zero)), () => {
      const [a, b] = [w.normalise(above, () => c(0)), w.normalise(near, () => c(0))];
      f.set(part.hi, f.call(series, g(a.hi), g(a.lo), g(a.e), g(b.hi), g(b.lo), g(b.e)));
      f.set(part.lo, n.second());
      f.set(part.e, n.se());
    });
    // Close to one the sum would lose the precision that the series has.
    const aroundOne = n.i32(i32.and(i64.eq(g(i), k(16)), i32.eqz(g(e))));
    f.if(g(aroundOne), () => {
      n.setSecond(() => g(part.lo));
      n.setSe(() => g(part.e));
      n.setThird(() => i64.or(n.bool64(g(minus)), n.bool64(i32.mul(g(zero), c(6)))));
      f.return(g(part.hi));
    });
    const sum = w.words(
      () => i64.shl(i64.extend_i32_s(g(e)), k(48)),
      () => k(0),
    );
    for (const [at, value] of LOG2.entries())
      if (value !== 0n) f.if(i64.eq(g(i), k(at + FIRST)), () => w.addInto(sum, w.constant(BigInt.asUintN(128, value))));
    w.addSigned(
      sum,
      w.shiftRight([part.hi, part.lo], () => i32.sub(c(16), g(part.e))),
      () => g(minus),
    );
    const negative = n.i32(i64.lt_s(g(sum[0]), k(0)));
    f.if(g(negative), () => w.negate(sum));
    const out = w.normalise(sum, () => c(16));
    const exact = n.i32(i32.and(g(zero), i64.eq(g(i), k(16))));
    n.setThird(() => i64.or(n.bool64(g(negative)), i64.shl(n.bool64(g(exact)), k(2))));
    n.setSecond(() => g(out.lo));
    n.setSe(() => g(out.e));
    g(out.hi);
  });
}

/** (sign, y significand, biased exponent of y, wide hi, lo, E, exact) → y · wide, rounded. */
function addTimes(r: Routines): void {
  const pack = r.get<RoundPack>('x87.roundPack');
  r.define('x87.timesWide', ['i32', 'i64', 'i32', 'i64', 'i64', 'i32', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const w = new WideMath(r, n);
    const x: Wide = { hi: f.param(3, 'i64'), lo: f.param(4, 'i64'), e: f.param(5, 'i32') };
    const product = w.shrink(x, [f.param(1, 'i64'), n.i64(k(0))]);
    f.if(i32.eqz(g(f.param(6, 'i32'))), () => f.set(product.lo, i64.or(g(product.lo), k(1))));
    f.call(pack, g(f.param(0, 'i32')), i32.add(g(f.param(2, 'i32')), g(product.e)), g(product.hi), g(product.lo), c(0));
  });
}
type Times = FuncRef<[I32, I64, I32, I64, I64, I32, I32], I64>;

/** y · L, L being what `x87.log2` just returned in `hi`. */
function finish(r: Routines, n: Num, hi: Local<I64>, ySig: Local<I64>, ySe: Local<I32>, yExp: Local<I32>): I64 {
  const { f, c, k, g } = bound(n);
  const { i32 } = f;
  const [lo, e] = [n.i64(n.second()), n.i32(n.se())];
  const kind = n.i32(i32.wrap_i64(n.third()));
  const sign = n.i32(i32.xor(n.sign(ySe), i32.shl(i32.and(g(kind), c(1)), c(15))));
  f.if(i32.and(g(kind), c(2)), () =>
    n.returnValue(
      () => k(0),
      () => n.sign(ySe),
    ),
  );
  // Processors report PE even where the logarithm is an integer, and UE with it.
  n.raise(Fsw.PE);
  const sig = n.i64(
    f.call(r.get<Times>('x87.timesWide'), g(sign), g(ySig), g(yExp), g(hi), g(lo), g(e), i32.shr_u(g(kind), c(2))),
  );
  f.if(i32.eqz(i32.and(n.se(), c(EXP_MASK))), () => n.raise(Fsw.UE));
  return g(sig);
}

/** y · log2 x: (ySig, ySe, xSig, xSe); special cases as in SDM vol. 2A, FYL2X. */
function addLog(r: Routines): void {
  const nan2 = r.get<Nan2>('x87.nan2');
  const log = r.get<Log>('x87.log2');
  r.define('x87.value.yl2x', ['i64', 'i32', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [ySig, ySe, xSig, xSe] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i32')];
    const [yExp, xExp] = [n.i32(n.exponent(ySe)), n.i32(n.exponent(xSe))];
    f.if(i32.or(i32.eqz(i32.and(n.isNormal(ySig, ySe), n.isNormal(xSig, xSe))), n.sign(xSe)), () => {
      f.if(f.call(nan2, g(ySig), g(ySe), g(xSig), g(xSe)), () => f.return(n.third()));
      const [yZero, yInfinite] = [n.i32(n.isZero(ySig, ySe)), n.i32(i32.eq(g(yExp), c(EXP_MASK)))];
      const infinity = (sign: () => I32) =>
        n.returnValue(
          () => k(INTEGER_BIT),
          () => i32.or(sign(), c(EXP_MASK)),
        );
      const opposite = () => i32.xor(n.sign(ySe), c(SIGN));
      f.if(n.isZero(xSig, xSe), () => {
        f.if(g(yZero), () => n.returnInvalid());
        f.if(g(yInfinite), () => infinity(opposite));
        n.raise(Fsw.ZE); // even with a denormal y: the pole comes first
        infinity(opposite);
      });
      f.if(n.sign(xSe), () => n.returnInvalid());
      f.if(i32.eq(g(xExp), c(EXP_MASK)), () => {
        f.if(g(yZero), () => n.returnInvalid());
        n.raiseDenormal(ySig, ySe);
        infinity(() => n.sign(ySe));
      });
      // From here on x is positive and finite; whether log2 x is negative is decided by its exponent.
      const isOne = () => i32.and(i32.eq(g(xExp), c(BIAS)), i64.eq(g(xSig), k(INTEGER_BIT)));
      f.if(i32.and(g(yInfinite), isOne()), () => n.returnInvalid());
      n.raiseDenormal(ySig, ySe);
      n.raiseDenormal(xSig, xSe);
      const sign = () => f.select(opposite(), n.sign(ySe), i32.lt_s(g(xExp), c(BIAS)));
      f.if(g(yInfinite), () => infinity(sign));
      f.if(g(yZero), () => n.returnValue(() => k(0), sign));
      n.normalise(ySig, yExp);
      n.normalise(xSig, xExp);
    });
    const hi = n.i64(f.call(log, g(xSig), k(0), i32.sub(g(xExp), c(BIAS))));
    finish(r, n, hi, ySig, ySe, yExp);
  });
}

/** y · log2(x + 1): (ySig, ySe, xSig, xSe); special cases as in SDM vol. 2A, FYL2XP1. */
function addLogPlusOne(r: Routines): void {
  const nan2 = r.get<Nan2>('x87.nan2');
  const log = r.get<Log>('x87.log2');
  const series = r.get<LogSeries>('x87.logSeries');
  r.define('x87.value.yl2xp1', ['i64', 'i32', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [ySig, ySe, xSig, xSe] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i32')];
    const w = new WideMath(r, n);
    const [yExp, xExp] = [n.i32(n.exponent(ySe)), n.i32(n.exponent(xSe))];
    const bothSigns = () => i32.xor(n.sign(xSe), n.sign(ySe));
    f.if(i32.eqz(i32.and(n.isNormal(ySig, ySe), n.isNormal(xSig, xSe))), () => {
      f.if(f.call(nan2, g(ySig), g(ySe), g(xSig), g(xSe)), () => f.return(n.third()));
      const [yZero, xZero] = [n.i32(n.isZero(ySig, ySe)), n.i32(n.isZero(xSig, xSe))];
      const [yInfinite, xInfinite] = [n.i32(i32.eq(g(yExp), c(EXP_MASK))), n.i32(i32.eq(g(xExp), c(EXP_MASK)))];
      f.if(i32.and(g(xInfinite), i32.or(g(yZero), i32.ne(n.sign(xSe), c(0)))), () => n.returnInvalid());
      f.if(i32.and(g(yInfinite), g(xZero)), () => n.returnInvalid());
      n.raiseDenormal(ySig, ySe);
      n.raiseDenormal(xSig, xSe);
      f.if(i32.or(g(xInfinite), g(yInfinite)), () =>
        n.returnValue(
          () => k(INTEGER_BIT),
          () => i32.or(bothSigns(), c(EXP_MASK)),
        ),
      );
      f.if(i32.or(g(xZero), g(yZero)), () => n.returnValue(() => k(0), bothSigns));
      n.normalise(ySig, yExp);
      n.normalise(xSig, xExp);
    });
    // x with 126 bits behind the point; what a small x loses here does not matter to x + 2.
    const x = w.shiftRight([xSig, n.i64(k(0))], () => i32.sub(c(BIAS + 1), g(xExp)));
    const hi = f.local('i64');
    f.if(
      i32.lt_s(g(xExp), c(BIAS - 5)),
      () => {
        const two = w.words(
          () => k(INTEGER_BIT),
          () => k(0),
        );
        w.addSigned(two, x, () => n.sign(xSe));
        const b = w.normalise(two, () => c(2));
        f.set(hi, f.call(series, g(xSig), k(0), i32.sub(g(xExp), c(BIAS - 1)), g(b.hi), g(b.lo), g(b.e)));
        n.setThird(() => n.bool64(i32.shr_u(n.sign(xSe), c(15))));
      },
      () => {
        // Outside |x| < 1 - √½ the result is undefined (SDM vol. 2A, FYL2XP1). As on the host's AMD processor it is still the
        // logarithm, and x where there is none.
        f.if(i32.and(i32.ge_s(g(xExp), c(BIAS)), i32.ne(n.sign(xSe), c(0))), () => {
          n.raise(Fsw.PE);
          n.returnValue(
            () => g(xSig),
            () => g(xSe),
          );
        });
        f.if(i32.ge_s(g(xExp), c(BIAS)), () => {
          const big = w.words(
            () => i64.shr_u(g(xSig), k(1)),
            () => i64.shl(g(xSig), k(63)),
          );
          w.addInto(
            big,
            w.shiftRight(w.constant(1n << 126n), () => i32.sub(g(xExp), c(BIAS))),
          );
          const m = w.normalise(big, () => i32.sub(g(xExp), c(BIAS - 2)));
          f.set(hi, f.call(log, g(m.hi), g(m.lo), i32.sub(g(m.e), c(1))));
          n.setThird(() => k(0)); // never exact: x may have hidden the 1
          f.return(finish(r, n, hi, ySig, ySe, yExp));
        });
        const sum = w.words(
          () => k(1n << 62n),
          () => k(0),
        );
        w.addSigned(sum, x, () => n.sign(xSe));
        const m = w.normalise(sum, () => c(2));
        f.set(hi, f.call(log, g(m.hi), g(m.lo), i32.sub(g(m.e), c(1))));
      },
    );
    finish(r, n, hi, ySig, ySe, yExp);
  });
}

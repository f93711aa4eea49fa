/**
 * Sine, cosine, tangent and arctangent. They are computed to some 120 bits and rounded once, so that the result is the nearest
 * value (hardware promises less than one unit in the last place, SDM vol. 1 §8.3.10; the host's AMD processor is off by up to
 * 0.7).
 */
import type { FuncRef, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Nan1, Nan2 } from './x87-arith.ts';
import type { Routines } from './x87-kit.ts';
import { BIAS, bound, EXP_MASK, INTEGER_BIT } from './x87-kit.ts';
import type { RoundPack } from './x87-round.ts';
import type { Wide } from './x87-wide.ts';
import { WideMath } from './x87-wide.ts';

/**
 * π/2 in units of 2^-65. Processors reduce arguments by π cut to 66 bits (SDM vol. 1 §8.3.8), which programs can see; with this
 * unit the reduction is exact.
 */
const HALF_PI = 0x3_243f_6a88_85a3_08d3n;
/** With two bits before the point and 126 behind it. */
const PI_126 = 0xc90fdaa22168c234c4c6628b80dc1cd1n;
/** atan(i / 8) as fractions. */
const ATAN = [
  0n,
  0x1fd5ba9aac2f6dc65912f313e7d111dfn,
  0x3eb6ebf25901bac55b71e7bd7de885f9n,
  0x5bd86507937bc239c55190916e7f2242n,
  0x76b19c1586ed3da2b7f222f65e1d4682n,
  0x8f005d5ef7f59f9b5c835e1665c43748n,
  0xa4bc7d1934f7092419a87f2a457dac9fn,
  0xb8053e2bc2319e73cb2da55210a4443dn,
  0xc90fdaa22168c234c4c6628b80dc1cd1n,
];

/** (sign, hi, lo, E): rounds a wide number that is not exact. */
export type RoundWide = FuncRef<[I32, I64, I64, I32], I64>;
type Reduce = FuncRef<[I64, I32], I64>;
type Kernel = FuncRef<[I64, I64, I32, I32], I64>;

export function addTrigonometry(r: Routines): void {
  addRoundWide(r);
  addReduce(r);
  addKernel(r);
  addSineCosine(r);
  addTangent(r);
  addArctangent(r);
}

function addRoundWide(r: Routines): void {
  const pack = r.get<RoundPack>('x87.roundPack');
  r.define('x87.roundWide', ['i32', 'i64', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k } = bound(n);
    const { i32, i64 } = f;
    const [sign, hi, lo, e] = [f.param(0, 'i32'), f.param(1, 'i64'), f.param(2, 'i64'), f.param(3, 'i32')];
    f.call(pack, f.get(sign), i32.add(f.get(e), c(BIAS - 1)), f.get(hi), i64.or(f.get(lo), k(1)), c(0));
  });
}

/**
 * (significand, biased exponent below BIAS + 63) → wide |x - k·π/2| ≤ π/4; k modulo 4, and 4 if the difference is negative, in
 * `third`.
 */
function addReduce(r: Routines): void {
  r.define('x87.trigReduce', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, exp] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const w = new WideMath(r, n);
    const steps = n.i32(i32.sub(g(exp), c(BIAS - 2)));
    n.setThird(() => k(0));
    f.if(i32.le_s(g(steps), c(0)), () => {
      n.setSecond(() => k(0));
      n.setSe(() => i32.sub(g(exp), c(BIAS - 1)));
      f.return(g(sig));
    });
    const rest = w.words(
      () => k(0),
      () => g(sig),
    );
    const half = w.constant(HALF_PI);
    const quadrant = n.i64(k(0));
    f.loop((again) => {
      f.set(rest[0], i64.or(i64.shl(g(rest[0]), k(1)), i64.shr_u(g(rest[1]), k(63))));
      f.set(rest[1], i64.shl(g(rest[1]), k(1)));
      f.set(quadrant, i64.shl(g(quadrant), k(1)));
      f.if(i32.eqz(w.lessThan(rest, half)), () => {
        w.subtractInto(rest, half);
        f.set(quadrant, i64.add(g(quadrant), k(1)));
      });
      f.set(steps, i32.sub(g(steps), c(1)));
      f.brIf(again, g(steps));
    });
    const other = w.words(
      () => g(half[0]),
      () => g(half[1]),
    );
    w.subtractInto(other, rest);
    const negative = n.i32(w.lessThan(other, rest));
    f.if(g(negative), () => {
      f.set(rest[0], g(other[0]));
      f.set(rest[1], g(other[1]));
      f.set(quadrant, i64.add(g(quadrant), k(1)));
    });
    const fraction = w.words(
      () => i64.or(i64.shl(g(rest[0]), k(63)), i64.shr_u(g(rest[1]), k(1))),
      () => i64.shl(g(rest[1]), k(63)),
    );
    const wide = w.normalise(fraction, () => c(0));
    n.setThird(() => i64.or(i64.and(g(quadrant), k(3)), i64.shl(n.bool64(g(negative)), k(2))));
    n.setSecond(() => g(wide.lo));
    n.setSe(() => g(wide.e));
    g(wide.hi);
  });
}

/** (wide r, cosine) → wide sin r or cos r. */
function addKernel(r: Routines): void {
  r.define('x87.trigKernel', ['i64', 'i64', 'i32', 'i32'], ['i64'], (n) => {
    const { f, c, g } = bound(n);
    const w = new WideMath(r, n);
    const x: Wide = { hi: f.param(0, 'i64'), lo: f.param(1, 'i64'), e: f.param(2, 'i32') };
    const fraction = w.fraction(x);
    const z = w.multiply(fraction, fraction);
    f.if(g(f.param(3, 'i32')), () => {
      const cosine = w.oneMinus(w.multiply(z, w.series('x87.cosSeries', z)));
      n.setSecond(() => g(cosine[1]));
      n.setSe(() => c(0));
      f.return(g(cosine[0]));
    });
    const sine = w.shrink(x, w.oneMinus(w.multiply(z, w.series('x87.sinSeries', z))));
    n.setSecond(() => g(sine.lo));
    n.setSe(() => g(sine.e));
    g(sine.hi);
  });
}

/** Arguments are finite, non-zero and below 2^63 in magnitude, or the special cases that need no reduction. */
function addSineCosine(r: Routines): void {
  const nan1 = r.get<Nan1>('x87.nan1');
  const reduce = r.get<Reduce>('x87.trigReduce');
  const kernel = r.get<Kernel>('x87.trigKernel');
  const round = r.get<RoundWide>('x87.roundWide');
  for (const [name, turn] of [
    ['x87.value.sin', 0],
    ['x87.value.cos', 1],
  ] as const)
    r.define(name, ['i64', 'i32'], ['i64'], (n) => {
      const { f, c, g } = bound(n);
      const { i32, i64 } = f;
      const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
      const exp = n.i32(n.exponent(se));
      f.if(i32.eqz(n.isNormal(sig, se)), () => {
        f.if(f.call(nan1, g(sig), g(se)), () => f.return(n.third()));
        f.if(i32.eq(g(exp), c(EXP_MASK)), () => n.returnInvalid());
        f.if(i64.eqz(g(sig)), () => {
          if (turn === 0)
            n.returnValue(
              () => g(sig),
              () => g(se),
            );
          else n.returnConst(INTEGER_BIT, BIAS);
        });
        n.raiseDenormal(sig, se);
        n.normalise(sig, exp);
      });
      const hi = n.i64(f.call(reduce, g(sig), g(exp)));
      const [lo, e] = [n.i64(n.second()), n.i32(n.se())];
      const quadrant = n.i32(i32.wrap_i64(n.third()));
      const negative = n.i32(i32.shr_u(g(quadrant), c(2)));
      // The cosine is the sine one quadrant on; sin is odd in the remainder, cos is not, and both change sign after two
      // quadrants.
      const turned = n.i32(i32.add(g(quadrant), c(turn)));
      const cosine = n.i32(i32.and(g(turned), c(1)));
      const sign = n.i32(i32.and(i32.shr_u(g(turned), c(1)), c(1)));
      f.if(i32.eqz(g(cosine)), () => f.set(sign, i32.xor(g(sign), g(negative))));
      f.set(sign, i32.shl(g(sign), c(15)));
      if (turn === 0) f.set(sign, i32.xor(g(sign), n.sign(se)));
      f.set(hi, f.call(kernel, g(hi), g(lo), g(e), g(cosine)));
      f.call(round, g(sign), g(hi), n.second(), n.se());
    });
}

function addTangent(r: Routines): void {
  const nan1 = r.get<Nan1>('x87.nan1');
  const reduce = r.get<Reduce>('x87.trigReduce');
  const kernel = r.get<Kernel>('x87.trigKernel');
  const round = r.get<RoundWide>('x87.roundWide');
  r.define('x87.value.tan', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const w = new WideMath(r, n);
    const exp = n.i32(n.exponent(se));
    f.if(i32.eqz(n.isNormal(sig, se)), () => {
      f.if(f.call(nan1, g(sig), g(se)), () => f.return(n.third()));
      f.if(i32.eq(g(exp), c(EXP_MASK)), () => n.returnInvalid());
      f.if(i64.eqz(g(sig)), () =>
        n.returnValue(
          () => g(sig),
          () => g(se),
        ),
      );
      n.raiseDenormal(sig, se);
      n.normalise(sig, exp);
    });
    // x + x³/3 is x and a little more.
    f.if(i32.lt_s(g(exp), c(BIAS - 50)), () => f.return(f.call(round, n.sign(se), g(sig), n.k(0), i32.sub(g(exp), c(BIAS - 1)))));
    const hi = n.i64(f.call(reduce, g(sig), g(exp)));
    const [lo, e] = [n.i64(n.second()), n.i32(n.se())];
    const quadrant = n.i32(i32.wrap_i64(n.third()));
    const odd = n.i32(i32.and(g(quadrant), c(1)));
    const parts = [0, 1].map((cosine): Wide => {
      const top = n.i64(f.call(kernel, g(hi), g(lo), g(e), i32.xor(c(cosine), g(odd))));
      return { hi: top, lo: n.i64(n.second()), e: n.i32(n.se()) };
    });
    // In odd quadrants tan = -cot.
    const negative = n.i32(i32.xor(g(odd), i32.shr_u(g(quadrant), c(2))));
    const sign = n.i32(i32.xor(n.sign(se), i32.shl(g(negative), c(15))));
    const tangent = w.divide(parts[0], parts[1]);
    f.call(round, g(sign), g(tangent.hi), g(tangent.lo), g(tangent.e));
  });
}

/** atan(y / x) in the quadrant of (x, y): (ySig, ySe, xSig, xSe). */
function addArctangent(r: Routines): void {
  const nan2 = r.get<Nan2>('x87.nan2');
  const round = r.get<RoundWide>('x87.roundWide');
  /** (wide numerator, wide denominator; both positive, their quotient at most 1) → wide atan. */
  addAtanKernel(r);
  const kernel = r.get<FuncRef<[I64, I64, I32], I64>>('x87.atanKernel');

  /** (sign, quarters): multiples of π/4, rounded. */
  const multiple = r.define('x87.quarterPi', ['i32', 'i32'], ['i64'], (n) => {
    const { f, c, g } = bound(n);
    const w = new WideMath(r, n);
    const value = w.words(
      () => n.k(0),
      () => n.k(0),
    );
    for (const quarters of [1, 2, 3, 4])
      f.if(f.i32.eq(f.get(f.param(1, 'i32')), c(quarters)), () => {
        const fixed = (PI_126 * BigInt(quarters)) / 4n;
        f.set(value[0], n.k(fixed >> 64n));
        f.set(value[1], n.k(fixed & ((1n << 64n) - 1n)));
      });
    const wide = w.normalise(value, () => c(2));
    f.call(round, f.get(f.param(0, 'i32')), g(wide.hi), g(wide.lo), g(wide.e));
  }) as FuncRef<[I32, I32], I64>;

  r.define('x87.value.atan', ['i64', 'i32', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [ySig, ySe, xSig, xSe] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i32')];
    const w = new WideMath(r, n);
    const [yExp, xExp] = [n.i32(n.exponent(ySe)), n.i32(n.exponent(xSe))];
    const sign = n.i32(n.sign(ySe));
    const left = n.i32(i32.shr_u(n.sign(xSe), c(15)));
    f.if(i32.eqz(i32.and(n.isNormal(ySig, ySe), n.isNormal(xSig, xSe))), () => {
      f.if(f.call(nan2, g(ySig), g(ySe), g(xSig), g(xSe)), () => f.return(n.third()));
      n.raiseDenormal(ySig, ySe);
      n.raiseDenormal(xSig, xSe);
      const quarters = (value: () => I32) => f.return(f.call(multiple, g(sign), value()));
      const [yInfinite, xInfinite] = [n.i32(i32.eq(g(yExp), c(EXP_MASK))), n.i32(i32.eq(g(xExp), c(EXP_MASK)))];
      f.if(g(yInfinite), () => {
        f.if(g(xInfinite), () => quarters(() => i32.add(c(1), i32.shl(g(left), c(1)))));
        quarters(() => c(2));
      });
      // On the x axis: 0 or π, by the sign of x (SDM vol. 2A, FPATAN).
      f.if(i32.or(g(xInfinite), n.isZero(ySig, ySe)), () => {
        f.if(g(left), () => quarters(() => c(4)));
        n.returnValue(
          () => k(0),
          () => g(sign),
        );
      });
      f.if(n.isZero(xSig, xSe), () => quarters(() => c(2)));
      n.normalise(ySig, yExp);
      n.normalise(xSig, xExp);
    });
    // The smaller magnitude over the larger; what was exchanged is made up for by π/2 - a.
    const d = n.i32(i32.sub(g(yExp), g(xExp)));
    const swapped = n.i32(i32.or(i32.gt_s(g(d), c(0)), i32.and(i32.eqz(g(d)), i64.gt_u(g(ySig), g(xSig)))));
    f.if(g(swapped), () => {
      f.set(d, i32.sub(c(0), g(d)));
      const t = n.i64(g(ySig));
      f.set(ySig, g(xSig));
      f.set(xSig, g(t));
    });
    const hi = n.i64(f.call(kernel, g(ySig), g(xSig), g(d)));
    const a: Wide = { hi, lo: n.i64(n.second()), e: n.i32(n.se()) };
    f.if(i32.eqz(i32.or(g(swapped), g(left))), () => f.return(f.call(round, g(sign), g(a.hi), g(a.lo), g(a.e))));
    const angle = w.shiftRight([a.hi, a.lo], () => i32.sub(c(2), g(a.e)));
    for (const [flag, from] of [
      [swapped, PI_126 / 2n],
      [left, PI_126],
    ] as const)
      f.if(g(flag), () => {
        const other = w.constant(from);
        w.subtractInto(other, angle);
        f.set(angle[0], g(other[0]));
        f.set(angle[1], g(other[1]));
      });
    const result = w.normalise(angle, () => c(2));
    f.call(round, g(sign), g(result.hi), g(result.lo), g(result.e));
  });
}

/**
 * (numerator, denominator, exponent difference ≤ 0) → wide atan of the quotient t. atan t = atan(i/8) + atan((t - i/8) / (1 +
 * t·i/8)), with the nearest i; for i = 0 the relative precision of a small t is kept.
 */
function addAtanKernel(r: Routines): void {
  r.define('x87.atanKernel', ['i64', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64, f64 } = f;
    const [y, x, d] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32')];
    const w = new WideMath(r, n);
    const index = n.i64(k(0));
    f.if(i32.gt_s(g(d), c(-6)), () => {
      const ratio = () => f64.div(f64.convert_i64_u(i64.shr_u(g(y), n.bool64(n.neg32(() => g(d))))), f64.convert_i64_u(g(x)));
      f.set(index, i64.trunc_sat_f64_s(f64.add(f64.mul(ratio(), f64.const(8)), f64.const(0.5))));
    });
    const numerator: Wide = { hi: n.i64(g(y)), lo: n.i64(k(0)), e: n.i32(g(d)) };
    const denominator: Wide = { hi: n.i64(g(x)), lo: n.i64(k(0)), e: n.i32(c(0)) };
    const minus = n.i32(c(0));
    const exact = n.i32(c(0));
    f.if(i64.ne(g(index), k(0)), () => {
      // 8·y - i·x over 8·x + i·y, exactly, in units of 2^-8 of the denominator's.
      const ys = w.shiftRight([y, n.i64(k(0))], () => i32.sub(c(8), g(d)));
      const xs = w.shiftRight([x, n.i64(k(0))], () => c(8));
      const times = (v: typeof ys): typeof ys => {
        const [h, l] = [f.local('i64'), f.local('i64')];
        n.multiply(v[1], index, h, l);
        f.set(h, i64.add(g(h), i64.mul(g(v[0]), g(index))));
        return [h, l];
      };
      const eight = (v: typeof ys) =>
        w.words(
          () => i64.or(i64.shl(g(v[0]), k(3)), i64.shr_u(g(v[1]), k(61))),
          () => i64.shl(g(v[1]), k(3)),
        );
      const [above, ix, below, iy] = [eight(ys), times(xs), eight(xs), times(ys)];
      f.set(minus, w.lessThan(above, ix));
      w.subtractInto(above, ix);
      f.if(g(minus), () => w.negate(above));
      w.addInto(below, iy);
      f.set(exact, w.isZero(above));
      const [top, bottom] = [w.normalise(above, () => c(0)), w.normalise(below, () => c(0))];
      for (const [to, from] of [
        [numerator, top],
        [denominator, bottom],
      ]) {
        f.set(to.hi, g(from.hi));
        f.set(to.lo, g(from.lo));
        f.set(to.e, g(from.e));
      }
    });
    const result = { hi: n.i64(k(0)), lo: n.i64(k(0)), e: n.i32(c(0)) };
    f.if(i32.eqz(g(exact)), () => {
      const u = w.divide(numerator, denominator);
      // The quotient is 1 only where i is 8 and the numerator 0, so u is a fraction.
      const fraction = w.fraction(u);
      const z = w.multiply(fraction, fraction);
      const v = w.shrink(u, w.oneMinus(w.multiply(z, w.series('x87.atanSeries', z))));
      f.set(result.hi, g(v.hi));
      f.set(result.lo, g(v.lo));
      f.set(result.e, g(v.e));
    });
    f.if(i64.ne(g(index), k(0)), () => {
      const sum = w.constant(0n);
      for (const [i, value] of ATAN.entries())
        f.if(i64.eq(g(index), k(i)), () => {
          f.set(sum[0], k(value >> 64n));
          f.set(sum[1], k(value & ((1n << 64n) - 1n)));
        });
      w.addSigned(sum, w.fraction(result), () => g(minus));
      const wide = w.normalise(sum, () => c(0));
      f.set(result.hi, g(wide.hi));
      f.set(result.lo, g(wide.lo));
      f.set(result.e, g(wide.e));
    });
    n.setSecond(() => g(result.lo));
    n.setSe(() => g(result.e));
    g(result.hi);
  });
}

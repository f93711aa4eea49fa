/** FPREM, FPREM1, FRNDINT, FSCALE and FXTRACT. None of them looks at the precision control (SDM vol. 1 §8.1.5.2). */
import type { Divide, Nan1, Nan2 } from './x87-arith.ts';
import type { Routines } from './x87-kit.ts';
import { BIAS, bound, EXP_MASK, Fsw, INTEGER_BIT, Rounding, SIGN } from './x87-kit.ts';
import type { RoundPack } from './x87-round.ts';

export function addRemainder(r: Routines): void {
  addRemainders(r);
  addRoundToInteger(r);
  addScale(r);
  addExtract(r);
}

/**
 * (a, b, nearest) → remainder; the condition codes C0 C1 C2 C3 as status word bits in `second`, or -1
 * without a quotient. Exponents further apart than 63 are
 * reduced in part (C2 = 1), by the number of places the host's AMD processor takes.
 */
function addRemainders(r: Routines): void {
  const nan2 = r.get<Nan2>('x87.nan2');
  const pack = r.get<RoundPack>('x87.roundPack');
  const divide = r.get<Divide>('x87.divide128');
  r.define('x87.value.remainder', ['i64', 'i32', 'i64', 'i32', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [aSig, aSe, bSig, bSe, nearest] = [
      f.param(0, 'i64'),
      f.param(1, 'i32'),
      f.param(2, 'i64'),
      f.param(3, 'i32'),
      f.param(4, 'i32'),
    ];
    const aExp = n.i32(n.exponent(aSe));
    const bExp = n.i32(n.exponent(bSe));
    const sign = n.i32(n.sign(aSe));
    n.setSecond(() => k(-1));
    f.if(i32.eqz(i32.and(n.isNormal(aSig, aSe), n.isNormal(bSig, bSe))), () => {
      f.if(f.call(nan2, g(aSig), g(aSe), g(bSig), g(bSe)), () => f.return(n.third()));
      f.if(i32.eq(g(aExp), c(EXP_MASK)), () => n.returnInvalid());
      f.if(n.isZero(bSig, bSe), () => n.returnInvalid());
      n.raiseDenormal(aSig, aSe);
      n.raiseDenormal(bSig, bSe);
      n.setSecond(() => k(0));
      f.if(i64.eqz(g(aSig)), () =>
        n.returnValue(
          () => k(0),
          () => g(sign),
        ),
      );
      n.normalise(aSig, aExp);
      f.if(i32.eq(g(bExp), c(EXP_MASK)), () => {
        const value = n.i64(f.call(pack, g(sign), g(aExp), g(aSig), k(0), c(0)));
        n.setSecond(() => k(0)); // rounding uses it too
        f.return(g(value));
      });
      n.normalise(bSig, bExp);
    });
    const d = n.i32(i32.sub(g(aExp), g(bExp)));
    const q = n.i64(k(0));
    const rest = n.i64(g(aSig));
    // The remainder's exponent: that of its unit, as if its significand were normalised.
    const exp = n.i32(g(bExp));
    const codes = n.i32(c(0));
    f.if(
      i32.lt_s(g(d), c(0)),
      () => {
        f.set(exp, g(aExp));
        const above = i32.and(i32.eq(g(d), c(-1)), i64.gt_u(g(aSig), g(bSig)));
        f.if(i32.and(above, g(nearest)), () => {
          // Between half and one divisor: a - b.
          f.set(rest, i64.sub(i64.shl(g(bSig), k(1)), g(aSig)));
          f.set(sign, i32.xor(g(sign), c(SIGN)));
          f.set(q, k(1));
        });
      },
      () => {
        const shift = n.i32(g(d));
        f.if(i32.ge_s(g(d), c(64)), () => {
          f.set(shift, i32.or(i32.and(g(d), c(31)), c(32)));
          f.set(exp, i32.sub(g(aExp), g(shift)));
          f.set(codes, c(Fsw.C2));
        });
        f.if(i64.ge_u(g(rest), g(bSig)), () => {
          f.set(rest, i64.sub(g(rest), g(bSig)));
          f.set(q, k(1));
        });
        f.if(g(shift), () => {
          const s = n.i64(n.bool64(g(shift)));
          const part = n.i64(f.call(divide, i64.shr_u(g(rest), i64.sub(k(64), g(s))), i64.shl(g(rest), g(s)), g(bSig)));
          f.set(q, i64.or(i64.shl(g(q), g(s)), g(part)));
          f.set(rest, n.second());
        });
        f.if(i32.and(g(nearest), i32.eqz(g(codes))), () => {
          const other = n.i64(i64.sub(g(bSig), g(rest)));
          const tie = () => i64.and(n.bool64(i64.eq(g(rest), g(other))), g(q));
          f.if(i32.or(i64.gt_u(g(rest), g(other)), i32.wrap_i64(tie())), () => {
            f.set(rest, g(other));
            f.set(sign, i32.xor(g(sign), c(SIGN)));
            f.set(q, i64.add(g(q), k(1)));
          });
        });
      },
    );
    f.if(i32.eqz(g(codes)), () => {
      // Quotient bits 2, 1, 0 in C0, C3, C1 (SDM vol. 2A, FPREM).
      const bit = (from: number, to: number) => i64.shl(i64.and(i64.shr_u(g(q), k(from)), k(1)), k(to));
      f.set(codes, i32.wrap_i64(i64.or(i64.or(bit(2, 8), bit(1, 14)), bit(0, 9))));
    });
    const value = f.local('i64');
    f.if(
      i64.eqz(g(rest)),
      () => n.setSe(() => g(sign)),
      () => {
        const up = n.i64(i64.clz(g(rest)));
        f.set(value, f.call(pack, g(sign), i32.sub(g(exp), i32.wrap_i64(g(up))), i64.shl(g(rest), g(up)), k(0), c(0)));
      },
    );
    n.setSecond(() => n.bool64(g(codes)));
    g(value);
  });
}

function addRoundToInteger(r: Routines): void {
  const nan1 = r.get<Nan1>('x87.nan1');
  r.define('x87.value.rndint', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const exp = n.i32(n.exponent(se));
    f.if(i32.eqz(n.isNormal(sig, se)), () => {
      f.if(f.call(nan1, g(sig), g(se)), () => f.return(n.third()));
      n.raiseDenormal(sig, se);
    });
    f.if(i32.or(i32.ge_s(g(exp), c(BIAS + 63)), i64.eqz(g(sig))), () =>
      n.returnValue(
        () => g(sig),
        () => g(se),
      ),
    );
    const mode = n.i32(i32.and(i32.shr_u(n.field('fcw'), c(10)), c(3)));
    const away = n.i32(i32.eq(g(mode), f.select(c(Rounding.Down), c(Rounding.Up), n.sign(se))));
    f.if(i32.lt_s(g(exp), c(BIAS)), () => {
      // Magnitude below one: to zero or one.
      n.raise(Fsw.PE);
      const half = () => i32.and(i32.eq(g(exp), c(BIAS - 1)), i64.gt_u(g(sig), k(INTEGER_BIT)));
      f.if(i32.or(g(away), i32.and(i32.eqz(g(mode)), half())), () => {
        n.raise(Fsw.C1);
        n.returnValue(
          () => k(INTEGER_BIT),
          () => i32.or(n.sign(se), c(BIAS)),
        );
      });
      n.returnValue(
        () => k(0),
        () => n.sign(se),
      );
    });
    const places = n.i64(n.bool64(i32.sub(c(BIAS + 63), g(exp))));
    const unit = n.i64(i64.shl(k(1), g(places)));
    const fraction = n.i64(i64.and(g(sig), i64.sub(g(unit), k(1))));
    f.if(i64.eqz(g(fraction)), () =>
      n.returnValue(
        () => g(sig),
        () => g(se),
      ),
    );
    n.raise(Fsw.PE);
    f.set(sig, i64.sub(g(sig), g(fraction)));
    const half = n.i64(i64.shr_u(g(unit), k(1)));
    const odd = () => i32.and(i64.eq(g(fraction), g(half)), i64.ne(i64.and(g(sig), g(unit)), k(0)));
    const near = i32.and(i32.eqz(g(mode)), i32.or(odd(), i64.gt_u(g(fraction), g(half))));
    f.if(i32.or(near, g(away)), () => {
      n.raise(Fsw.C1);
      f.set(sig, i64.add(g(sig), g(unit)));
      f.if(i64.eqz(g(sig)), () => {
        f.set(sig, k(INTEGER_BIT));
        f.set(se, i32.add(g(se), c(1)));
      });
    });
    n.setSe(() => g(se));
    g(sig);
  });
}

/** a · 2^trunc(b). */
function addScale(r: Routines): void {
  const nan2 = r.get<Nan2>('x87.nan2');
  const pack = r.get<RoundPack>('x87.roundPack');
  r.define('x87.value.scale', ['i64', 'i32', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [aSig, aSe, bSig, bSe] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i32')];
    const aExp = n.i32(n.exponent(aSe));
    const bExp = n.i32(n.exponent(bSe));
    f.if(i32.eqz(i32.and(n.isNormal(aSig, aSe), n.isNormal(bSig, bSe))), () => {
      f.if(f.call(nan2, g(aSig), g(aSe), g(bSig), g(bSe)), () => f.return(n.third()));
      f.if(i32.eq(g(bExp), c(EXP_MASK)), () => {
        // Scaling by infinity: 0 · ∞ and ∞ · 0 are invalid (SDM vol. 2A, FSCALE).
        f.if(
          n.sign(bSe),
          () => {
            f.if(i32.eq(g(aExp), c(EXP_MASK)), () => n.returnInvalid());
            n.raiseDenormal(aSig, aSe);
            n.returnValue(
              () => k(0),
              () => n.sign(aSe),
            );
          },
          () => {
            f.if(n.isZero(aSig, aSe), () => n.returnInvalid());
            n.raiseDenormal(aSig, aSe);
            n.returnValue(
              () => k(INTEGER_BIT),
              () => i32.or(n.sign(aSe), c(EXP_MASK)),
            );
          },
        );
      });
      n.raiseDenormal(aSig, aSe);
      n.raiseDenormal(bSig, bSe);
      f.if(i32.or(i32.eq(g(aExp), c(EXP_MASK)), i64.eqz(g(aSig))), () =>
        n.returnValue(
          () => g(aSig),
          () => g(aSe),
        ),
      );
      n.normalise(aSig, aExp);
    });
    // Beyond 2^16 every result is out of range.
    const by = n.i32(c(0));
    f.if(i32.ge_s(g(bExp), c(BIAS)), () => {
      f.set(by, c(0x1_0000));
      f.if(i32.lt_s(g(bExp), c(BIAS + 16)), () =>
        f.set(by, i32.wrap_i64(i64.shr_u(g(bSig), n.bool64(i32.sub(c(BIAS + 63), g(bExp)))))),
      );
      f.if(n.sign(bSe), () => f.set(by, i32.sub(c(0), g(by))));
    });
    f.call(pack, n.sign(aSe), i32.add(g(aExp), g(by)), g(aSig), k(0), c(0));
  });
}

/** Significand (returned, `se`) and exponent (`third`, and `second` for its sign and exponent) of a value. */
function addExtract(r: Routines): void {
  const nan1 = r.get<Nan1>('x87.nan1');
  r.define('x87.value.xtract', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const exp = n.i32(n.exponent(se));
    f.if(i32.eqz(n.isNormal(sig, se)), () => {
      f.if(f.call(nan1, g(sig), g(se)), () => {
        n.setSecond(() => n.bool64(n.se()));
        f.return(n.third());
      });
      f.if(i32.eq(g(exp), c(EXP_MASK)), () => {
        n.setSecond(() => k(EXP_MASK));
        n.setThird(() => k(INTEGER_BIT));
        n.returnValue(
          () => g(sig),
          () => g(se),
        );
      });
      f.if(i64.eqz(g(sig)), () => {
        n.raise(Fsw.ZE);
        n.setSecond(() => k(SIGN | EXP_MASK));
        n.setThird(() => k(INTEGER_BIT));
        n.returnValue(
          () => k(0),
          () => g(se),
        );
      });
      n.raiseDenormal(sig, se);
      n.normalise(sig, exp);
    });
    const value = n.i32(i32.sub(g(exp), c(BIAS)));
    f.if(
      i32.eqz(g(value)),
      () => {
        n.setSecond(() => k(0));
        n.setThird(() => k(0));
      },
      () => {
        const negative = n.i32(i32.lt_s(g(value), c(0)));
        const magnitude = n.i64(n.bool64(f.select(i32.sub(c(0), g(value)), g(value), g(negative))));
        const up = n.i64(i64.clz(g(magnitude)));
        n.setThird(() => i64.shl(g(magnitude), g(up)));
        n.setSecond(() => i64.or(i64.sub(k(BIAS + 63), g(up)), i64.shl(n.bool64(g(negative)), k(15))));
      },
    );
    n.setSe(() => i32.or(n.sign(se), c(BIAS)));
    g(sig);
  });
}

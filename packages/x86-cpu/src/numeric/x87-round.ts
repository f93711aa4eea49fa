/** Rounding, and the treatment of operands that are not numbers, which all x87 arithmetic shares. */
import type { FuncRef, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Routines } from './x87-kit.ts';
import { bound, DEFAULT_NAN, EXP_MASK, Fsw, INTEGER_BIT, QUIET_BIT, Rounding, SIGN, WRAP } from './x87-kit.ts';

/** (sign, exponent, high, low, dropped bits) → value. */
export type RoundPack = FuncRef<[I32, I32, I64, I64, I32], I64>;
/** (high, low, dropped bits, sign) → significand, 0 on carry out; PE and C1 in `second`. */
type RoundSignificand = FuncRef<[I64, I64, I32, I32], I64>;

export function addRounding(r: Routines): void {
  addRoundSignificand(r);
  addRoundPack(r);
  addNaN(r);
}

/**
 * Rounds `hi:lo`, a significand with 64 fraction bits below it, dropping another `drop` bits of `hi`, in the control word's
 * rounding mode. C1 says that the magnitude was rounded up (SDM vol. 1 §8.1.3.2).
 */
function addRoundSignificand(r: Routines): void {
  r.define('x87.roundSignificand', ['i64', 'i64', 'i32', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [hi, lo, drop, sign] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32'), f.param(3, 'i32')];
    const s = n.i64(n.bool64(g(drop)));
    f.if(g(drop), () => {
      const up = n.i64(i64.sub(k(64), g(s)));
      const rest = n.i64(n.bool64(i64.ne(i64.shl(g(lo), g(up)), k(0))));
      f.set(lo, i64.or(i64.or(i64.shl(g(hi), g(up)), i64.shr_u(g(lo), g(s))), g(rest)));
      f.set(hi, i64.shl(i64.shr_u(g(hi), g(s)), g(s)));
    });
    f.if(i64.eqz(g(lo)), () => {
      n.setSecond(() => k(0));
      f.return(g(hi));
    });
    const mode = n.i32(i32.and(i32.shr_u(n.field('fcw'), c(10)), c(3)));
    const up = f.local('i32');
    f.if(
      i32.eqz(g(mode)),
      () => {
        const above = i64.gt_u(g(lo), k(INTEGER_BIT));
        const odd = i32.and(i64.eq(g(lo), k(INTEGER_BIT)), i32.wrap_i64(i64.and(i64.shr_u(g(hi), g(s)), k(1))));
        f.set(up, i32.or(above, odd));
      },
      () => f.set(up, i32.eq(g(mode), f.select(c(Rounding.Down), c(Rounding.Up), g(sign)))),
    );
    n.setSecond(() => n.bool64(i32.or(c(Fsw.PE), i32.shl(g(up), c(9)))));
    i64.add(g(hi), i64.shl(n.bool64(g(up)), g(s)));
  });
}

/** Rounds and packs a normalised significand; `exp` is biased and unbounded. Raises OE, UE, PE and C1. */
function addRoundPack(r: Routines): void {
  const round = r.get<RoundSignificand>('x87.roundSignificand');
  r.define('x87.roundPack', ['i32', 'i32', 'i64', 'i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sign, exp, hi, lo, drop] = [
      f.param(0, 'i32'),
      f.param(1, 'i32'),
      f.param(2, 'i64'),
      f.param(3, 'i64'),
      f.param(4, 'i32'),
    ];
    const sig = n.i64(f.call(round, g(hi), g(lo), g(drop), g(sign)));
    const flags = n.i32(i32.wrap_i64(n.second()));
    const rounded = n.i32(g(exp));
    f.if(i64.eqz(g(sig)), () => {
      f.set(sig, k(INTEGER_BIT));
      f.set(rounded, i32.add(g(rounded), c(1)));
    });
    f.if(i32.lt_u(i32.sub(g(rounded), c(1)), c(EXP_MASK - 1)), () => {
      n.raiseValue(() => g(flags));
      n.returnValue(
        () => g(sig),
        () => i32.or(g(sign), g(rounded)),
      );
    });
    f.if(i32.le_s(g(rounded), c(0)), () => {
      // Tiny after rounding. Unmasked underflow does not need inexactness (SDM vol. 1 §8.5.5).
      f.if(i32.eqz(i32.and(n.field('fcw'), c(Fsw.UE))), () => {
        f.if(i32.gt_s(g(rounded), c(-WRAP)), () => {
          n.raiseValue(() => i32.or(g(flags), c(Fsw.UE)));
          n.returnValue(
            () => g(sig),
            () => i32.or(g(sign), i32.add(g(rounded), c(WRAP))),
          );
        });
        // Only FSCALE gets here: too small even for the wrapped exponent.
        n.raise(Fsw.UE | Fsw.PE);
        n.returnValue(
          () => k(0),
          () => g(sign),
        );
      });
      const down = n.i32(i32.sub(c(1), g(exp)));
      const d = n.i64(n.bool64(g(down)));
      f.if(
        i32.lt_u(g(down), c(64)),
        () => {
          f.if(g(down), () => {
            const up = n.i64(i64.sub(k(64), g(d)));
            const rest = n.i64(n.bool64(i64.ne(i64.shl(g(lo), g(up)), k(0))));
            f.set(lo, i64.or(i64.or(i64.shl(g(hi), g(up)), i64.shr_u(g(lo), g(d))), g(rest)));
            f.set(hi, i64.shr_u(g(hi), g(d)));
          });
        },
        () => {
          // At 64 places the integer bit becomes the half bit; beyond that all that matters is that something is there.
          const rest = n.i64(n.bool64(i64.ne(g(lo), k(0))));
          f.set(lo, f.select(i64.or(g(hi), g(rest)), k(1), i32.eq(g(down), c(64))));
          f.set(hi, k(0));
        },
      );
      f.set(sig, f.call(round, g(hi), g(lo), g(drop), g(sign)));
      f.set(flags, i32.wrap_i64(n.second()));
      f.if(g(flags), () => f.set(flags, i32.or(g(flags), c(Fsw.UE))));
      n.raiseValue(() => g(flags));
      n.returnValue(
        () => g(sig),
        () => i32.or(g(sign), i32.wrap_i64(i64.shr_u(g(sig), k(63)))),
      );
    });
    f.if(i32.eqz(i32.and(n.field('fcw'), c(Fsw.OE))), () => {
      f.if(i32.lt_s(g(rounded), c(EXP_MASK + WRAP)), () => {
        n.raiseValue(() => i32.or(g(flags), c(Fsw.OE)));
        n.returnValue(
          () => g(sig),
          () => i32.or(g(sign), i32.sub(g(rounded), c(WRAP))),
        );
      });
      n.raise(Fsw.OE | Fsw.PE | Fsw.C1);
      n.returnValue(
        () => k(INTEGER_BIT),
        () => i32.or(g(sign), c(EXP_MASK)),
      );
    });
    // Masked overflow: infinity, or the largest finite value where rounding leads away from infinity (SDM vol. 1, table 4-11).
    const mode = n.i32(i32.and(i32.shr_u(n.field('fcw'), c(10)), c(3)));
    const away = i32.or(i32.eqz(g(mode)), i32.eq(g(mode), f.select(c(Rounding.Down), c(Rounding.Up), g(sign))));
    f.if(away, () => {
      n.raise(Fsw.OE | Fsw.PE | Fsw.C1);
      n.returnValue(
        () => k(INTEGER_BIT),
        () => i32.or(g(sign), c(EXP_MASK)),
      );
    });
    n.raise(Fsw.OE | Fsw.PE);
    n.setSe(() => i32.or(g(sign), c(EXP_MASK - 1)));
    i64.shl(k(-1n), n.bool64(g(drop)));
  });

  /** As `x87.roundPack`, to the control word's precision. */
  const pack = r.get<RoundPack>('x87.roundPack');
  r.define('x87.roundPrecision', ['i32', 'i32', 'i64', 'i64'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sign, exp, hi, lo] = [f.param(0, 'i32'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i64')];
    const fcw = n.i32(n.field('fcw'));
    // Nearly always: to nearest, all 64 bits, and nowhere near the ends of the range.
    const usual = () => i32.eq(i32.and(g(fcw), c(0xf00)), c(0x300));
    f.if(i32.and(usual(), i32.lt_u(i32.sub(g(exp), c(1)), c(EXP_MASK - 2))), () => {
      n.setSe(() => i32.or(g(sign), g(exp)));
      f.if(i64.eqz(g(lo)), () => f.return(g(hi)));
      const odd = () => i32.and(i64.eq(g(lo), k(INTEGER_BIT)), i32.wrap_i64(i64.and(g(hi), k(1))));
      const up = n.i32(i32.or(odd(), i64.gt_u(g(lo), k(INTEGER_BIT))));
      n.raiseValue(() => i32.or(c(Fsw.PE), i32.shl(g(up), c(9))));
      const sig = n.i64(i64.add(g(hi), n.bool64(g(up))));
      f.if(i64.ne(g(sig), k(0)), () => f.return(g(sig)));
      n.setSe(() => i32.or(g(sign), i32.add(g(exp), c(1))));
      f.return(k(INTEGER_BIT));
    });
    const pc = n.i32(i32.and(i32.shr_u(g(fcw), c(8)), c(3)));
    const drop = n.i32(f.select(f.select(c(11), c(40), i32.eq(g(pc), c(2))), c(0), i32.eqz(i32.and(g(pc), c(1)))));
    f.call(pack, g(sign), g(exp), g(hi), g(lo), g(drop));
  });
}

/**
 * `x87.nan2`: 1 when an operand is a NaN or has an encoding without meaning (SDM vol. 1 §8.2.2); the result is then in `third`
 * and `se`. `x87.nan1` likewise for one operand.
 */
function addNaN(r: Routines): void {
  /** 0 a number, 1 quiet NaN, 2 signalling NaN, 3 unsupported. */
  const kind = r.define('x87.nanKind', ['i64', 'i32'], ['i32'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const exp = n.i32(n.exponent(se));
    f.if(i32.eqz(g(exp)), () => f.return(c(0)));
    f.if(i64.ge_s(g(sig), k(0)), () => f.return(c(3)));
    f.if(i32.ne(g(exp), c(EXP_MASK)), () => f.return(c(0)));
    f.if(i64.eq(g(sig), k(INTEGER_BIT)), () => f.return(c(0)));
    f.select(c(1), c(2), i64.ne(i64.and(g(sig), k(QUIET_BIT)), k(0)));
  }) as FuncRef<[I64, I32], I32>;

  r.define('x87.nan2', ['i64', 'i32', 'i64', 'i32'], ['i32'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [aSig, aSe, bSig, bSe] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i32')];
    const a = n.i32(f.call(kind, g(aSig), g(aSe)));
    const b = n.i32(f.call(kind, g(bSig), g(bSe)));
    f.if(i32.eqz(i32.or(g(a), g(b))), () => f.return(c(0)));
    f.if(i32.or(i32.eq(g(a), c(3)), i32.eq(g(b), c(3))), () => {
      n.raise(Fsw.IE);
      n.setThird(() => k(DEFAULT_NAN.sig));
      n.setSe(() => c(DEFAULT_NAN.se));
      f.return(c(1));
    });
    f.if(i32.or(i32.eq(g(a), c(2)), i32.eq(g(b), c(2))), () => n.raise(Fsw.IE));
    // SDM vol. 1, table 4-7: of two NaNs alike the larger significand, then the positive one; a quiet one before a signalling
    // one.
    const takeA = n.i32(i32.ne(g(a), c(0)));
    f.if(i32.and(g(a), i32.const(3)), () => {
      f.if(i32.eq(g(a), g(b)), () => {
        // "Larger" is decided on the quieted significands, which for two NaNs of a kind are ordered like the originals.
        f.set(takeA, i64.gt_u(g(aSig), g(bSig)));
        f.if(i64.eq(g(aSig), g(bSig)), () => f.set(takeA, i32.le_u(n.sign(aSe), n.sign(bSe))));
      });
      f.if(i32.and(i32.eq(g(a), c(2)), i32.eq(g(b), c(1))), () => f.set(takeA, c(0)));
    });
    n.setThird(() => i64.or(f.select(g(aSig), g(bSig), g(takeA)), k(QUIET_BIT)));
    n.setSe(() => i32.and(f.select(g(aSe), g(bSe), g(takeA)), c(SIGN | EXP_MASK)));
    c(1);
  });

  r.define('x87.nan1', ['i64', 'i32'], ['i32'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const a = n.i32(f.call(kind, g(sig), g(se)));
    f.if(i32.eqz(g(a)), () => f.return(c(0)));
    f.if(i32.ge_u(g(a), c(2)), () => n.raise(Fsw.IE));
    f.if(
      i32.eq(g(a), c(3)),
      () => {
        n.setThird(() => k(DEFAULT_NAN.sig));
        n.setSe(() => c(DEFAULT_NAN.se));
      },
      () => {
        n.setThird(() => i64.or(g(sig), k(QUIET_BIT)));
        n.setSe(() => i32.and(g(se), c(SIGN | EXP_MASK)));
      },
    );
    c(1);
  });
}

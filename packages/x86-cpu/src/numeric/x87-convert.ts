/** Conversions between 80-bit values and the memory formats (SDM vol. 1 §4.2, §8.2). */
import type { FuncRef, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Nan1 } from './x87-arith.ts';
import type { Num, Routines } from './x87-kit.ts';
import { BIAS, bound, DEFAULT_NAN, EXP_MASK, Fsw, INTEGER_BIT, NARROW_DENORMAL, Rounding, SIGN } from './x87-kit.ts';

/** Memory formats, as routines are told them. */
export const Format = { Single: 4, Double: 8, Integer: 2 } as const;

/** (bits, format) → value. */
export type Widen = FuncRef<[I64, I32], I64>;

export function addConversions(r: Routines): void {
  addWiden(r);
  addNarrow(r);
  addToInteger(r);
  addBcd(r);
}

/** Integers come sign-extended. Exact; a signalling NaN stays one, and a denormal is marked in `se`. */
function addWiden(r: Routines): void {
  r.define('x87.widen', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [bits, format] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const sign = f.local('i32');
    f.if(i32.eq(g(format), c(Format.Integer)), () => {
      f.if(i64.eqz(g(bits)), () => n.returnConst(0n, 0));
      f.set(sign, f.select(c(SIGN), c(0), i64.lt_s(g(bits), k(0))));
      f.if(g(sign), () => f.set(bits, i64.sub(k(0), g(bits))));
      const up = n.i64(i64.clz(g(bits)));
      n.returnValue(
        () => i64.shl(g(bits), g(up)),
        () => i32.or(g(sign), i32.sub(c(BIAS + 63), i32.wrap_i64(g(up)))),
      );
    });
    const [exp, sig] = [f.local('i32'), f.local('i64')];
    // Significand at the top below the integer bit; exponent in the wide bias, 0 and all ones kept apart.
    const take = (fraction: number, maximum: number, signAt: number): void => {
      f.set(sign, i32.shl(i32.wrap_i64(i64.and(i64.shr_u(g(bits), k(signAt)), k(1))), c(15)));
      f.set(exp, i32.and(i32.wrap_i64(i64.shr_u(g(bits), k(fraction))), c(maximum)));
      f.set(sig, i64.and(i64.shl(g(bits), k(63 - fraction)), k(INTEGER_BIT - 1n)));
      f.if(
        i32.eqz(g(exp)),
        () => {
          f.if(i64.eqz(g(sig)), () =>
            n.returnValue(
              () => k(0),
              () => g(sign),
            ),
          );
          const up = n.i64(i64.clz(g(sig)));
          const rebased = () => i32.sub(c(BIAS - (maximum >> 1) + 1), i32.wrap_i64(g(up)));
          n.returnValue(
            () => i64.shl(g(sig), g(up)),
            () => i32.or(i32.or(g(sign), c(NARROW_DENORMAL)), rebased()),
          );
        },
        () => f.set(exp, f.select(c(EXP_MASK), i32.add(g(exp), c(BIAS - (maximum >> 1))), i32.eq(g(exp), c(maximum)))),
      );
    };
    f.if(
      i32.eq(g(format), c(Format.Single)),
      () => take(23, 0xff, 31),
      () => take(52, 0x7ff, 63),
    );
    n.setSe(() => i32.or(g(sign), g(exp)));
    i64.or(g(sig), k(INTEGER_BIT));
  });
}

/** To single and double, rounded; the bits are returned. Denormal operands are not reported (SDM vol. 2A, FST). */
function addNarrow(r: Routines): void {
  const nan1 = r.get<Nan1>('x87.nan1');
  const round = r.get<FuncRef<[I64, I64, I32, I32], I64>>('x87.roundSignificand');
  for (const [name, fraction, maximum] of [
    ['x87.toSingle', 23, 0xff],
    ['x87.toDouble', 52, 0x7ff],
  ] as const)
    r.define(name, ['i64', 'i32'], ['i64'], (n) => {
      const { f, c, k, g } = bound(n);
      const { i32, i64 } = f;
      const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
      const drop = 63 - fraction;
      const bias = maximum >> 1;
      const sign = n.i64(i64.shl(n.bool64(i32.shr_u(n.sign(se), c(15))), k(fraction === 23 ? 31 : 63)));
      const exp = n.i32(n.exponent(se));
      const fractionOf = (v: () => I64) => i64.and(i64.shr_u(v(), k(drop)), k((1n << BigInt(fraction)) - 1n));
      const infinity = BigInt(maximum) << BigInt(fraction);
      f.if(f.call(nan1, g(sig), g(se)), () => {
        const nanSign = i64.shl(n.bool64(i32.shr_u(i32.and(n.se(), c(SIGN)), c(15))), k(fraction === 23 ? 31 : 63));
        f.return(
          i64.or(
            nanSign,
            i64.or(
              k(infinity),
              fractionOf(() => n.third()),
            ),
          ),
        );
      });
      f.if(i32.eq(g(exp), c(EXP_MASK)), () => f.return(i64.or(g(sign), k(infinity))));
      f.if(i64.eqz(g(sig)), () => f.return(g(sign)));
      n.normalise(sig, exp);
      f.set(exp, i32.sub(g(exp), c(BIAS - bias)));
      const original = n.i64(g(sig));
      f.set(sig, f.call(round, g(sig), k(0), c(drop), n.sign(se)));
      const flags = n.i32(i32.wrap_i64(n.second()));
      const rounded = n.i32(g(exp));
      f.if(i64.eqz(g(sig)), () => {
        f.set(sig, k(INTEGER_BIT));
        f.set(rounded, i32.add(g(rounded), c(1)));
      });
      f.if(i32.le_s(g(rounded), c(0)), () => {
        // Unmasked underflow or overflow with a memory destination: nothing is stored, so the value does not matter.
        f.if(i32.eqz(i32.and(n.field('fcw'), c(Fsw.UE))), () => {
          n.raise(Fsw.UE);
          f.return(k(0));
        });
        const down = n.i64(n.bool64(i32.sub(c(1), g(exp))));
        const lo = n.i64(k(0));
        f.if(
          i64.lt_u(g(down), k(64)),
          () => {
            f.if(i64.ne(g(down), k(0)), () => {
              f.set(lo, i64.shl(g(original), i64.sub(k(64), g(down))));
              f.set(original, i64.shr_u(g(original), g(down)));
            });
          },
          () => {
            f.set(lo, k(1));
            f.set(original, k(0));
          },
        );
        f.set(sig, f.call(round, g(original), g(lo), c(drop), n.sign(se)));
        f.set(flags, i32.wrap_i64(n.second()));
        f.if(g(flags), () => f.set(flags, i32.or(g(flags), c(Fsw.UE))));
        n.raiseValue(() => g(flags));
        // A carry into the integer bit is the exponent 1.
        f.return(i64.or(g(sign), i64.shr_u(g(sig), k(drop))));
      });
      f.if(i32.ge_s(g(rounded), c(maximum)), () => {
        f.if(i32.eqz(i32.and(n.field('fcw'), c(Fsw.OE))), () => {
          n.raise(Fsw.OE);
          f.return(k(0));
        });
        const mode = n.i32(i32.and(i32.shr_u(n.field('fcw'), c(10)), c(3)));
        const away = i32.or(i32.eqz(g(mode)), i32.eq(g(mode), f.select(c(Rounding.Down), c(Rounding.Up), n.sign(se))));
        f.if(away, () => {
          n.raise(Fsw.OE | Fsw.PE | Fsw.C1);
          f.return(i64.or(g(sign), k(infinity)));
        });
        n.raise(Fsw.OE | Fsw.PE);
        f.return(i64.or(g(sign), k(infinity - 1n)));
      });
      n.raiseValue(() => g(flags));
      i64.or(
        g(sign),
        i64.or(
          i64.shl(n.bool64(g(rounded)), k(fraction)),
          fractionOf(() => g(sig)),
        ),
      );
    });
}

/** Rounds a finite magnitude below 2^64 to an integer in `mode`; PE and C1 are left in `flags`. */
function roundMagnitude(
  n: Num,
  sig: () => I64,
  exp: () => I32,
  sign: () => I32,
  mode: () => I32,
  flags: (v: () => I32) => void,
): I64 {
  const { f, c, k, g } = bound(n);
  const { i32, i64 } = f;
  const places = n.i32(i32.sub(c(BIAS + 63), exp()));
  const whole = n.i64(sig());
  const fraction = n.i64(k(0));
  f.if(i32.gt_s(g(places), c(0)), () => {
    f.if(
      i32.lt_s(g(places), c(64)),
      () => {
        f.set(fraction, i64.shl(g(whole), n.bool64(i32.sub(c(64), g(places)))));
        f.set(whole, i64.shr_u(g(whole), n.bool64(g(places))));
      },
      () => {
        const rest = () => i64.or(i64.shr_u(g(whole), k(1)), i64.extend_i32_u(i64.ne(g(whole), k(0))));
        f.set(fraction, f.select(g(whole), rest(), i32.eq(g(places), c(64))));
        f.set(whole, k(0));
      },
    );
  });
  f.if(i64.ne(g(fraction), k(0)), () => {
    const m = n.i32(mode());
    const odd = () => i32.and(i64.eq(g(fraction), k(INTEGER_BIT)), i32.wrap_i64(i64.and(g(whole), k(1))));
    const near = i32.and(i32.eqz(g(m)), i32.or(odd(), i64.gt_u(g(fraction), k(INTEGER_BIT))));
    const up = n.i32(i32.or(near, i32.eq(g(m), f.select(c(Rounding.Down), c(Rounding.Up), sign()))));
    flags(() => i32.or(c(Fsw.PE), i32.shl(g(up), c(9))));
    f.set(whole, i64.add(g(whole), n.bool64(g(up))));
  });
  return g(whole);
}

/** (value, bytes 2, 4 or 8, truncate) → integer, or the integer indefinite with IE (SDM vol. 1, table 4-1, §8.5.1.2). */
function addToInteger(r: Routines): void {
  r.define('x87.toInteger', ['i64', 'i32', 'i32', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se, bytes, truncate] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i32'), f.param(3, 'i32')];
    const exp = n.i32(n.exponent(se));
    const limit = n.i64(i64.shl(k(1), n.bool64(i32.sub(i32.shl(g(bytes), c(3)), c(1)))));
    const flags = n.i32(c(0));
    const unnormal = i32.and(i32.ne(g(exp), c(0)), i64.ge_s(g(sig), k(0)));
    const invalid = n.i32(i32.or(unnormal, i32.ge_s(g(exp), c(BIAS + 64))));
    const value = f.local('i64');
    f.if(i32.eqz(g(invalid)), () => {
      const mode = () => f.select(c(Rounding.Zero), i32.and(i32.shr_u(n.field('fcw'), c(10)), c(3)), g(truncate));
      f.set(
        value,
        roundMagnitude(
          n,
          () => g(sig),
          () => g(exp),
          () => n.sign(se),
          mode,
          (v) => f.set(flags, v()),
        ),
      );
      // A magnitude of 2^64 would have wrapped to zero with a carry, but only from at least 2^63, which is out of range anyway.
      const top = n.i64(i64.sub(g(limit), n.bool64(i32.eqz(n.sign(se)))));
      const wide = i32.and(i64.lt_s(g(sig), k(0)), i32.eq(g(exp), c(BIAS + 63)));
      f.set(invalid, i32.or(i32.and(wide, i64.eqz(g(value))), i64.gt_u(g(value), g(top))));
    });
    f.if(g(invalid), () => {
      n.raise(Fsw.IE);
      f.return(g(limit));
    });
    n.raiseValue(() => g(flags));
    f.select(i64.sub(k(0), g(value)), g(value), n.sign(se));
  });
}

/** Packed decimal: 18 digits and a sign byte (SDM vol. 1 §4.7). Low 8 bytes, then the two high ones. */
function addBcd(r: Routines): void {
  const widen = r.get<Widen>('x87.widen');
  r.define('x87.fromBcd', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [lo, hi] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const digit = (nibble: I32): I64 => i64.extend_i32_u(nibble);
    const value = n.i64(digit(i32.and(i32.shr_u(g(hi), c(4)), c(15))));
    f.set(value, i64.add(i64.mul(g(value), k(10)), digit(i32.and(g(hi), c(15)))));
    const at = n.i64(k(60));
    f.loop((again) => {
      f.set(value, i64.add(i64.mul(g(value), k(10)), i64.and(i64.shr_u(g(lo), g(at)), k(15))));
      f.set(at, i64.sub(g(at), k(4)));
      f.brIf(again, i64.ge_s(g(at), k(0)));
    });
    const sig = n.i64(f.call(widen, g(value), c(Format.Integer)));
    n.setSe(() => i32.or(i32.and(n.se(), c(EXP_MASK)), i32.and(g(hi), c(SIGN))));
    g(sig);
  });

  r.define('x87.toBcd', ['i64', 'i32'], ['i64'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const exp = n.i32(n.exponent(se));
    const flags = n.i32(c(0));
    const unnormal = i32.and(i32.ne(g(exp), c(0)), i64.ge_s(g(sig), k(0)));
    const invalid = n.i32(i32.or(unnormal, i32.ge_s(g(exp), c(BIAS + 60))));
    const value = f.local('i64');
    f.if(i32.eqz(g(invalid)), () => {
      const mode = () => i32.and(i32.shr_u(n.field('fcw'), c(10)), c(3));
      f.set(
        value,
        roundMagnitude(
          n,
          () => g(sig),
          () => g(exp),
          () => n.sign(se),
          mode,
          (v) => f.set(flags, v()),
        ),
      );
      f.set(invalid, i64.gt_u(g(value), k(10n ** 18n - 1n)));
    });
    f.if(g(invalid), () => {
      n.raise(Fsw.IE);
      n.returnValue(
        () => k(DEFAULT_NAN.sig),
        () => c(0xffff),
      );
    });
    n.raiseValue(() => g(flags));
    const packed = n.i64(k(0));
    const at = n.i64(k(0));
    f.loop((again) => {
      f.set(packed, i64.or(g(packed), i64.shl(i64.rem_u(g(value), k(10)), g(at))));
      f.set(value, i64.div_u(g(value), k(10)));
      f.set(at, i64.add(g(at), k(4)));
      f.brIf(again, i64.lt_u(g(at), k(64)));
    });
    const tens = i32.shl(i32.wrap_i64(i64.div_u(g(value), k(10))), c(4));
    const high = n.i32(i32.or(tens, i32.wrap_i64(i64.rem_u(g(value), k(10)))));
    n.setSe(() => i32.or(g(high), n.sign(se)));
    g(packed);
  });
}

/** FCOM, FUCOM, FCOMI, FUCOMI, FTST and FXAM on values. */
import type { FuncRef, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Routines } from './x87-kit.ts';
import { bound, EXP_MASK, Fsw, INTEGER_BIT } from './x87-kit.ts';

/** Results of `x87.compare`: C0, C2 and C3 as FCOM sets them (SDM vol. 2A, FCOM). */
export const Order = { Above: 0, Below: Fsw.C0, Equal: Fsw.C3, Unordered: Fsw.C0 | Fsw.C2 | Fsw.C3 } as const;

/** (a, b, quiet) → order. `quiet`: only a signalling NaN is invalid. */
export type Compare = FuncRef<[I64, I32, I64, I32, I32], I32>;

export function addCompare(r: Routines): void {
  const kind = r.get<FuncRef<[I64, I32], I32>>('x87.nanKind');
  r.define('x87.compare', ['i64', 'i32', 'i64', 'i32', 'i32'], ['i32'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [aSig, aSe, bSig, bSe, quiet] = [
      f.param(0, 'i64'),
      f.param(1, 'i32'),
      f.param(2, 'i64'),
      f.param(3, 'i32'),
      f.param(4, 'i32'),
    ];
    const aExp = n.i32(n.exponent(aSe));
    const bExp = n.i32(n.exponent(bSe));
    f.if(i32.eqz(i32.and(n.isNormal(aSig, aSe), n.isNormal(bSig, bSe))), () => {
      const a = n.i32(f.call(kind, g(aSig), g(aSe)));
      const b = n.i32(f.call(kind, g(bSig), g(bSe)));
      f.if(i32.or(g(a), g(b)), () => {
        const loud = i32.or(i32.ge_u(g(a), c(2)), i32.ge_u(g(b), c(2)));
        f.if(i32.or(loud, i32.eqz(g(quiet))), () => n.raise(Fsw.IE));
        f.return(c(Order.Unordered));
      });
      n.raiseDenormal(aSig, aSe);
      n.raiseDenormal(bSig, bSe);
      f.if(i32.and(n.isZero(aSig, aSe), n.isZero(bSig, bSe)), () => f.return(c(Order.Equal)));
      // A pseudo-denormal has the exponent 1; in others the missing integer bit orders them by significand at that exponent too.
      f.if(i32.and(i32.eqz(g(aExp)), i64.ne(g(aSig), k(0))), () => f.set(aExp, c(1)));
      f.if(i32.and(i32.eqz(g(bExp)), i64.ne(g(bSig), k(0))), () => f.set(bExp, c(1)));
      // A widened denormal is normalised and needs nothing.
    });
    const aSign = n.i32(n.sign(aSe));
    f.if(i32.ne(g(aSign), n.sign(bSe)), () => f.return(f.select(c(Order.Below), c(Order.Above), g(aSign))));
    f.if(i32.and(i32.eq(g(aExp), g(bExp)), i64.eq(g(aSig), g(bSig))), () => f.return(c(Order.Equal)));
    const less = n.i32(f.select(i64.lt_u(g(aSig), g(bSig)), i32.lt_u(g(aExp), g(bExp)), i32.eq(g(aExp), g(bExp))));
    f.select(c(Order.Below), c(Order.Above), i32.ne(g(less), i32.ne(g(aSign), c(0))));
  });

  /** Class of a value as FXAM reports it, without C1 and without the empty case (SDM vol. 2A, FXAM). */
  r.define('x87.class', ['i64', 'i32'], ['i32'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [sig, se] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const exp = n.i32(n.exponent(se));
    f.if(i32.eqz(g(exp)), () => f.return(f.select(c(Fsw.C3), c(Fsw.C3 | Fsw.C2), i64.eqz(g(sig)))));
    f.if(i64.ge_s(g(sig), k(0)), () => f.return(c(0)));
    f.if(i32.ne(g(exp), c(EXP_MASK)), () => f.return(c(Fsw.C2)));
    f.select(c(Fsw.C2 | Fsw.C0), c(Fsw.C0), i64.eq(g(sig), k(INTEGER_BIT)));
  });
}

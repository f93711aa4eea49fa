/** Loads, register moves and stores on the register stack. */
import type { FuncRef, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Widen } from './x87-convert.ts';
import type { Num, Routines, Unary } from './x87-kit.ts';
import {
  bound,
  DEFAULT_NAN,
  EXP_MASK,
  Fsw,
  INTEGER_BIT,
  NARROW_DENORMAL,
  PRE_OPERATION,
  QUIET_BIT,
  Rounding,
} from './x87-kit.ts';
import type { Commit } from './x87-stack.ts';
import { commitKeepingC1, instruction, OVERFLOW, Stack, UNDERFLOW } from './x87-stack.ts';

export function addStackMoves(r: Routines): void {
  addMoves(r);
  addStores(r);
}

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2: [rounded down, rounded up, exponent, which is nearest] (SDM vol. 1 §8.3.8). */
const CONSTANTS = [
  [INTEGER_BIT, INTEGER_BIT, 0x3fff, 'up'],
  [0xd49a784bcd1b8afen, 0xd49a784bcd1b8affn, 0x4000, 'down'],
  [0xb8aa3b295c17f0bbn, 0xb8aa3b295c17f0bcn, 0x3fff, 'up'],
  [0xc90fdaa22168c234n, 0xc90fdaa22168c235n, 0x4000, 'up'],
  [0x9a209a84fbcff798n, 0x9a209a84fbcff799n, 0x3ffd, 'up'],
  [0xb17217f7d1cf79abn, 0xb17217f7d1cf79acn, 0x3ffe, 'up'],
] as const;

/** Loads, and moves between registers. */
function addMoves(r: Routines): void {
  const widen = r.get<Widen>('x87.widen');
  const fromBcd = r.get<Unary>('x87.fromBcd');
  /** Pushes what `value` yields (significand returned, the rest by `se`). */
  // Loading a denormal is reported but, masked or not, done.
  const push = (s: Stack, value: () => { sig: () => I64; se: () => I32 }): void => {
    const above = s.physical(() => s.n.c(7));
    s.n.f.if(
      s.empty(above),
      () => {
        const { sig, se } = value();
        s.n.f.if(s.n.f.i32.eqz(s.blocked(Fsw.IE)), () => {
          s.write(above, sig, se);
          s.move(-1);
          s.n.f.if(s.n.f.i32.eqz(s.n.exceptions()), () => s.returnClean());
        });
      },
      () =>
        s.fault(OVERFLOW, () => {
          s.writeDefault(above);
          s.move(-1);
        }),
    );
  };

  /** (significand, sign and exponent). */
  instruction(r, 'x87.push', ['i64', 'i32'], (s, n) => {
    const { f } = n;
    push(s, () => ({ sig: () => f.get(f.param(0, 'i64')), se: () => f.get(f.param(1, 'i32')) }));
  });
  /** (number, as FLD1 to FLDZ are encoded). */
  instruction(r, 'x87.constant', ['i32'], (s, n) => {
    const { f, c, k, g } = bound(n);
    const { i32 } = f;
    push(s, () => {
      const which = f.param(0, 'i32');
      const [sig, se] = [n.i64(k(0)), n.i32(c(0))];
      const mode = n.i32(i32.and(i32.shr_u(n.field('fcw'), c(10)), c(3)));
      for (const [i, [down, up, exp, nearest]] of CONSTANTS.entries())
        f.if(i32.eq(g(which), c(i)), () => {
          const upward = () => i32.or(i32.eq(g(mode), c(Rounding.Up)), nearest === 'up' ? i32.eqz(g(mode)) : c(0));
          f.set(sig, f.select(k(up), k(down), upward()));
          f.set(se, c(exp));
        });
      return { sig: () => g(sig), se: () => g(se) };
    });
  });
  /** (bits, format). */
  instruction(r, 'x87.load', ['i64', 'i32'], (s, n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    push(s, () => {
      const sig = n.i64(f.call(widen, g(f.param(0, 'i64')), g(f.param(1, 'i32'))));
      const se = n.i32(n.se());
      f.if(i32.and(g(se), c(NARROW_DENORMAL)), () => n.raise(Fsw.DE));
      const nan = i32.and(i32.eq(i32.and(g(se), c(EXP_MASK)), c(EXP_MASK)), i64.ne(g(sig), k(INTEGER_BIT)));
      f.if(i32.and(nan, i64.eqz(i64.and(g(sig), k(QUIET_BIT)))), () => {
        n.raise(Fsw.IE);
        f.set(sig, i64.or(g(sig), k(QUIET_BIT)));
      });
      return { sig: () => g(sig), se: () => g(se) };
    });
  });
  instruction(r, 'x87.loadBcd', ['i64', 'i32'], (s, n) => {
    const { f, g } = bound(n);
    push(s, () => {
      const sig = n.i64(f.call(fromBcd, g(f.param(0, 'i64')), g(f.param(1, 'i32'))));
      const se = n.i32(n.se());
      return { sig: () => g(sig), se: () => g(se) };
    });
  });
  instruction(r, 'x87.dup', ['i32'], (s, n) => {
    const { f, c, g } = bound(n);
    const [from, above] = [s.physical(() => g(f.param(0, 'i32'))), s.physical(() => c(7))];
    f.if(s.empty(from), () => {
      s.fault(UNDERFLOW, () => {
        s.writeDefault(above);
        s.move(-1);
      });
      s.return();
    });
    push(s, () => ({ sig: () => s.sig(from), se: () => s.se(from) }));
  });

  /** (to, pop): ST(to) ← ST(0). */
  instruction(r, 'x87.copy', ['i32', 'i32'], (s, n) => {
    const { f, c, g } = bound(n);
    const [to, top] = [s.physical(() => g(f.param(0, 'i32'))), s.physical(() => c(0))];
    const pop = () => g(f.param(1, 'i32'));
    f.if(
      s.empty(top),
      () => s.fault(UNDERFLOW, () => s.writeDefault(to)),
      () => {
        s.write(
          to,
          () => s.sig(top),
          () => s.se(top),
        );
        f.if(pop(), () => s.pop());
        s.returnClean();
      },
    );
    f.if(f.i32.and(pop(), f.i32.eqz(s.blocked())), () => s.pop());
  });

  /**
   * (to): as `x87.copy` with a pop, but an empty ST(0) is no fault and is not copied (D9 /3 as measured on the host's AMD
   * processor).
   */
  instruction(r, 'x87.copyQuietly', ['i32'], (s, n) => {
    const { f, c, g } = bound(n);
    const [to, top] = [s.physical(() => g(f.param(0, 'i32'))), s.physical(() => c(0))];
    f.if(f.i32.eqz(s.empty(top)), () =>
      s.write(
        to,
        () => s.sig(top),
        () => s.se(top),
      ),
    );
    s.pop();
  });

  instruction(r, 'x87.xch', ['i32'], (s, n) => {
    const { f, c, g } = bound(n);
    const [a, b] = [s.physical(() => c(0)), s.physical(() => g(f.param(0, 'i32')))];
    f.if(f.i32.or(s.empty(a), s.empty(b)), () => {
      n.raise(UNDERFLOW);
      f.if(s.blocked(), () => s.return());
      for (const x of [a, b]) f.if(s.empty(x), () => s.writeDefault(x));
    });
    const [sig, se] = [n.i64(s.sig(a)), n.i32(s.se(a))];
    s.write(
      a,
      () => s.sig(b),
      () => s.se(b),
    );
    s.write(
      b,
      () => g(sig),
      () => g(se),
    );
    f.if(f.i32.eqz(n.exceptions()), () => s.returnClean());
  });

  /** (from, condition). */
  instruction(r, 'x87.cmov', ['i32', 'i32'], (s, n) => {
    const { f, c, g } = bound(n);
    const [top, from] = [s.physical(() => c(0)), s.physical(() => g(f.param(0, 'i32')))];
    f.if(
      f.i32.or(s.empty(top), s.empty(from)),
      () => s.fault(UNDERFLOW, () => s.writeDefault(top)),
      () =>
        f.if(g(f.param(1, 'i32')), () =>
          s.write(
            top,
            () => s.sig(from),
            () => s.se(from),
          ),
        ),
    );
    commitKeepingC1(s);
    f.return();
  });
}

/**
 * Stores: they return what to write to memory. `third` is zero when nothing is to be written.
 * The caller has made sure that the write cannot fault.
 */
function addStores(r: Routines): void {
  const store = (
    name: string,
    params: readonly ('i32' | 'i64')[],
    indefinite: (n: Num) => I64,
    value: (s: Stack, top: Local<I32>) => I64,
    pop: (n: Num) => I32,
    indefiniteSe = 0xffff,
  ): void => {
    const commit = r.get<Commit>('x87.commit');
    r.define(name, params, ['i64'], (n) => {
      const s = new Stack(n, commit);
      const { f, c, g } = bound(n);
      const { i32 } = f;
      const top = s.physical(() => c(0));
      const bits = f.local('i64');
      f.if(
        s.empty(top),
        () => {
          n.raise(UNDERFLOW);
          f.set(bits, indefinite(n));
          n.setSe(() => c(indefiniteSe));
        },
        () => f.set(bits, value(s, top)),
      );
      // Unmasked overflow and underflow, too, keep a memory destination as it was (SDM vol. 1 §8.5.4, §8.5.5).
      const write = n.i32(i32.eqz(s.blocked(PRE_OPERATION | Fsw.OE | Fsw.UE)));
      f.if(i32.and(g(write), pop(n)), () => s.pop());
      s.commit();
      n.setThird(() => n.bool64(g(write)));
      g(bits);
    });
  };
  const popFlag = (n: Num) => n.f.get(n.f.param(0, 'i32'));
  const convert = (name: string) => (s: Stack, top: Local<I32>) => s.n.f.call(r.get<Unary>(name), s.sig(top), s.se(top));
  store('x87.storeSingle', ['i32'], (n) => n.k(0xffc0_0000), convert('x87.toSingle'), popFlag);
  store('x87.storeDouble', ['i32'], (n) => n.k(0x1fffn << 51n), convert('x87.toDouble'), popFlag);
  store(
    'x87.storeBcd',
    [],
    (n) => n.k(DEFAULT_NAN.sig),
    convert('x87.toBcd'),
    (n) => n.c(1),
  );
  store(
    'x87.storeExtended',
    [],
    (n) => n.k(DEFAULT_NAN.sig),
    (s, top) => {
      s.n.setSe(() => s.se(top));
      return s.sig(top);
    },
    (n) => n.c(1),
  );
  /** (pop, bytes, truncate). */
  const toInteger = r.get<FuncRef<[I64, I32, I32, I32], I64>>('x87.toInteger');
  store(
    'x87.storeInteger',
    ['i32', 'i32', 'i32'],
    (n) => n.f.i64.shl(n.k(1), n.bool64(n.f.i32.sub(n.f.i32.shl(n.f.get(n.f.param(1, 'i32')), n.c(3)), n.c(1)))),
    (s, top) => s.n.f.call(toInteger, s.sig(top), s.se(top), s.n.f.get(s.n.f.param(1, 'i32')), s.n.f.get(s.n.f.param(2, 'i32'))),
    popFlag,
  );
}

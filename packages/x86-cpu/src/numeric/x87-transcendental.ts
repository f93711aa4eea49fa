/** The transcendental instructions on the register stack (SDM vol. 1 §8.3.6, §8.3.7). */
import type { I32, Local } from '@tsvisor/wasm-codegen';
import type { Binary, Num, Routines, Unary } from './x87-kit.ts';
import { BIAS, bound, EXP_MASK, Fsw, INTEGER_BIT } from './x87-kit.ts';
import type { Stack } from './x87-stack.ts';
import { instruction, OVERFLOW, UNDERFLOW } from './x87-stack.ts';

export function addTranscendental(r: Routines): void {
  addOneResult(r);
  addTwoResults(r);
  addTwoOperands(r);
}

const setC2 = (n: Num, set: boolean): void =>
  n.setField('fsw', () => (set ? n.f.i32.or(n.field('fsw'), n.c(Fsw.C2)) : n.f.i32.and(n.field('fsw'), n.c(~Fsw.C2))));

/** |ST(0)| is finite and at least 2^63: C2 says so and nothing else happens. */
function outOfRange(s: Stack, top: Local<I32>): void {
  const { n } = s;
  const { f, c, g } = bound(n);
  const { i32, i64 } = f;
  const exp = n.i32(i32.and(s.se(top), c(EXP_MASK)));
  f.if(i32.and(i32.lt_u(i32.sub(g(exp), c(BIAS + 63)), c(EXP_MASK - BIAS - 63)), i64.lt_s(s.sig(top), n.k(0))), () => {
    setC2(n, true);
    s.return();
  });
}

/** FSIN, FCOS, F2XM1. */
function addOneResult(r: Routines): void {
  for (const name of ['sin', 'cos', '2xm1']) {
    const op = r.get<Unary>(`x87.value.${name}`);
    instruction(r, `x87.${name}`, [], (s, n) => {
      const { f, c, g } = bound(n);
      const top = s.physical(() => c(0));
      if (name !== '2xm1') setC2(n, false);
      f.if(
        s.empty(top),
        () => s.fault(UNDERFLOW, () => s.writeDefault(top)),
        () => {
          if (name !== '2xm1') outOfRange(s, top);
          const sig = n.i64(f.call(op, s.sig(top), s.se(top)));
          f.if(f.i32.eqz(s.blocked()), () =>
            s.write(
              top,
              () => g(sig),
              () => n.se(),
            ),
          );
        },
      );
    });
  }
}

/** FSINCOS and FPTAN: the first result replaces ST(0), the second is pushed. */
function addTwoResults(r: Routines): void {
  for (const name of ['sincos', 'ptan']) {
    const first = r.get<Unary>(name === 'sincos' ? 'x87.value.sin' : 'x87.value.tan');
    const cosine = r.get<Unary>('x87.value.cos');
    instruction(r, `x87.${name}`, [], (s, n) => {
      const { f, c, k, g } = bound(n);
      const [top, above] = [s.physical(() => c(0)), s.physical(() => c(7))];
      const faulty = (flags: number): void => {
        s.fault(flags, () => {
          s.writeDefault(top);
          s.writeDefault(above);
          s.move(-1);
        });
        s.return();
      };
      setC2(n, false);
      f.if(s.empty(top), () => faulty(UNDERFLOW));
      f.if(f.i32.eqz(s.empty(above)), () => faulty(OVERFLOW));
      outOfRange(s, top);
      const sig = n.i64(f.call(first, s.sig(top), s.se(top)));
      const se = n.i32(n.se());
      const [sig2, se2] = [n.i64(k(INTEGER_BIT)), n.i32(c(BIAS))];
      if (name === 'sincos') {
        f.set(sig2, f.call(cosine, s.sig(top), s.se(top)));
        f.set(se2, n.se());
        // Two results, one C1: it stays clear.
        n.keepExceptions(~Fsw.C1);
      } else {
        // A NaN is pushed too.
        f.if(f.i32.eq(f.i32.and(g(se), c(EXP_MASK)), c(EXP_MASK)), () => {
          f.set(sig2, g(sig));
          f.set(se2, g(se));
        });
      }
      f.if(f.i32.eqz(s.blocked()), () => {
        s.write(
          top,
          () => g(sig),
          () => g(se),
        );
        s.write(
          above,
          () => g(sig2),
          () => g(se2),
        );
        s.move(-1);
      });
    });
  }
}

/** FPATAN, FYL2X, FYL2XP1: ST(1) ← op(ST(1), ST(0)), then a pop. */
function addTwoOperands(r: Routines): void {
  for (const [name, value] of [
    ['patan', 'atan'],
    ['yl2x', 'yl2x'],
    ['yl2xp1', 'yl2xp1'],
  ]) {
    const op = r.get<Binary>(`x87.value.${value}`);
    instruction(r, `x87.${name}`, [], (s, n) => {
      const { f, c, g } = bound(n);
      const [top, next] = [s.physical(() => c(0)), s.physical(() => c(1))];
      f.if(
        f.i32.or(s.empty(top), s.empty(next)),
        () => s.fault(UNDERFLOW, () => s.writeDefault(next)),
        () => {
          const sig = n.i64(f.call(op, s.sig(next), s.se(next), s.sig(top), s.se(top)));
          f.if(f.i32.eqz(s.blocked()), () =>
            s.write(
              next,
              () => g(sig),
              () => n.se(),
            ),
          );
        },
      );
      f.if(f.i32.eqz(s.blocked()), () => s.pop());
    });
  }
}

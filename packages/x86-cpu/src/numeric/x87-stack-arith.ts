/** Arithmetic on the register stack. */
import type { FuncRef, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Widen } from './x87-convert.ts';
import type { Binary, Routines, Unary } from './x87-kit.ts';
import { bound, EXP_MASK, Fsw, SIGN } from './x87-kit.ts';
import type { Stack } from './x87-stack.ts';
import { instruction, OVERFLOW, UNDERFLOW } from './x87-stack.ts';

export function addStackArithmetic(r: Routines): void {
  addBinary(r);
  addUnary(r);
  addTwoOperand(r);
}

const BINARY = ['add', 'mul', 'sub', 'subr', 'div', 'divr'] as const;

function addBinary(r: Routines): void {
  const widen = r.get<Widen>('x87.widen');
  for (const name of BINARY) {
    const reversed = name.endsWith('r');
    const op = r.get<Binary>(`x87.value.${reversed ? name.slice(0, -1) : name}`);
    const apply = (s: Stack, a: Local<I32>, sig: () => I64, se: () => I32): Local<I64> =>
      s.n.i64(reversed ? s.n.f.call(op, sig(), se(), s.sig(a), s.se(a)) : s.n.f.call(op, s.sig(a), s.se(a), sig(), se()));
    /** The result where something is to be reported. */
    const store = (s: Stack, to: Local<I32>, sig: Local<I64>): void =>
      s.n.f.if(s.n.f.i32.eqz(s.blocked()), () =>
        s.write(
          to,
          () => s.n.g(sig),
          () => s.n.se(),
        ),
      );

    /** (destination, source, pop): ST(d) ← ST(d) op ST(s). */
    instruction(r, `x87.${name}`, ['i32', 'i32', 'i32'], (s, n) => {
      const { f, g } = bound(n);
      const pop = () => g(f.param(2, 'i32'));
      const [to, from] = [s.physical(() => g(f.param(0, 'i32'))), s.physical(() => g(f.param(1, 'i32')))];
      f.if(
        f.i32.or(s.empty(to), s.empty(from)),
        () => s.fault(UNDERFLOW, () => s.writeDefault(to)),
        () => {
          const sig = apply(
            s,
            to,
            () => s.sig(from),
            () => s.se(from),
          );
          s.finishUsual(to, () => g(sig), pop);
          store(s, to, sig);
        },
      );
      f.if(f.i32.and(pop(), f.i32.eqz(s.blocked())), () => s.pop());
    });

    /** (bits, format): ST(0) ← ST(0) op memory. */
    instruction(r, `x87.${name}.m`, ['i64', 'i32'], (s, n) => {
      const { f, c, g } = bound(n);
      const to = s.physical(() => c(0));
      f.if(
        s.empty(to),
        () => s.fault(UNDERFLOW, () => s.writeDefault(to)),
        () => {
          const bSig = n.i64(f.call(widen, g(f.param(0, 'i64')), g(f.param(1, 'i32'))));
          const bSe = n.i32(n.se());
          const sig = apply(
            s,
            to,
            () => g(bSig),
            () => g(bSe),
          );
          s.finishUsual(to, () => g(sig));
          store(s, to, sig);
        },
      );
    });
  }
}

/** ST(0) ← op ST(0). */
function addUnary(r: Routines): void {
  for (const name of ['sqrt', 'rndint']) {
    const op = r.get<Unary>(`x87.value.${name}`);
    instruction(r, `x87.${name}`, [], (s, n) => {
      const { f, c, g } = bound(n);
      const top = s.physical(() => c(0));
      f.if(
        s.empty(top),
        () => s.fault(UNDERFLOW, () => s.writeDefault(top)),
        () => {
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
  for (const [name, change] of [
    ['chs', 'xor'],
    ['abs', 'and'],
  ] as const)
    instruction(r, `x87.${name}`, [], (s, n) => {
      const { f, c } = bound(n);
      const top = s.physical(() => c(0));
      f.if(
        s.empty(top),
        () => s.fault(UNDERFLOW, () => s.writeDefault(top)),
        () =>
          s.write(
            top,
            () => s.sig(top),
            () => (change === 'xor' ? f.i32.xor(s.se(top), c(SIGN)) : f.i32.and(s.se(top), c(EXP_MASK))),
          ),
      );
    });
}

/** FSCALE, FPREM, FPREM1: ST(0) ← ST(0) op ST(1). FXTRACT. */
function addTwoOperand(r: Routines): void {
  const remainder = r.get<FuncRef<[I64, I32, I64, I32, I32], I64>>('x87.value.remainder');
  const scale = r.get<Binary>('x87.value.scale');
  const CODES = Fsw.C0 | Fsw.C1 | Fsw.C2 | Fsw.C3;
  for (const name of ['scale', 'prem', 'prem1'])
    instruction(r, `x87.${name}`, [], (s, n) => {
      const { f, c, g } = bound(n);
      const { i32 } = f;
      const [top, next] = [s.physical(() => c(0)), s.physical(() => c(1))];
      f.if(
        i32.or(s.empty(top), s.empty(next)),
        () => {
          s.fault(UNDERFLOW, () => s.writeDefault(top));
          if (name !== 'scale') n.setField('fsw', () => i32.and(n.field('fsw'), c(~Fsw.C2)));
        },
        () => {
          const sig = n.i64(
            name === 'scale'
              ? f.call(scale, s.sig(top), s.se(top), s.sig(next), s.se(next))
              : f.call(remainder, s.sig(top), s.se(top), s.sig(next), s.se(next), c(name === 'prem1' ? 1 : 0)),
          );
          f.if(i32.eqz(s.blocked()), () => {
            s.write(
              top,
              () => g(sig),
              () => n.se(),
            );
          });
          if (name === 'scale') return;
          // Without a quotient C0 and C3 stay (as measured on the host's AMD processor).
          const codes = n.i32(i32.wrap_i64(n.second()));
          const keep = n.i32(f.select(c(Fsw.C0 | Fsw.C3), c(0), i32.or(i32.lt_s(g(codes), c(0)), i32.ne(s.blocked(), c(0)))));
          n.setField('fsw', () => i32.and(n.field('fsw'), i32.or(c(~CODES), g(keep))));
          f.if(i32.eqz(g(keep)), () => n.raiseValue(() => g(codes)));
        },
      );
    });

  const extract = r.get<Unary>('x87.value.xtract');
  instruction(r, 'x87.xtract', [], (s, n) => {
    const { f, c, g } = bound(n);
    const [top, above] = [s.physical(() => c(0)), s.physical(() => c(7))];
    f.if(s.empty(top), () => {
      s.fault(UNDERFLOW, () => {
        s.writeDefault(top);
        s.writeDefault(above);
        s.move(-1);
      });
      s.return();
    });
    f.if(f.i32.eqz(s.empty(above)), () => {
      s.fault(OVERFLOW, () => {
        s.writeDefault(top);
        s.writeDefault(above);
        s.move(-1);
      });
      s.return();
    });
    const sig = n.i64(f.call(extract, s.sig(top), s.se(top)));
    const se = n.i32(n.se());
    f.if(f.i32.eqz(s.blocked()), () => {
      s.write(
        top,
        () => n.third(),
        () => f.i32.wrap_i64(n.second()),
      );
      s.write(
        above,
        () => g(sig),
        () => g(se),
      );
      s.move(-1);
    });
  });
}

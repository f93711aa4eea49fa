/** Comparisons on the register stack. */
import type { FuncRef, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Compare } from './x87-compare.ts';
import { Order } from './x87-compare.ts';
import type { Widen } from './x87-convert.ts';
import type { Num, Routines } from './x87-kit.ts';
import { bound, Fsw, SIGN } from './x87-kit.ts';
import type { Commit } from './x87-stack.ts';
import { commitKeepingC1, instruction, Stack, UNDERFLOW } from './x87-stack.ts';

export function addStackComparisons(r: Routines): void {
  const compare = r.get<Compare>('x87.compare');
  const widen = r.get<Widen>('x87.widen');
  const classOf = r.get<FuncRef<[I64, I32], I32>>('x87.class');
  const CODES = Fsw.C0 | Fsw.C2 | Fsw.C3;
  const setCodes = (n: Num, codes: () => I32): void =>
    n.setField('fsw', () => n.f.i32.or(n.f.i32.and(n.field('fsw'), n.c(~CODES)), codes()));
  const pops = (s: Stack, count: Local<I32>): void => {
    const { f } = s.n;
    f.if(f.i32.and(f.i32.ne(f.get(count), s.n.c(0)), f.i32.eqz(s.blocked())), () => {
      s.pop();
      f.if(f.i32.gt_u(f.get(count), s.n.c(1)), () => s.pop());
    });
  };

  /** (register, quiet, pops). */
  instruction(r, 'x87.com', ['i32', 'i32', 'i32'], (s, n) => {
    const { f, c, g } = bound(n);
    const [top, other] = [s.physical(() => c(0)), s.physical(() => g(f.param(0, 'i32')))];
    const order = n.i32(c(Order.Unordered));
    f.if(
      f.i32.or(s.empty(top), s.empty(other)),
      () => n.raise(UNDERFLOW),
      () => f.set(order, f.call(compare, s.sig(top), s.se(top), s.sig(other), s.se(other), g(f.param(1, 'i32')))),
    );
    setCodes(n, () => g(order));
    pops(s, f.param(2, 'i32'));
  });
  /** (bits, format, pops). */
  instruction(r, 'x87.com.m', ['i64', 'i32', 'i32'], (s, n) => {
    const { f, c, g } = bound(n);
    const top = s.physical(() => c(0));
    const order = n.i32(c(Order.Unordered));
    f.if(
      s.empty(top),
      () => n.raise(UNDERFLOW),
      () => {
        const sig = n.i64(f.call(widen, g(f.param(0, 'i64')), g(f.param(1, 'i32'))));
        f.set(order, f.call(compare, s.sig(top), s.se(top), g(sig), n.se(), c(0)));
      },
    );
    setCodes(n, () => g(order));
    pops(s, f.param(2, 'i32'));
  });
  instruction(r, 'x87.tst', [], (s, n) => {
    const { f, c, k, g } = bound(n);
    const top = s.physical(() => c(0));
    const order = n.i32(c(Order.Unordered));
    f.if(
      s.empty(top),
      () => n.raise(UNDERFLOW),
      () => f.set(order, f.call(compare, s.sig(top), s.se(top), k(0), c(0), c(0))),
    );
    setCodes(n, () => g(order));
  });
  /** (register, quiet, pop) → order in C0 C2 C3 places, for EFLAGS. C1 stays but for a stack fault. */
  const commit = r.get<Commit>('x87.commit');
  r.define('x87.comi', ['i32', 'i32', 'i32'], ['i32'], (n) => {
    const s = new Stack(n, commit);
    const { f, c, g } = bound(n);
    const [top, other] = [s.physical(() => c(0)), s.physical(() => g(f.param(0, 'i32')))];
    const order = n.i32(c(Order.Unordered));
    f.if(
      f.i32.or(s.empty(top), s.empty(other)),
      () => n.raise(UNDERFLOW),
      () => f.set(order, f.call(compare, s.sig(top), s.se(top), s.sig(other), s.se(other), g(f.param(1, 'i32')))),
    );
    pops(s, f.param(2, 'i32'));
    commitKeepingC1(s);
    g(order);
  });
  instruction(r, 'x87.xam', [], (s, n) => {
    const { f, c, g } = bound(n);
    const top = s.physical(() => c(0));
    const cls = n.i32(f.call(classOf, s.sig(top), s.se(top)));
    f.if(s.empty(top), () => f.set(cls, c(Fsw.C3 | Fsw.C0)));
    setCodes(n, () => g(cls));
    f.if(n.f.i32.and(s.se(top), c(SIGN)), () => n.raise(Fsw.C1));
  });
}

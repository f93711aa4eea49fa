/** Control instructions: initialisation, control and status words, the environment and the whole state in memory. */
import type { FuncRef, I32, Local } from '@tsvisor/wasm-codegen';
import { CPU, Rflags } from '../state.ts';
import type { Num, Routines } from './x87-kit.ts';
import { bound, EXCEPTIONS, EXP_MASK, Fsw } from './x87-kit.ts';
import { instruction } from './x87-stack.ts';

/** FNINIT (SDM vol. 2A): all masked, to nearest, extended precision. */
const INITIAL_FCW = 0x37f;
/** Bits of the control word that exist; bit 6 reads as one. */
const FCW_BITS = 0x1f3f;
const FCW_ONE = 0x40;
/** Offsets of an image's registers, by the environment's size. */
export const ENV = { short: 14, long: 28 } as const;

type Routine = FuncRef<[], void>;

export function addControl(r: Routines): void {
  addWords(r);
  addStackControl(r);
  addStoreEnvironment(r);
  addLoadEnvironment(r);
  addRegisters(r);
}

const pointer = (n: Num, field: 'fop' | 'fcs' | 'fds' | 'fip' | 'fdp'): I32 => n.f.i32.load(n.base(), CPU.offset[field]);

/** ES and B follow from flags and masks (SDM vol. 1 §8.1.3.3). */
function summarise(n: Num): void {
  const { f, c, g } = bound(n);
  const { i32 } = f;
  const status = n.i32(i32.and(n.field('fsw'), c(~(Fsw.ES | Fsw.B))));
  const pending = () => i32.and(i32.and(g(status), i32.xor(n.field('fcw'), c(-1))), c(EXCEPTIONS));
  f.if(pending(), () => f.set(status, i32.or(g(status), c(Fsw.ES | Fsw.B))));
  n.setField('fsw', () => g(status));
}

function addWords(r: Routines): void {
  const summary = r.define('x87.summarise', [], [], summarise) as Routine;
  r.define('x87.init', [], [], (n) => {
    n.setField('fcw', () => n.c(INITIAL_FCW));
    n.setField('fsw', () => n.c(0));
    n.setField('ftop', () => n.c(0));
    n.setField('fempty', () => n.c(0xff));
    for (const field of ['fop', 'fcs', 'fds'] as const) n.f.i32.store(n.base(), n.c(0), CPU.offset[field]);
    for (const field of ['fip', 'fdp'] as const) n.f.i64.store(n.base(), n.k(0), CPU.offset[field]);
  });
  /** FNCLEX. */
  r.define('x87.clear', [], [], (n) => {
    n.setField('fsw', () => n.f.i32.and(n.field('fsw'), n.c(~(EXCEPTIONS | Fsw.SF | Fsw.ES | Fsw.B))));
  });
  /** FLDCW. */
  r.define('x87.setControl', ['i32'], [], (n) => {
    const { i32 } = n.f;
    n.setField('fcw', () => i32.or(i32.and(n.f.get(n.f.param(0, 'i32')), n.c(FCW_BITS)), n.c(FCW_ONE)));
    n.f.call(summary);
  });
  /** FNSTSW's value. */
  r.define('x87.status', [], ['i32'], (n) => {
    n.f.i32.or(n.field('fsw'), n.f.i32.shl(n.field('ftop'), n.c(11)));
  });
}

/** FINCSTP, FDECSTP, FFREE, FFREEP, FNOP. */
function addStackControl(r: Routines): void {
  for (const [name, by] of [
    ['x87.incstp', 1],
    ['x87.decstp', -1],
  ] as const)
    instruction(r, name, [], (s) => s.move(by));
  /** (register, pop). */
  instruction(r, 'x87.free', ['i32', 'i32'], (s, n) => {
    const { f } = n;
    s.free(s.physical(() => f.get(f.param(0, 'i32'))));
    f.if(f.get(f.param(1, 'i32')), () => s.pop());
  });
}

/** (host address, bytes 14 or 28): FNSTENV's image; the caller masks the exceptions afterwards with `x87.maskAll`. */
function addStoreEnvironment(r: Routines): void {
  /** Full tag word: 0 valid, 1 zero, 2 special, 3 empty, by physical register (SDM vol. 1 §8.1.7). */
  const tagWord = r.define('x87.tagWord', [], ['i32'], (n) => {
    const { f, c, k, g } = bound(n);
    const { i32, i64 } = f;
    const [i, tags, at, tag, exp] = [n.i32(c(8)), n.i32(c(0)), f.local('i32'), f.local('i32'), f.local('i32')];
    const sig = f.local('i64');
    f.loop((again) => {
      f.set(i, i32.sub(g(i), c(1)));
      f.set(at, i32.add(n.base(), i32.shl(g(i), c(4))));
      f.set(sig, i64.load(g(at), CPU.offset.fpr));
      f.set(exp, i32.and(i32.load16_u(g(at), CPU.offset.fpr + 8), c(EXP_MASK)));
      const normal = () => i32.and(i64.lt_s(g(sig), k(0)), i32.lt_u(i32.sub(g(exp), c(1)), c(EXP_MASK - 1)));
      f.set(tag, i32.shl(i32.eqz(normal()), c(1)));
      f.if(i32.and(i64.eqz(g(sig)), i32.eqz(g(exp))), () => f.set(tag, c(1)));
      f.if(i32.and(i32.shr_u(n.field('fempty'), g(i)), c(1)), () => f.set(tag, c(3)));
      f.set(tags, i32.or(i32.shl(g(tags), c(2)), g(tag)));
      f.brIf(again, g(i));
    });
    g(tags);
  }) as FuncRef<[], I32>;

  const status = r.get<FuncRef<[], I32>>('x87.status');
  r.define('x87.storeEnvironment', ['i32', 'i32'], [], (n) => {
    const { f, c, g } = bound(n);
    const { i32 } = f;
    const [to, bytes] = [f.param(0, 'i32'), f.param(1, 'i32')];
    const long = n.i32(i32.eq(g(bytes), c(ENV.long)));
    /** One field: a word, or a doubleword whose upper half is all ones unless `wide` says what it is. */
    const put = (slot: number, value: () => I32, wide: boolean): void => {
      f.if(
        g(long),
        () => i32.store(g(to), wide ? value() : i32.or(value(), c(-0x10000)), 4 * slot),
        () => i32.store16(g(to), value(), 2 * slot),
      );
    };
    put(0, () => n.field('fcw'), false);
    put(1, () => f.call(status), false);
    put(2, () => f.call(tagWord), false);
    f.if(
      protectedMode(n),
      () => {
        put(3, () => pointer(n, 'fip'), true);
        put(4, () => i32.or(pointer(n, 'fcs'), i32.shl(i32.and(pointer(n, 'fop'), c(0x7ff)), c(16))), true);
        put(5, () => pointer(n, 'fdp'), true);
        put(6, () => pointer(n, 'fds'), false);
      },
      () => {
        // Real and virtual-8086 mode: linear addresses, their upper halves from bit 12 on (SDM vol. 1, figures 8-10 and 8-12).
        const linear = (offset: 'fip' | 'fdp', selector: 'fcs' | 'fds') =>
          n.i32(i32.add(pointer(n, offset), i32.shl(pointer(n, selector), c(4))));
        const [ip, dp] = [linear('fip', 'fcs'), linear('fdp', 'fds')];
        const upper = (v: Local<I32>) => i32.and(i32.shr_u(g(v), c(4)), c(0xffff000));
        put(3, () => i32.and(g(ip), c(0xffff)), false);
        put(4, () => i32.or(upper(ip), i32.and(pointer(n, 'fop'), c(0x7ff))), true);
        put(5, () => i32.and(g(dp), c(0xffff)), false);
        put(6, () => upper(dp), true);
      },
    );
  });
  /** What FNSTENV does after it has stored. */
  const summary = r.get<Routine>('x87.summarise');
  r.define('x87.maskAll', [], [], (n) => {
    n.setField('fcw', () => n.f.i32.or(n.field('fcw'), n.c(EXCEPTIONS)));
    n.f.call(summary);
  });
}

/** CR0.PE is set and RFLAGS.VM is not. */
function protectedMode(n: Num): I32 {
  const { i32 } = n.f;
  const enabled = i32.and(i32.load(n.base(), CPU.offset.cr0), n.c(1));
  return i32.and(enabled, i32.eqz(i32.and(i32.load(n.base(), CPU.offset.rflags), n.c(Rflags.VM))));
}

/** (host address, bytes 14 or 28): FLDENV. */
function addLoadEnvironment(r: Routines): void {
  const setControl = r.get<FuncRef<[I32], void>>('x87.setControl');
  r.define('x87.loadEnvironment', ['i32', 'i32'], [], (n) => {
    const { f, c, g } = bound(n);
    const { i32, i64 } = f;
    const [from, bytes] = [f.param(0, 'i32'), f.param(1, 'i32')];
    const long = n.i32(i32.eq(g(bytes), c(ENV.long)));
    const word = (slot: number): Local<I32> =>
      n.i32(f.select(i32.load16_u(g(from), 4 * slot), i32.load16_u(g(from), 2 * slot), g(long)));
    const wide = (slot: number): Local<I32> =>
      n.i32(f.select(i32.load(g(from), 4 * slot), i32.load16_u(g(from), 2 * slot), g(long)));
    const [status, tags] = [word(1), word(2)];
    n.setField('ftop', () => i32.and(i32.shr_u(g(status), c(11)), c(7)));
    n.setField('fsw', () => i32.and(g(status), c(EXCEPTIONS | Fsw.SF | Fsw.C0 | Fsw.C1 | Fsw.C2 | Fsw.C3)));
    const [i, empty] = [n.i32(c(8)), n.i32(c(0))];
    f.loop((again) => {
      f.set(i, i32.sub(g(i), c(1)));
      const tag = () => i32.and(i32.shr_u(g(tags), i32.shl(g(i), c(1))), c(3));
      f.set(empty, i32.or(i32.eq(tag(), c(3)), i32.shl(g(empty), c(1))));
      f.brIf(again, g(i));
    });
    n.setField('fempty', () => g(empty));
    const [ip, code, dp, data] = [wide(3), wide(4), wide(5), wide(6)];
    const set32 = (field: 'fop' | 'fcs' | 'fds', value: () => I32): void => i32.store(n.base(), value(), CPU.offset[field]);
    const set64 = (field: 'fip' | 'fdp', value: () => I32): void =>
      i64.store(n.base(), i64.extend_i32_u(value()), CPU.offset[field]);
    f.if(
      protectedMode(n),
      () => {
        set64('fip', () => g(ip));
        set32('fcs', () => i32.and(g(code), c(0xffff)));
        f.if(g(long), () => set32('fop', () => i32.and(i32.shr_u(g(code), c(16)), c(0x7ff))));
        set64('fdp', () => g(dp));
        set32('fds', () => i32.and(g(data), c(0xffff)));
      },
      () => {
        const linear = (low: Local<I32>, high: Local<I32>) =>
          i32.or(i32.and(g(low), c(0xffff)), i32.shl(i32.and(g(high), c(0xffff000)), c(4)));
        set64('fip', () => linear(ip, code));
        set32('fcs', () => c(0));
        set32('fop', () => i32.and(g(code), c(0x7ff)));
        set64('fdp', () => linear(dp, data));
        set32('fds', () => c(0));
      },
    );
    f.call(setControl, g(word(0)));
  });
}

/** The eight registers in stack order, 10 bytes each: (host address of the first, first number, number after the last). */
function addRegisters(r: Routines): void {
  for (const store of [true, false])
    r.define(store ? 'x87.storeRegisters' : 'x87.loadRegisters', ['i32', 'i32', 'i32'], [], (n) => {
      const { f, c, g } = bound(n);
      const { i32, i64 } = f;
      const [at, i, end] = [f.param(0, 'i32'), f.param(1, 'i32'), f.param(2, 'i32')];
      const register = f.local('i32');
      f.loop((again) => {
        f.set(register, i32.add(n.base(), i32.shl(i32.and(i32.add(n.field('ftop'), g(i)), c(7)), c(4))));
        if (store) {
          i64.store(g(at), i64.load(g(register), CPU.offset.fpr));
          i32.store16(g(at), i32.load(g(register), CPU.offset.fpr + 8), 8);
        } else {
          i64.store(g(register), i64.load(g(at)), CPU.offset.fpr);
          i64.store(g(register), i64.load16_u(g(at), 8), CPU.offset.fpr + 8);
        }
        f.set(at, i32.add(g(at), c(10)));
        f.set(i, i32.add(g(i), c(1)));
        f.brIf(again, i32.lt_u(g(i), g(end)));
      });
    });
}

/** x87 loads, stores and register moves (SDM vol. 1 §8.3.3, §8.3.4). */
import type { I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import type { Semantics } from './types.ts';
import {
  i32,
  mayWrite,
  memoryOperand,
  memoryValue,
  notePointers,
  operandHost,
  routine,
  run,
  secondResult,
  wait,
} from './x87-operands.ts';

const EXTENDED = 10;

/** Significand (or low eight BCD bytes) and upper two bytes of a ten-byte operand. */
function readTen(e: Emitter): { low: Local<I64>; high: Local<I32> } {
  const { f } = e;
  const host = operandHost(e, EXTENDED, false);
  return { low: e.let(f.i64.load(f.get(host))), high: e.let32(f.i32.load16_u(f.get(host), 8)) };
}

const fld: Semantics = (e) => {
  const { f } = e;
  wait(e);
  const memory = memoryOperand(e);
  if (memory < 0) {
    notePointers(e);
    run(e, 'dup', e.stackIndex(0));
  } else if (e.size(memory) === EXTENDED) {
    const { low, high } = readTen(e);
    notePointers(e);
    run(e, 'push', f.get(low), f.get(high));
  } else {
    const { bits, format } = memoryValue(e, false);
    notePointers(e);
    run(e, 'load', f.get(bits), i32(e, format));
  }
};

const fild: Semantics = (e) => {
  wait(e);
  const { bits, format } = memoryValue(e, true);
  notePointers(e);
  run(e, 'load', e.f.get(bits), i32(e, format));
};

const fbld: Semantics = (e) => {
  wait(e);
  const { low, high } = readTen(e);
  notePointers(e);
  run(e, 'loadBcd', e.f.get(low), e.f.get(high));
};

/**
 * Stores what `routine` returns, unless an unmasked exception forbids it. The write is known to succeed before the stack
 * changes.
 */
function storeResult(e: Emitter, size: number, value: () => I64): void {
  const { f } = e;
  const host = operandHost(e, size, true);
  notePointers(e);
  const bits = e.let(value());
  f.if(mayWrite(e), () => {
    e.storeHost(() => f.get(host), Math.min(size, 8), bits);
    if (size === EXTENDED) f.i32.store16(f.get(host), secondResult(e), 8);
    e.commit(host);
  });
}

const fst =
  (pop: boolean): Semantics =>
  (e) => {
    wait(e);
    const memory = memoryOperand(e);
    if (memory < 0) {
      notePointers(e);
      run(e, 'copy', e.stackIndex(0), i32(e, pop ? 1 : 0));
      return;
    }
    const size = e.size(memory);
    if (size === EXTENDED) storeResult(e, size, () => e.f.call(routine<I64>(e, 'storeExtended')));
    else storeResult(e, size, () => e.f.call(routine<I64>(e, size === 4 ? 'storeSingle' : 'storeDouble'), i32(e, pop ? 1 : 0)));
  };

const fist =
  (pop: boolean, truncate: boolean): Semantics =>
  (e) => {
    wait(e);
    const size = e.size(memoryOperand(e));
    storeResult(e, size, () =>
      e.f.call(routine<I64>(e, 'storeInteger'), i32(e, pop ? 1 : 0), i32(e, size), i32(e, truncate ? 1 : 0)),
    );
  };

const fbstp: Semantics = (e) => {
  wait(e);
  storeResult(e, EXTENDED, () => e.f.call(routine<I64>(e, 'storeBcd')));
};

/** The undocumented D9 /3: pops without ever reporting an empty register. */
const fstpnce: Semantics = (e) => {
  wait(e);
  notePointers(e);
  run(e, 'copyQuietly', e.stackIndex(0));
};

const fxch: Semantics = (e) => {
  wait(e);
  notePointers(e);
  run(e, 'xch', e.stackIndex(1));
};

/** FCMOVcc on the condition with Jcc's number. */
const fcmov =
  (cc: number): Semantics =>
  (e) => {
    wait(e);
    notePointers(e);
    const holds = e.let32(e.condition(cc));
    run(e, 'cmov', e.stackIndex(1), e.f.get(holds));
  };

const constant =
  (n: number): Semantics =>
  (e) => {
    wait(e);
    notePointers(e);
    run(e, 'constant', i32(e, n));
  };

const table: Record<string, Semantics> = {
  fld,
  fild,
  fbld,
  fst: fst(false),
  fstp: fst(true),
  fist: fist(false, false),
  fistp: fist(true, false),
  fisttp: fist(true, true),
  fbstp,
  fstpnce,
  fxch,
};
for (const [name, cc] of Object.entries({ b: 2, nb: 3, e: 4, ne: 5, be: 6, nbe: 7, u: 10, nu: 11 }))
  table[`fcmov${name}`] = fcmov(cc);
for (const [n, name] of ['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'].entries()) table[name] = constant(n);

export const x87MoveSemantics = table;

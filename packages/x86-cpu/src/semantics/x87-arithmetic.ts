/** x87 arithmetic, comparisons and transcendental functions (SDM vol. 1 §8.3.5 to §8.3.7). */
import type { I32 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import type { Semantics } from './types.ts';
import { i32, memoryOperand, memoryValue, notePointers, routine, run, wait } from './x87-operands.ts';

const OPERATIONS = ['add', 'mul', 'sub', 'subr', 'div', 'divr'];

/** `fadd` and its like: ST(0) with memory, or ST(0) and ST(i) either way round, the first operand being the destination. */
const arithmetic =
  (name: string, integer: boolean, pop: boolean): Semantics =>
  (e) => {
    wait(e);
    if (memoryOperand(e) >= 0) {
      const { bits, format } = memoryValue(e, integer);
      notePointers(e);
      run(e, `${name}.m`, e.f.get(bits), i32(e, format));
      return;
    }
    notePointers(e);
    run(e, name, e.stackIndex(0), e.stackIndex(1), i32(e, pop ? 1 : 0));
  };

/** `quiet`: quiet NaNs are no invalid operation. */
const compare =
  (quiet: boolean, pops: number, integer = false): Semantics =>
  (e) => {
    wait(e);
    if (memoryOperand(e) >= 0) {
      const { bits, format } = memoryValue(e, integer);
      notePointers(e);
      run(e, 'com.m', e.f.get(bits), i32(e, format), i32(e, pops));
      return;
    }
    notePointers(e);
    // FCOMPP and FUCOMPP name no operands.
    const other = e.form.classes.length > 1 ? e.stackIndex(1) : i32(e, 1);
    run(e, 'com', other, i32(e, quiet ? 1 : 0), i32(e, pops));
  };

/** Compares into EFLAGS: CF, PF and ZF take the places of C0, C2 and C3 (SDM vol. 2A, FCOMI). */
const compareFlags =
  (quiet: boolean, pop: boolean): Semantics =>
  (e) => {
    const { f } = e;
    wait(e);
    notePointers(e);
    const order = e.let32(f.call(routine<I32>(e, 'comi'), e.stackIndex(1), i32(e, quiet ? 1 : 0), i32(e, pop ? 1 : 0)));
    const bit = (n: number) => f.i32.and(f.i32.shr_u(f.get(order), f.i32.const(n)), f.i32.const(1));
    e.flagsCompare(
      () => bit(14),
      () => bit(10),
      () => bit(8),
    );
  };

/** An instruction without operands that is i32 routine. */
const plain =
  (name: string): Semantics =>
  (e: Emitter) => {
    wait(e);
    notePointers(e);
    run(e, name);
  };

const table: Record<string, Semantics> = {
  fcom: compare(false, 0),
  fcomp: compare(false, 1),
  fcompp: compare(false, 2),
  ficom: compare(false, 0, true),
  ficomp: compare(false, 1, true),
  fucom: compare(true, 0),
  fucomp: compare(true, 1),
  fucompp: compare(true, 2),
  fcomi: compareFlags(false, false),
  fcomip: compareFlags(false, true),
  fucomi: compareFlags(true, false),
  fucomip: compareFlags(true, true),
};
for (const name of OPERATIONS) {
  table[`f${name}`] = arithmetic(name, false, false);
  table[`f${name}p`] = arithmetic(name, false, true);
  table[`fi${name}`] = arithmetic(name, true, false);
}
const PLAIN = 'tst xam chs abs sqrt rndint scale xtract prem prem1';
const TRANSCENDENTAL = 'f2xm1 fyl2x fyl2xp1 fptan fpatan fsin fcos fsincos';
for (const name of PLAIN.split(' ')) table[`f${name}`] = plain(name);
for (const name of TRANSCENDENTAL.split(' ')) table[name] = plain(name.slice(1));

export const x87ArithmeticSemantics = table;

/** x87 control instructions (SDM vol. 1 §8.1.10, §8.3.9). The FN… forms do not wait; FLDCW, FLDENV and FRSTOR do. */
import type { I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import type { Semantics } from './types.ts';
import { i32, memoryOperand, notePointers, routine, run, wait } from './x87-operands.ts';

const fldcw: Semantics = (e) => {
  wait(e);
  const value = e.let(e.read(0));
  run(e, 'setControl', e.f.i32.wrap_i64(e.f.get(value)));
};
const fnstcw: Semantics = (e) => e.write(0, e.let(e.f.i64.extend_i32_u(e.load32('fcw'))));
/** To memory or AX. */
const fnstsw: Semantics = (e) => e.write(0, e.let(e.f.i64.extend_i32_u(e.f.call(routine<I32>(e, 'status')))), 2);

/**
 * Address of an image in memory. A page fault's address shows that the host's AMD processor looks at the control word's slot
 * and then at the last byte before it does anything.
 */
function imageAddress(e: Emitter, size: number, write: boolean): Local<I64> {
  const { f } = e;
  const va = e.address(size, write);
  e.reference(va, size === 14 || size === 94 ? 2 : 4, write);
  e.reference(e.let(f.i64.add(f.get(va), f.i64.const(size - 1))), 1, write);
  return va;
}

const fnstenv: Semantics = (e) => {
  const size = e.size(memoryOperand(e));
  const host = e.reference(imageAddress(e, size, true), size, true);
  run(e, 'storeEnvironment', e.f.get(host), i32(e, size));
  e.commit(host);
  run(e, 'maskAll');
};
const fldenv: Semantics = (e) => {
  wait(e);
  const size = e.size(memoryOperand(e));
  const host = e.reference(imageAddress(e, size, false), size, false);
  run(e, 'loadEnvironment', e.f.get(host), i32(e, size));
};

/**
 * The parts of an FNSAVE image, each small enough for one reference: the environment with two registers, and the other six.
 * `environment` is its size, `second` the offset of the second part.
 */
function imageParts(e: Emitter): { environment: number; second: number; size: number } {
  const size = e.size(memoryOperand(e));
  const environment = size - 80;
  return { environment, second: environment + 20, size };
}
const at = (e: Emitter, host: Local<I32>, offset: number): I32 => e.f.i32.add(e.f.get(host), e.f.i32.const(offset));

/** Memory is written in two parts and the state changes after both: a fault in the second leaves the instruction repeatable. */
const fnsave: Semantics = (e) => {
  const { f } = e;
  const { environment, second, size } = imageParts(e);
  const va = imageAddress(e, size, true);
  const rest = e.let(f.i64.add(f.get(va), f.i64.const(second)));
  const first = e.reference(va, second, true);
  run(e, 'storeEnvironment', f.get(first), i32(e, environment));
  run(e, 'storeRegisters', at(e, first, environment), i32(e, 0), i32(e, 2));
  e.commit(first);
  const other = e.reference(rest, size - second, true);
  run(e, 'storeRegisters', f.get(other), i32(e, 2), i32(e, 8));
  e.commit(other);
  run(e, 'init');
};

/** The second part is looked up first, for its faults, and again when the first part has told where the stack's top is. */
const frstor: Semantics = (e) => {
  const { f } = e;
  wait(e);
  const { environment, second, size } = imageParts(e);
  const va = imageAddress(e, size, false);
  const rest = e.let(f.i64.add(f.get(va), f.i64.const(second)));
  e.reference(rest, size - second, false);
  const first = e.reference(va, second, false);
  run(e, 'loadEnvironment', f.get(first), i32(e, environment));
  run(e, 'loadRegisters', at(e, first, environment), i32(e, 0), i32(e, 2));
  const other = e.reference(rest, size - second, false);
  run(e, 'loadRegisters', f.get(other), i32(e, 2), i32(e, 8));
};

const free =
  (pop: boolean): Semantics =>
  (e) => {
    wait(e);
    notePointers(e);
    run(e, 'free', e.stackIndex(0), i32(e, pop ? 1 : 0));
  };

const turn =
  (name: string): Semantics =>
  (e) => {
    wait(e);
    notePointers(e);
    run(e, name);
  };

export const x87ControlSemantics: Record<string, Semantics> = {
  fldcw,
  fnstcw,
  fnstsw,
  fnstenv,
  fldenv,
  fnsave,
  frstor,
  fninit: (e) => run(e, 'init'),
  fnclex: (e) => run(e, 'clear'),
  fwait: (e) => wait(e),
  /** FNENI, FNDISI, FNSETPM: nothing since the 80387, not even a look at pending exceptions (SDM vol. 3, on compatibility with the 8087 and 80287). */
  fnnop: () => undefined,
  fnop: (e) => {
    wait(e);
    notePointers(e);
  },
  ffree: free(false),
  ffreep: free(true),
  fincstp: turn('incstp'),
  fdecstp: turn('decstp'),
};

/** Stack operations (SDM vol. 1 §6.2; vol. 2). */
import type { I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { StackMode } from '../form.ts';
import { Reg, Seg } from '../state.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const { RSP, RBP } = Reg;

/** Offset `delta` bytes from a stack pointer value, wrapped to the stack's width. */
function stackOffset(e: Emitter, pointer: Local<I64>, delta: number): Local<I64> {
  const { f } = e;
  const moved = delta === 0 ? f.get(pointer) : f.i64.add(f.get(pointer), f.i64.const(delta));
  if (e.form.stack === StackMode.Long) return e.let(moved);
  if (e.form.stack === StackMode.Flat32) return e.let(e.truncate(moved, 4));
  return e.let(f.i64.and(moved, e.load64('stackMask')));
}

/** Linear address of a stack offset. */
function stackAddress(e: Emitter, offset: Local<I64>, size: number, write: boolean): Local<I64> {
  return e.form.stack === StackMode.Segmented ? e.segmentAddress(offset, size, write, Seg.SS) : offset;
}

/** Sets the stack pointer to an offset that `stackOffset` made. */
export function setStackPointer(e: Emitter, offset: Local<I64>): void {
  const { f } = e;
  if (e.form.stack !== StackMode.Segmented) {
    e.setGpr(RSP, 8, offset);
    return;
  }
  // A 16-bit stack leaves ESP's upper half alone.
  const kept = f.i64.and(e.gpr(RSP, 8), f.i64.xor(e.load64('stackMask'), f.i64.const(-1)));
  e.setGpr(RSP, 8, e.let(f.i64.or(kept, f.get(offset))));
}

/** Pushes; the stack pointer changes after the store has succeeded. */
export function push(e: Emitter, value: Local<I64>, size: number): void {
  const offset = stackOffset(e, e.let(e.gpr(RSP, 8)), -size);
  e.store(stackAddress(e, offset, size, true), size, value);
  setStackPointer(e, offset);
}

/** Reads the top of the stack and says where the stack pointer will be; the caller commits it with `setStackPointer`. */
export function peek(e: Emitter, size: number, extra = 0): { value: Local<I64>; after: Local<I64> } {
  const pointer = e.let(e.gpr(RSP, 8));
  const offset = stackOffset(e, pointer, 0);
  const value = e.let(e.load(stackAddress(e, offset, size, false), size));
  return { value, after: stackOffset(e, pointer, size + extra) };
}

const pushOperand: Semantics = (e) => {
  const size = e.size(0);
  push(e, e.let(e.truncate(e.readSigned(0), size)), size);
};

const popOperand: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const { value, after } = peek(e, size);
  if (!e.isMemory(0)) {
    setStackPointer(e, after); // before the write: POP ESP ends with the popped value
    e.write(0, value);
    return;
  }
  // SDM vol. 2B, POP: a destination based on (E/R)SP is addressed with the incremented pointer.
  const displacement = e.let(f.select(f.i64.const(size), f.i64.const(0), e.baseIsStackPointer()));
  e.store(e.address(size, true, displacement), size, value);
  setStackPointer(e, after);
};

const pushSegment: Semantics = (e) => {
  const size = e.form.opSize;
  push(e, e.let(e.segmentSelector(e.form.special)), size);
};

/** PUSHA: all eight registers, SP as it was; each slot is found writable, in the order of the pushes, before anything is stored. */
const pushAll: Semantics = (e) => {
  const size = e.form.opSize;
  const pointer = e.let(e.gpr(RSP, 8));
  const values = [0, 1, 2, 3, 4, 5, 6, 7].map((reg) => e.let(e.gpr(reg, size)));
  const slots = values.map((_, n) => {
    const va = stackAddress(e, stackOffset(e, pointer, -size * (n + 1)), size, true);
    e.reference(va, size, true);
    return va;
  });
  // The bounce buffer holds one access, so each is made again.
  slots.forEach((va, n) => {
    e.store(va, size, values[n]);
  });
  setStackPointer(e, stackOffset(e, pointer, -8 * size));
};

const popAll: Semantics = (e) => {
  const size = e.form.opSize;
  const pointer = e.let(e.gpr(RSP, 8));
  const values = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => {
    const va = stackAddress(e, stackOffset(e, pointer, size * n), size, false);
    return e.let(e.load(va, size));
  });
  const order = [7, 6, 5, -1, 3, 2, 1, 0]; // DI SI BP (SP is skipped) BX DX CX AX
  order.forEach((reg, n) => {
    if (reg >= 0) e.setGpr(reg, size, values[n]);
  });
  setStackPointer(e, stackOffset(e, pointer, 8 * size));
};

const leave: Semantics = (e) => {
  const size = e.form.opSize;
  const frame = e.let(e.gpr(RBP, 8));
  const offset = stackOffset(e, frame, 0);
  const value = e.let(e.load(stackAddress(e, offset, size, false), size));
  setStackPointer(e, stackOffset(e, frame, size));
  e.setGpr(RBP, size, value);
};

/** ENTER with nesting level 0, the only one compilers use; others are a loop over the display. */
const enter: Semantics = (e) => {
  const { f } = e;
  const size = e.form.opSize;
  const level = e.let(f.i64.and(e.readSigned(1), f.i64.const(31)));
  const pointer = e.let(e.gpr(RSP, 8));
  const oldFrame = e.let(e.gpr(RBP, size));
  const top = stackOffset(e, pointer, -size);
  e.store(stackAddress(e, top, size, true), size, oldFrame);
  // With a 16-bit stack and 32-bit operands all of ESP becomes the frame pointer.
  const whole = (offset: Local<I64>): I64 => {
    if (e.form.stack !== StackMode.Segmented) return f.get(offset);
    return f.i64.or(f.i64.and(f.get(pointer), f.i64.xor(e.load64('stackMask'), f.i64.const(-1))), f.get(offset));
  };
  const frame = e.let(whole(top));
  const display = e.let(e.gpr(RBP, 8));
  f.block((done) =>
    f.loop((again) => {
      f.brIf(done, f.i64.le_u(f.get(level), f.i64.const(1)));
      f.set(level, f.i64.sub(f.get(level), f.i64.const(1)));
      f.set(display, f.get(stackOffset(e, display, -size)));
      const value = e.let(e.load(stackAddress(e, display, size, false), size));
      f.set(top, f.get(stackOffset(e, top, -size)));
      e.store(stackAddress(e, top, size, true), size, value);
      f.br(again);
    }),
  );
  f.if(f.i64.eq(f.get(level), f.i64.const(1)), () => {
    f.set(top, f.get(stackOffset(e, top, -size)));
    const value = e.let(e.truncate(f.get(frame), size));
    e.store(stackAddress(e, top, size, true), size, value);
  });
  const end = e.let(f.i64.sub(f.get(top), e.read(0, 2)));
  const after = stackOffset(e, end, 0);
  // SDM vol. 2A, ENTER: a word at the new stack pointer must be writable, or the instruction faults with nothing changed.
  f.drop(f.get(e.reference(stackAddress(e, after, size, true), size, true)));
  e.setGpr(RBP, size, e.let(e.truncate(f.get(frame), size)));
  setStackPointer(e, after);
};

export const stackSemantics: SemanticsTable = {
  push: pushOperand,
  pop: popOperand,
  push_sreg: pushSegment,
  pusha: pushAll,
  popa: popAll,
  leave,
  enter,
};

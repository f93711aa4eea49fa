/** Operands of MMX and SSE instructions: alignment, partial registers, MMX's hold on the x87 state. */
import type { FuncRef, FunctionBuilder, I32, I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { CPU } from '../state.ts';
import type { Semantics } from './types.ts';

const GP = 13;
const MF = 16;
/** FSW.ES: an unmasked x87 exception is pending (SDM vol. 1 §8.1.3.3). */
const FSW_ES = 1 << 7;

/** A vector operation on two operands. */
export type VectorOp = (f: FunctionBuilder, a: Local<V128>, b: Local<V128>) => V128;

/** The numeric routine `name`, called with operands of the caller's types. */
export function routine<P extends readonly (I32 | I64 | V128)[], R>(e: Emitter, name: string): FuncRef<P, R> {
  const found = e.helpers.routines.get(name);
  if (!found) throw new Error(`no routine ${name}`);
  return found as unknown as FuncRef<P, R>;
}

/** Linear address of the memory operand; #GP(0) unless it is 16-byte aligned (SDM vol. 1 §4.1.1). */
export function alignedAddress(e: Emitter, size: number, write: boolean): Local<I64> {
  const { f } = e;
  const va = e.address(size, write);
  f.if(f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(15)), () => e.raise(GP, 0));
  return va;
}

/** Operand `n` as a vector; 16 bytes of memory must be aligned. */
export function readAligned(e: Emitter, n: number): V128 {
  return e.isMemory(n) ? e.loadV(alignedAddress(e, 16, false)) : e.readV(n);
}

export function writeAligned(e: Emitter, n: number, value: Local<V128>): void {
  if (e.isMemory(n)) e.storeV(alignedAddress(e, 16, true), value);
  else e.writeV(n, value);
}

/** The high half of XMM register operand `n`. */
export function readHigh(e: Emitter, n: number): I64 {
  return e.f.i64.load(e.registerAddress(n), 8);
}

export const zeroVector = (f: FunctionBuilder): V128 => f.v128.const(0, 0, 0, 0);

/** A vector whose low half is `value` and whose high half is zero. */
export function lowVector(f: FunctionBuilder, value: () => I64): V128 {
  return f.v128.replace('i64x2', zeroVector(f), 0, value());
}

/** Low half of a 64-bit operand (XMM register or 8 bytes of memory) in a vector, high half zero. */
export function readHalf(e: Emitter, n: number): V128 {
  return lowVector(e.f, () => e.read(n, 8));
}

/** Zero-extended immediate byte of operand `n`, where the context does not know it. */
export function immediateByte(e: Emitter, n: number): I32 {
  return e.f.i32.wrap_i64(e.read(n, 1));
}

/** #MF for an x87 exception that is still pending, which MMX instructions report as waiting ones do (SDM vol. 1 §9.3). */
export function checkPending(e: Emitter): void {
  const { f } = e;
  f.if(f.i32.and(e.load32('fsw'), f.i32.const(FSW_ES)), () => e.raise(MF));
}

/** What every MMX instruction but EMMS does to the x87 state: TOP = 0, all tags valid (SDM vol. 1 §9.5.1). */
export function enterMmx(e: Emitter): void {
  const { f } = e;
  e.store32('ftop', () => f.i32.const(0));
  e.store32('fempty', () => f.i32.const(0));
}

/** Writes MMX register operand `n`: the significand; sign and exponent become all ones. */
export function writeMmx(e: Emitter, n: number, value: Local<I64>): void {
  e.write(n, value, 8);
  e.f.i64.store16(e.registerAddress(n), e.f.i64.const(0xffff), 8);
}

/** Does a form use MMX registers? */
export const isMmx = (e: Emitter): boolean => e.form.classes.includes('t');

/** How an operation on 64-bit operands follows from one on vectors: the operation, and which half of its result is the answer. */
type MmxVariant = { readonly op: VectorOp; readonly half: 0 | 1 };

/** `op0 = op(op0, op1)` on MMX or XMM registers. */
export function packed(op: VectorOp, mmx: MmxVariant = { op, half: 0 }): Semantics {
  return (e) => {
    const { f } = e;
    if (isMmx(e)) {
      checkPending(e);
      const b = e.letV(f.v128.splat('i64x2', e.read(1)));
      const a = e.letV(f.v128.splat('i64x2', e.read(0, 8)));
      const r = e.let(f.v128.extract_i64(mmx.op(f, a, b), mmx.half));
      enterMmx(e);
      writeMmx(e, 0, r);
      return;
    }
    const b = e.letV(readAligned(e, 1));
    const a = e.letV(e.readV(0));
    e.writeV(0, e.letV(op(f, a, b)));
  };
}

/** Address of the processor state's field as an i32, for routines that fill memory. */
export function fieldAddress(e: Emitter, field: 'fpr' | 'xmm' | 'scratch'): I32 {
  return e.f.i32.add(e.cpu(), e.f.i32.const(CPU.offset[field]));
}

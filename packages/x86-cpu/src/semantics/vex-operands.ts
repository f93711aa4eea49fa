/** Operands of VEX instructions: vectors of 16 or 32 bytes, of which a write clears what is above it (SDM vol. 1 §14.1.2). */
import type { I32, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { HIGH_HALF } from '../emit/lane-emitter.ts';
import { zeroVector } from './sse-operands.ts';

const GP = 13;

/** Bytes of an instruction's vectors. */
export const vectorBytes = (e: Emitter): 16 | 32 => (e.form.vexL ? 32 : 16);

export const isVectorRegister = (e: Emitter, n: number): boolean => e.form.classes[n] === 'x' || e.form.classes[n] === 'y';

/** A half of vector register `n`. */
export const readRegisterHalf = (e: Emitter, n: number, half: number): V128 =>
  e.f.v128.load(e.registerAddress(n), half ? HIGH_HALF : 0);

export const writeRegisterHalf = (e: Emitter, n: number, half: number, value: () => V128): void =>
  e.f.v128.store(e.registerAddress(n), value(), half ? HIGH_HALF : 0);

/** Writes all 32 bytes of register `n`: the halves given, and zeros above them. */
export function writeRegister(e: Emitter, n: number, halves: readonly Local<V128>[]): void {
  const { f } = e;
  writeRegisterHalf(e, n, 0, () => f.get(halves[0]));
  writeRegisterHalf(e, n, 1, () => (halves.length > 1 ? f.get(halves[1]) : zeroVector(f)));
}

/** Host address of memory operand `n`, all of it, for reading. */
export function memoryOperand(e: Emitter, n: number, aligned = false): Local<I32> {
  const size = e.size(n);
  const va = e.address(size, false);
  if (aligned) refuseUnaligned(e, va, size);
  return e.reference(va, size, false);
}

/** #GP(0) unless an address is a multiple of the size (SDM vol. 2A, table 2-14: VMOVAPS and its kin). */
export function refuseUnaligned(e: Emitter, va: Parameters<Emitter['load']>[0], size: number): void {
  const { f } = e;
  f.if(f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(size - 1)), () => e.raise(GP, 0));
}

/** Vector operand `n` in halves: one of 16 bytes has one. */
export function readHalves(e: Emitter, n: number, size: number = e.size(n), aligned = false): Local<V128>[] {
  const count = size === 32 ? 2 : 1;
  const host = e.form.classes[n] === 'm' ? memoryOperand(e, n, aligned) : undefined;
  return Array.from({ length: count }, (_, half) =>
    e.letV(host ? e.f.v128.load(e.f.get(host), 16 * half) : readRegisterHalf(e, n, half)),
  );
}

/** Stores halves to the memory operand. */
export function storeHalves(e: Emitter, halves: readonly Local<V128>[], aligned = false): void {
  const { f } = e;
  const size = 16 * halves.length;
  const va = e.address(size, true);
  if (aligned) refuseUnaligned(e, va, size);
  const host = e.reference(va, size, true);
  halves.forEach((half, n) => {
    f.v128.store(f.get(host), f.get(half), 16 * n);
  });
  e.commit(host);
}

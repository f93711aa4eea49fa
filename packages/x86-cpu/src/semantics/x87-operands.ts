/**
 * What x87 instructions have in common: pending exceptions, the instruction and data pointers, calls of the stack routines
 * (numeric/x87-stack.ts).
 *
 * FIP, FDP and FCS follow every non-control instruction, as processors have it (SDM vol. 1 §8.1.8). FOP and FDS stay 0: a
 * processor may update FOP on unmasked exceptions only (§8.1.9.1) and need not keep FDS at all; the host's AMD processor stores
 * 0 for FDS.
 */
import type { AnyValue, FuncRef, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { CPU } from '../state.ts';

const MF = 16;
/** FSW.ES: an unmasked exception is pending. */
const ES = 1 << 7;

/** The stack routine `x87.name`. */
export function routine<R>(e: Emitter, name: string): FuncRef<readonly AnyValue[], R> {
  const found = e.helpers.routines.get(`x87.${name}`);
  if (!found) throw new Error(`no routine x87.${name}`);
  return found as unknown as FuncRef<readonly AnyValue[], R>;
}

/** A routine without result. Arguments are pushed in their order. */
export function run(e: Emitter, name: string, ...args: AnyValue[]): void {
  e.f.call(routine<void>(e, name), ...args);
}

/**
 * #MF when an exception is pending: waiting instructions start with it (SDM vol. 1 §8.6). What #MF means without CR0.NE (FERR#,
 * §8.7.2) is decided where vector 16 is delivered.
 */
export function wait(e: Emitter): void {
  e.f.if(e.f.i32.and(e.load32('fsw'), e.f.i32.const(ES)), () => e.raise(MF));
}

/** Records where this instruction and, if it has one, its memory operand are. After everything that can fault. */
export function notePointers(e: Emitter): void {
  e.store64('fip', () => e.thisRip());
  if (e.form.classes.includes('m')) e.store64('fdp', () => e.effectiveAddress());
}

/** A constant argument of a routine. */
export const i32 = (e: Emitter, value: number): I32 => e.f.i32.const(value);

/** Host address of the memory operand's `size` bytes. */
export function operandHost(e: Emitter, size: number, write: boolean): Local<I32> {
  return e.reference(e.address(size, write), size, write);
}

/** Sign and exponent that a routine left beside the significand it returned. */
export function secondResult(e: Emitter): I32 {
  return e.f.i32.load(e.cpu(), CPU.offset.helper);
}
/** Non-zero when a store routine says that memory is to be written. */
export function mayWrite(e: Emitter): I32 {
  return e.f.i32.load(e.cpu(), CPU.offset.helper + 24);
}

/** Position of the memory operand. */
export function memoryOperand(e: Emitter): number {
  return e.form.classes.indexOf('m');
}

/** The memory operand of an arithmetic instruction: its bits and the name of its format for the routines. */
export function memoryValue(e: Emitter, integer: boolean): { bits: Local<I64>; format: number } {
  const n = memoryOperand(e);
  if (integer) return { bits: e.let(e.readSigned(n)), format: 2 };
  return { bits: e.let(e.read(n)), format: e.size(n) };
}

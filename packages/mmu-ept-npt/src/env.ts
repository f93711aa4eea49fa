import type { FuncRef, FunctionBuilder, GlobalRef, I32, I64, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { MMU } from './state.ts';

/** What every part of the generated module shares: the addresses it is given, and the last translation's scratch registers. */
export type Env = {
  readonly module: ModuleBuilder;
  readonly state: GlobalRef<I32>;
  readonly tlb: GlobalRef<I32>;
  readonly physRoot: GlobalRef<I32>;
  readonly slotTable: GlobalRef<I32>;
  /** Leaves a walk: guest-physical address of the access. */
  readonly gpa: GlobalRef<I64>;
  /** Leaves a walk: the flags word of the TLB entry (GLOBAL, LARGE, page size). */
  readonly entryFlags: GlobalRef<I32>;
  /** (host address, GPA page): a walk wrote an A or D bit into a page that holds code or is to be logged. */
  readonly walkWrote: FuncRef<[I32, I32], void>;
  /** (host page): a page came under code protection; other vCPUs must drop it from their write TLBs. */
  readonly shootdown: FuncRef<[I32], void>;
};

type WordField = { [K in keyof typeof MMU.schema]: (typeof MMU.schema)[K] extends 'u32' ? K : never }[keyof typeof MMU.schema];

export const loadState = (env: Env, f: FunctionBuilder, field: WordField): I32 =>
  f.i32.load(f.globalGet(env.state), MMU.offset[field]);

/** A 64-bit field, or two 32-bit fields in a row named by the first. */
export const loadState64 = (env: Env, f: FunctionBuilder, field: 'cr3' | 'a20Mask' | 'reservedMaskLo'): I64 =>
  f.i64.load(f.globalGet(env.state), MMU.offset[field]);

export function countUp(env: Env, f: FunctionBuilder, field: 'misses' | 'walks' | 'flushes'): void {
  const at = MMU.offset[field];
  f.i32.store(f.globalGet(env.state), f.i32.add(f.i32.load(f.globalGet(env.state), at), f.i32.const(1)), at);
}

/** `value & bits`, non-zero when any of the bits is set. */
export const test32 = (f: FunctionBuilder, value: I32, bits: number): I32 => f.i32.and(value, f.i32.const(bits));
export const test64 = (f: FunctionBuilder, value: I64, bits: number): I32 => f.i32.and(f.i32.wrap_i64(value), f.i32.const(bits));

/** Boolean not. */
export const not = (f: FunctionBuilder, value: I32): I32 => f.i32.eqz(value);

/** Pushes a value again each time it is called. */
export type I32Get = () => I32;

/** Emits `body(pointer)` for pointers from `from` to below `end`, `step` bytes apart. */
export function forPointers(f: FunctionBuilder, from: I32, end: I32, step: number, body: (pointer: I32Get) => void): void {
  const pointer = f.local('i32');
  const limit = f.local('i32');
  // Both bounds are on the stack by now, the end on top.
  f.set(limit, end);
  f.set(pointer, from);
  f.block((done) => {
    f.loop((again) => {
      f.brIf(done, f.i32.ge_u(f.get(pointer), f.get(limit)));
      body(() => f.get(pointer));
      f.set(pointer, f.i32.add(f.get(pointer), f.i32.const(step)));
      f.br(again);
    });
  });
}

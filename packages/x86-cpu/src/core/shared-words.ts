/** What the core does to words that other threads read and write, too. */
import type { FunctionBuilder, I32 } from '@tsvisor/wasm-codegen';

const ALL = -1;

/** Compares and exchanges an i32; 1 if it was the expected one. */
export function exchanged(f: FunctionBuilder, at: () => I32, expected: () => I32, value: () => I32, offset = 0): I32 {
  const wanted = f.local('i64');
  f.set(wanted, f.i64.extend_i32_u(expected()));
  return f.i64.eq(f.i64.atomic_cmpxchg32(at(), f.get(wanted), f.i64.extend_i32_u(value()), offset), f.get(wanted));
}

/** Wakes all who sleep on a word. */
export function wakeAll(f: FunctionBuilder, at: I32, offset = 0): void {
  f.drop(f.i32.atomic_notify(at, f.i32.const(ALL), offset));
}

import type { FunctionBuilder, I64, V128 } from '@tsvisor/wasm-codegen';

/** The vector with element `n` of 4 or 8 bytes replaced by the low bytes of a value. */
export const replaceElement = (f: FunctionBuilder, vector: V128, bytes: 4 | 8, n: number, value: I64): V128 =>
  bytes === 4 ? f.v128.replace('i32x4', vector, n, f.i32.wrap_i64(value)) : f.v128.replace('i64x2', vector, n, value);

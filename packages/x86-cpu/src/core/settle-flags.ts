import type { FuncRef, I32, I64, ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { Helpers } from '../emit/emitter.ts';
import { FunctionEmitter } from '../emit/interpreter.ts';
import { LazyFlags } from '../emit/lazy-flags.ts';
import type { CoreImports } from './imports.ts';

/** `(kind, a, b)`: works out the flags that a compiled region has left pending (emit/lazy-flags.ts), once for all regions. */
export function addSettleFlags(
  module: ModuleBuilder,
  io: CoreImports,
  mulHighS: Helpers['mulHighS'],
): FuncRef<[I32, I64, I64], void> {
  const f = module.function('settleFlags', ['i32', 'i64', 'i64'], []);
  const e = new FunctionEmitter(f, { mulHighS } as Helpers, () => f.globalGet(io.cpu));
  return LazyFlags.define(f, {
    truncate: (value, size) => e.truncate(value, size),
    signExtend: (value, size) => e.signExtend(value, size),
    packCarry: (carry, overflow) => e.packCarry(carry, overflow),
    mulHigh: (x, y) => f.call(mulHighS, x, y),
    store: (values) => e.setFlags(values),
    storeCompare: (zero, parity, carry) => e.flagsCompare(zero, parity, carry),
  });
}

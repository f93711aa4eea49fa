/** Locked read-modify-writes, where other processors run at the same time (SDM vol. 3 §9.1.2). */
import type { FunctionBuilder, I32, I64, Local } from '@tsvisor/wasm-codegen';

/**
 * How an instruction changes its memory operand, without anything else that it does: emitted once, or more often, before that. Values are
 * zero-extended, or as wide as they like where they are operands.
 */
export type Change =
  | { readonly operation: 'add' | 'sub' | 'and' | 'or' | 'xor' | 'xchg'; readonly operand: () => I64 }
  /** The replacement if the old value is the expected one, else the old one. */
  | { readonly expected: () => I64; readonly replacement: () => I64 }
  /** The new value for an old one. */
  | { readonly next: (old: Local<I64>) => I64 };

type Bits = '' | 8 | 16 | 32;
const bitsOf = (size: number): Bits => (size === 8 ? '' : ((8 * size) as Bits));

/** The value that a change makes of an old one. It may be wider than the operand. */
export function changed(f: FunctionBuilder, change: Change, old: Local<I64>): I64 {
  if ('next' in change) return change.next(old);
  if ('expected' in change) return f.select(change.replacement(), f.get(old), f.i64.eq(f.get(old), change.expected()));
  const { operation, operand } = change;
  return operation === 'xchg' ? operand() : f.i64[operation](f.get(old), operand());
}

/** Changes `size` bytes at an aligned host address in one atomic step, and sets `old` to what was there. */
export function changeAtomically(f: FunctionBuilder, host: () => I32, size: number, change: Change, old: Local<I64>): void {
  const { i64 } = f;
  const bits = bitsOf(size);
  if ('operation' in change) f.set(old, i64[`atomic_${change.operation}${bits}`](host(), change.operand()));
  else if ('expected' in change) f.set(old, i64[`atomic_cmpxchg${bits}`](host(), change.expected(), change.replacement()));
  else {
    const seen = f.local('i64');
    f.set(old, loaded(f, host(), size));
    f.loop((again) => {
      f.set(seen, i64[`atomic_cmpxchg${bits}`](host(), f.get(old), change.next(old)));
      f.if(i64.ne(f.get(seen), f.get(old)), () => {
        f.set(old, f.get(seen));
        f.br(again);
      });
    });
  }
}

function loaded({ i64 }: FunctionBuilder, host: I32, size: number): I64 {
  if (size === 1) return i64.atomic_load8_u(host);
  if (size === 2) return i64.atomic_load16_u(host);
  return size === 4 ? i64.atomic_load32_u(host) : i64.atomic_load(host);
}

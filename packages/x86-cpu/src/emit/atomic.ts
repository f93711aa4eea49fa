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

/** The widest atomic operation of WebAssembly, bytes. */
export const WORD = 8;

/** The same for 2 or 4 bytes at a host address that are not aligned, but within one word: that is compared and exchanged as a whole. */
export function changeWithinWord(f: FunctionBuilder, host: Local<I32>, size: number, change: Change, old: Local<I64>): void {
  const { i32, i64 } = f;
  const [word, before, seen] = [f.local('i32'), f.local('i64'), f.local('i64')];
  const [shift, value] = [f.local('i64'), f.local('i64')];
  const ones = i64.const(size === 2 ? 0xffff : 0xffff_ffff);
  const mask = f.local('i64');
  f.set(mask, ones);
  f.set(word, i32.and(f.get(host), i32.const(-WORD)));
  f.set(shift, i64.extend_i32_u(i32.shl(i32.and(f.get(host), i32.const(WORD - 1)), i32.const(3))));
  f.set(before, i64.atomic_load(f.get(word)));
  f.loop((again) => {
    f.set(old, i64.and(i64.shr_u(f.get(before), f.get(shift)), f.get(mask)));
    f.set(value, i64.shl(i64.and(changed(f, change, old), f.get(mask)), f.get(shift)));
    const others = i64.and(f.get(before), i64.xor(i64.shl(f.get(mask), f.get(shift)), i64.const(-1)));
    f.set(value, i64.or(others, f.get(value)));
    f.set(seen, i64.atomic_cmpxchg(f.get(word), f.get(before), f.get(value)));
    f.if(i64.ne(f.get(seen), f.get(before)), () => {
      f.set(before, f.get(seen));
      f.br(again);
    });
  });
}

function loaded({ i64 }: FunctionBuilder, host: I32, size: number): I64 {
  if (size === 1) return i64.atomic_load8_u(host);
  if (size === 2) return i64.atomic_load16_u(host);
  return size === 4 ? i64.atomic_load32_u(host) : i64.atomic_load(host);
}

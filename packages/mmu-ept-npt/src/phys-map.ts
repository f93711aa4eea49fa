import type { FuncRef, FunctionBuilder, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Env } from './env.ts';
import { test32 } from './env.ts';

/**
 * The physical map: guest-physical page → linear-memory page, in two levels that generated code walks.
 *
 *     physRoot[gpa >> 21]       u32: address of a leaf table, or 0
 *     leaf[(gpa >> 12) & 511]   u32: address of a 4-KByte page | bits of `PhysPage`, or 0
 */
export const GPA_BITS = 40;
export const PAGE_BYTES = 4096;
export const PHYS_ROOT_ENTRIES = 1 << (GPA_BITS - 21);
export const PHYS_ROOT_BYTES = PHYS_ROOT_ENTRIES * 4;
export const PHYS_LEAF_ENTRIES = 512;
export const PHYS_LEAF_BYTES = PHYS_LEAF_ENTRIES * 4;

export const PhysPage = {
  PRESENT: 1 << 0,
  WRITABLE: 1 << 1,
  /** Translated code came from this page: it stays out of the write TLB, so that a store to it is noticed. */
  CODE: 1 << 2,
  /** The next write is to be entered in the dirty log: the page stays out of the write TLB until then. */
  DIRTY_LOG: 1 << 3,
} as const;

export type PhysMapFunctions = {
  /** (GPA) → address of the map's leaf entry, or 0. */
  readonly physEntry: FuncRef<[I64], I32>;
  /** (GPA) → the leaf entry's value, 0 where nothing is mapped. */
  readonly physLookup: FuncRef<[I64], I32>;
};

export function definePhysMap(env: Env): PhysMapFunctions {
  return {
    physEntry: define(env, 'physEntry', (_f, address) => address),
    physLookup: define(env, 'physLookup', (f, address) => f.i32.load(address)),
  };
}

/** (GPA) → `answer` of the leaf entry's address, 0 where the map has no leaf. One body each: a call per lookup shows in the fill. */
function define(env: Env, name: string, answer: (f: FunctionBuilder, address: I32) => I32): FuncRef<[I64], I32> {
  const f = env.module.function(name, ['i64'], ['i32']);
  const gpa = f.param(0, 'i64');
  const leaf = f.local('i32');
  f.if(f.i32.wrap_i64(f.i64.shr_u(f.get(gpa), f.i64.const(GPA_BITS))), () => f.return(f.i32.const(0)));
  const rootOffset = f.i32.shl(f.i32.wrap_i64(f.i64.shr_u(f.get(gpa), f.i64.const(21))), f.i32.const(2));
  f.set(leaf, f.i32.load(f.i32.add(rootOffset, f.globalGet(env.physRoot))));
  f.if(f.i32.eqz(f.get(leaf)), () => f.return(f.i32.const(0)));
  const leafOffset = test32(f, f.i32.wrap_i64(f.i64.shr_u(f.get(gpa), f.i64.const(10))), (PHYS_LEAF_ENTRIES - 1) << 2);
  answer(f, f.i32.add(leafOffset, f.get(leaf)));
  return f.ref<[I64], I32>();
}

import type { FuncRef, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Env } from './env.ts';
import { loadState64, test32 } from './env.ts';
import type { PhysMapFunctions } from './phys-map.ts';
import { PAGE_BYTES, PhysPage } from './phys-map.ts';

/** Bits of paging-structure entries, SDM vol. 3 tables 4-5 to 4-20. */
export const Pte = {
  P: 1 << 0,
  RW: 1 << 1,
  US: 1 << 2,
  A: 1 << 5,
  D: 1 << 6,
  PS: 1 << 7,
  G: 1 << 8,
  /** XD, as a bit number: the top bit of 64-bit entries. */
  XD_BIT: 63,
  /** Protection key of a leaf entry: bits 62:59. */
  PKEY_SHIFT: 59,
} as const;

export type EntryBytes = 4 | 8;

export type EntryFunctions = {
  /** (GPA of the entry) → the entry, zero-extended. Where no memory answers, all ones: an undriven bus. */
  readonly readEntry: Readonly<Record<EntryBytes, FuncRef<[I64], I64>>>;
  /** (GPA of the entry, the entry as read, wanted A and D bits) → 0 when the entry has changed since and the walk must restart. */
  readonly markEntry: Readonly<Record<EntryBytes, FuncRef<[I64, I64, I64], I32>>>;
};

export function defineEntryAccess(env: Env, map: PhysMapFunctions): EntryFunctions {
  return {
    readEntry: { 4: defineRead(env, map, 4), 8: defineRead(env, map, 8) },
    markEntry: { 4: defineMark(env, map, 4), 8: defineMark(env, map, 8) },
  };
}

function defineRead(env: Env, map: PhysMapFunctions, bytes: EntryBytes): FuncRef<[I64], I64> {
  const f = env.module.function(`readEntry${bytes * 8}`, ['i64'], ['i64']);
  const gpa = f.param(0, 'i64');
  const page = f.local('i32');
  f.set(gpa, f.i64.and(f.get(gpa), loadState64(env, f, 'a20Mask')));
  f.ifOf(
    'i64',
    test32(f, f.tee(page, f.call(map.physLookup, f.get(gpa))), PhysPage.PRESENT),
    () => {
      const host = f.i32.add(test32(f, f.get(page), -PAGE_BYTES), test32(f, f.i32.wrap_i64(f.get(gpa)), PAGE_BYTES - bytes));
      return bytes === 8 ? f.i64.atomic_load(host) : f.i64.atomic_load32_u(host);
    },
    () => (bytes === 8 ? f.i64.halves(-1, -1) : f.i64.halves(-1, 0)),
  );
  return f.ref<[I64], I64>();
}

function defineMark(env: Env, map: PhysMapFunctions, bytes: EntryBytes): FuncRef<[I64, I64, I64], I32> {
  const f = env.module.function(`markEntry${bytes * 8}`, ['i64', 'i64', 'i64'], ['i32']);
  const [gpa, entry, wanted] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i64')];
  const page = f.local('i32');
  const host = f.local('i32');
  f.if(f.i64.eq(f.i64.and(f.get(entry), f.get(wanted)), f.get(wanted)), () => f.return(f.i32.const(1)));
  f.set(gpa, f.i64.and(f.get(gpa), loadState64(env, f, 'a20Mask')));
  f.set(page, f.call(map.physLookup, f.get(gpa)));
  // Paging structures in ROM or in no memory at all: the processor's write goes nowhere.
  f.if(
    f.i32.ne(test32(f, f.get(page), PhysPage.PRESENT | PhysPage.WRITABLE), f.i32.const(PhysPage.PRESENT | PhysPage.WRITABLE)),
    () => f.return(f.i32.const(1)),
  );
  f.set(host, f.i32.add(test32(f, f.get(page), -PAGE_BYTES), test32(f, f.i32.wrap_i64(f.get(gpa)), PAGE_BYTES - bytes)));

  // SDM vol. 3 §8.1.2.1: A and D are set with locked read-modify-write cycles, so an entry that another processor has just
  // cleared or changed is never written back.
  const exchange = bytes === 8 ? 'atomic_cmpxchg' : 'atomic_cmpxchg32';
  const found = f.i64[exchange](f.get(host), f.get(entry), f.i64.or(f.get(entry), f.get(wanted)));
  f.if(f.i64.ne(found, f.get(entry)), () => f.return(f.i32.const(0)));
  f.if(test32(f, f.get(page), PhysPage.CODE | PhysPage.DIRTY_LOG), () =>
    f.call(env.walkWrote, f.get(host), f.i32.wrap_i64(f.i64.shr_u(f.get(gpa), f.i64.const(12)))),
  );
  f.i32.const(1);
  return f.ref<[I64, I64, I64], I32>();
}

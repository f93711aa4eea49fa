import type { FuncRef, FunctionBuilder, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Env } from './env.ts';
import { not, test32 } from './env.ts';
import { Access } from './state.ts';

/**
 * The software TLB of one vCPU: three sets (by privilege), each of three direct-mapped arrays (by kind of access), each of 8192
 * entries of 16 bytes:
 *
 *     +0   i64  tag: linear address of the page
 *     +8   i32  addend: host address = (i32) linear address + addend
 *     +12  u32  bits of `TlbFlag`
 *
 * An entry answers an access of `size` bytes at `va` when `(va - tag) <=u 4096 - size`: one compare for the tag and for staying within
 * the page. So an empty entry's tag must be an address that is never looked up there: 0 (page 0 belongs to entry 0 alone), and 0x1000 in
 * entry 0. The logs and the filter behind the arrays serve flush.ts.
 *
 * A page of a device, which has no host address, is entered with a tag that no access meets, and the number of its guest-physical page in place
 * of the addend: for the slow path, which then need not walk. That tag is the page's address with two bits turned over: the pages that accesses
 * with such a tag would be in belong to other entries, and bit 11 makes it no empty one's.
 */
export const TLB_SETS = 3;
export const TlbSet = { supervisor: 0, user: 1, supervisorSmap: 2 } as const;
/** Order of the arrays within a set; also the values of an access's low two bits. */
export const TlbArray = { read: 0, write: 1, fetch: 2 } as const;
export const TLB_ENTRIES = 8192;
export const TLB_ENTRY_BYTES = 16;
export const TLB_ARRAY_BYTES = TLB_ENTRIES * TLB_ENTRY_BYTES;
export const TLB_SET_BYTES = 3 * TLB_ARRAY_BYTES;
export const TLB_ARRAYS_BYTES = TLB_SETS * TLB_SET_BYTES;
export const TlbEntry = { tag: 0, addend: 8, flags: 12 } as const;
/** Tag of an empty entry number 0; of any other, 0. */
export const TLB_EMPTY_TAG_0 = 0x1000;

/** What the tag of a device's page differs in from the address of the page. */
export const TLB_DEVICE_TAG = 0x2800;
/** Guest-physical addresses of devices that are entered have page numbers of 32 bits. */
const DEVICE_GPA_BITS = 44;

/** Byte offset of an array from the start of the TLB. */
export const tlbArrayOffset = (set: number, array: number): number => set * TLB_SET_BYTES + array * TLB_ARRAY_BYTES;

export const TlbFlag = {
  /** The translation is global: `flushNonGlobal` keeps it. */
  GLOBAL: 1 << 0,
  /** The entry is one 4-KByte fragment of a larger page. */
  LARGE: 1 << 1,
  /** The entry's address is in the log of non-global fills, in the log of global fills. */
  LOGGED: 1 << 2,
  LOGGED_GLOBAL: 1 << 3,
  /** Bits 15:8: the size of a large page, as a power of two. */
  PAGE_SHIFT: 8,
} as const;

/** Addresses of entries filled since the last flush, so that a flush costs what was filled. Above the capacity: sweep everything. */
export const LOG_ENTRIES = 8192;
const LOG_BYTES = LOG_ENTRIES * 4;

/** Offsets behind the arrays. */
export const TlbTail = {
  nonGlobalCount: TLB_ARRAYS_BYTES,
  globalCount: TLB_ARRAYS_BYTES + 4,
  /** Non-zero once a fragment of a large page was entered. */
  largeSeen: TLB_ARRAYS_BYTES + 8,
  nonGlobalLog: TLB_ARRAYS_BYTES + 16,
  globalLog: TLB_ARRAYS_BYTES + 16 + LOG_BYTES,
  /** A Bloom filter, one hash, of the large pages that have fragments in the TLB. */
  largeFilter: TLB_ARRAYS_BYTES + 16 + 2 * LOG_BYTES,
} as const;
export const LARGE_FILTER_BITS = 16;
export const LARGE_FILTER_BYTES = 1 << (LARGE_FILTER_BITS - 3);

/** Bytes to allocate per vCPU, aligned to 16. */
export const TLB_BYTES = TlbTail.largeFilter + LARGE_FILTER_BYTES;

/** Address of the entry for `va` in the array at byte offset `array` (pushed). */
export const entryAddress = (env: Env, f: FunctionBuilder, array: I32, va: () => I64): I32 =>
  f.i32.add(
    f.i32.add(array, f.globalGet(env.tlb)),
    // (va >> 12 & 8191) * 16
    test32(f, f.i32.wrap_i64(f.i64.shr_u(va(), f.i64.const(8))), (TLB_ENTRIES - 1) * TLB_ENTRY_BYTES),
  );

/** Pushes the tag that makes the entry at `entry` empty. */
export function emptyTag(env: Env, f: FunctionBuilder, entry: () => I32): I64 {
  const isEntry0 = f.i32.eqz(test32(f, f.i32.sub(entry(), f.globalGet(env.tlb)), TLB_ARRAY_BYTES - 1));
  return f.i64.shl(f.i64.extend_i32_u(isEntry0), f.i64.const(12));
}

/** Position in the filter of the large page of 2^`shift` bytes that contains an address. */
export function defineLargeHash(env: Env): FuncRef<[I64, I32], I32> {
  const f = env.module.function('largeHash', ['i64', 'i32'], ['i32']);
  const [va, shift] = [f.param(0, 'i64'), f.param(1, 'i32')];
  const page = f.i64.shr_u(f.get(va), f.i64.extend_i32_u(f.get(shift)));
  const key = f.i64.or(page, f.i64.shl(f.i64.extend_i32_u(f.get(shift)), f.i64.const(56)));
  // Fibonacci hashing: 2^64 divided by the golden ratio; the best bits are the top ones.
  f.i32.wrap_i64(f.i64.shr_u(f.i64.mul(key, f.i64.halves(0x7f4a7c15, 0x9e3779b9)), f.i64.const(64 - LARGE_FILTER_BITS)));
  return f.ref<[I64, I32], I32>();
}

/** Address of a filter byte, for a pushed position. */
export const filterByte = (env: Env, f: FunctionBuilder, position: I32): I32 =>
  f.i32.add(f.i32.shr_u(position, f.i32.const(3)), f.globalGet(env.tlb));

export type TlbFunctions = {
  /** (linear address, access, host address of the same byte): enters what the access may use. */
  readonly enter: FuncRef<[I64, I32, I32], void>;
  /** (linear address, access): the same for a page that is nobody's memory, at `Env.gpa`. */
  readonly enterDevice: FuncRef<[I64, I32], void>;
};

export function defineTlb(env: Env, largeHash: FuncRef<[I64, I32], I32>): TlbFunctions {
  const log = defineLog(env);
  const insert = defineInsert(env, log);
  const noteLarge = defineNoteLarge(env, largeHash);

  const place = defineEnter(env, insert, noteLarge);
  return { enter: defineEnterMemory(env, place), enterDevice: defineEnterDevice(env, place) };
}

type EnterFunction = FuncRef<[I64, I32, I64, I32], void>;

/** (linear address, access, tag, addend) */
function defineEnter(env: Env, insert: FuncRef<[I32, I64, I64, I32], void>, noteLarge: FuncRef<[I64], void>): EnterFunction {
  const f = env.module.function('enterAs', ['i64', 'i32', 'i64', 'i32'], []);
  const [va, access, tag, addend] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i64'), f.param(3, 'i32')];
  const set = f.local('i32');
  f.if(test32(f, f.globalGet(env.entryFlags), TlbFlag.LARGE), () => f.call(noteLarge, f.get(va)));
  f.if(test32(f, f.get(access), Access.smap), () => f.set(set, f.i32.const(TlbSet.supervisorSmap * TLB_SET_BYTES)));
  f.if(test32(f, f.get(access), Access.user), () => f.set(set, f.i32.const(TlbSet.user * TLB_SET_BYTES)));
  const array = f.i32.mul(test32(f, f.get(access), 3), f.i32.const(TLB_ARRAY_BYTES));
  f.call(insert, f.i32.add(array, f.get(set)), f.get(va), f.get(tag), f.get(addend));
  // Whoever may write may read: no protection forbids only reading.
  f.if(test32(f, f.get(access), Access.write), () => f.call(insert, f.get(set), f.get(va), f.get(tag), f.get(addend)));
  return f.ref<[I64, I32, I64, I32], void>();
}

function defineEnterMemory(env: Env, enter: EnterFunction): TlbFunctions['enter'] {
  const f = env.module.function('enter', ['i64', 'i32', 'i32'], []);
  const [va, access, host] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i32')];
  const addend = (): I32 => f.i32.sub(f.get(host), f.i32.wrap_i64(f.get(va)));
  f.call(enter, f.get(va), f.get(access), f.i64.and(f.get(va), f.i64.const(-4096)), addend());
  return f.ref<[I64, I32, I32], void>();
}

function defineEnterDevice(env: Env, enter: EnterFunction): TlbFunctions['enterDevice'] {
  const f = env.module.function('enterDevice', ['i64', 'i32'], []);
  const [va, access] = [f.param(0, 'i64'), f.param(1, 'i32')];
  const { i64 } = f;
  f.if(i64.eqz(i64.shr_u(f.globalGet(env.gpa), i64.const(DEVICE_GPA_BITS))), () => {
    const tag = (): I64 => i64.xor(i64.and(f.get(va), i64.const(-4096)), i64.const(TLB_DEVICE_TAG));
    const page = (): I32 => f.i32.wrap_i64(i64.shr_u(f.globalGet(env.gpa), i64.const(12)));
    f.call(enter, f.get(va), f.get(access), tag(), page());
  });
  return f.ref<[I64, I32], void>();
}

function defineInsert(env: Env, log: FuncRef<[I32, I32], void>): FuncRef<[I32, I64, I64, I32], void> {
  const f = env.module.function('insert', ['i32', 'i64', 'i64', 'i32'], []);
  const [array, va, tag, addend] = [f.param(0, 'i32'), f.param(1, 'i64'), f.param(2, 'i64'), f.param(3, 'i32')];
  const entry = f.local('i32');
  const before = f.local('i32');
  const logged = f.local('i32');
  f.set(
    entry,
    entryAddress(env, f, f.get(array), () => f.get(va)),
  );
  f.set(before, f.i32.load(f.get(entry), TlbEntry.flags));
  f.set(
    logged,
    f.select(
      f.i32.const(TlbFlag.LOGGED_GLOBAL),
      f.i32.const(TlbFlag.LOGGED),
      test32(f, f.globalGet(env.entryFlags), TlbFlag.GLOBAL),
    ),
  );
  f.if(not(f, f.i32.and(f.get(before), f.get(logged))), () => f.call(log, f.get(entry), f.get(logged)));
  f.i64.store(f.get(entry), f.get(tag), TlbEntry.tag);
  f.i32.store(f.get(entry), f.get(addend), TlbEntry.addend);
  const logBits = f.i32.or(test32(f, f.get(before), TlbFlag.LOGGED | TlbFlag.LOGGED_GLOBAL), f.get(logged));
  f.set(before, f.i32.or(logBits, f.globalGet(env.entryFlags)));
  f.i32.store(f.get(entry), f.get(before), TlbEntry.flags);
  return f.ref<[I32, I64, I64, I32], void>();
}

/** (entry, which log): appends to the log, or notes that it overflowed. */
function defineLog(env: Env): FuncRef<[I32, I32], void> {
  const f = env.module.function('log', ['i32', 'i32'], []);
  const [entry, which] = [f.param(0, 'i32'), f.param(1, 'i32')];
  const count = f.local('i32');
  const append = (countAt: number, logAt: number): void => {
    f.set(count, f.i32.load(f.globalGet(env.tlb), countAt));
    f.if(
      f.i32.lt_u(f.get(count), f.i32.const(LOG_ENTRIES)),
      () => {
        f.i32.store(f.i32.add(f.globalGet(env.tlb), f.i32.shl(f.get(count), f.i32.const(2))), f.get(entry), logAt);
        f.i32.store(f.globalGet(env.tlb), f.i32.add(f.get(count), f.i32.const(1)), countAt);
      },
      () => f.i32.store(f.globalGet(env.tlb), f.i32.const(LOG_ENTRIES + 1), countAt),
    );
  };
  f.if(
    f.i32.eq(f.get(which), f.i32.const(TlbFlag.LOGGED)),
    () => append(TlbTail.nonGlobalCount, TlbTail.nonGlobalLog),
    () => append(TlbTail.globalCount, TlbTail.globalLog),
  );
  return f.ref<[I32, I32], void>();
}

/** (linear address): remembers the large page around it, whose size `Env.entryFlags` tells. */
function defineNoteLarge(env: Env, largeHash: FuncRef<[I64, I32], I32>): FuncRef<[I64], void> {
  const f = env.module.function('noteLarge', ['i64'], []);
  const position = f.local('i32');
  const byte = f.local('i32');
  f.set(
    position,
    f.call(largeHash, f.get(f.param(0, 'i64')), f.i32.shr_u(f.globalGet(env.entryFlags), f.i32.const(TlbFlag.PAGE_SHIFT))),
  );
  f.set(byte, filterByte(env, f, f.get(position)));
  const bit = (): I32 => f.i32.shl(f.i32.const(1), test32(f, f.get(position), 7));
  f.i32.store8(f.get(byte), f.i32.or(f.i32.load8_u(f.get(byte), TlbTail.largeFilter), bit()), TlbTail.largeFilter);
  f.i32.store(f.globalGet(env.tlb), f.i32.const(1), TlbTail.largeSeen);
  return f.ref<[I64], void>();
}

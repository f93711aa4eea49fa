import type { FuncRef, FunctionBuilder, I32, I64 } from '@tsvisor/wasm-codegen';
import type { Env, I32Get } from './env.ts';
import { countUp, forPointers, not, test32 } from './env.ts';
import {
  emptyTag,
  entryAddress,
  filterByte,
  LARGE_FILTER_BYTES,
  LOG_ENTRIES,
  TLB_ARRAY_BYTES,
  TLB_ARRAYS_BYTES,
  TLB_DEVICE_TAG,
  TLB_EMPTY_TAG_0,
  TLB_ENTRY_BYTES,
  TLB_SET_BYTES,
  TlbArray,
  TlbEntry,
  TlbFlag,
  TlbTail,
} from './tlb.ts';

/** Sizes of pages that a TLB holds in fragments: 2 MBytes, 4 MBytes, 1 GByte. */
const LARGE_SHIFTS = [21, 22, 30] as const;

export type FlushFunctions = {
  readonly flushAll: FuncRef<[], void>;
  readonly flushNonGlobal: FuncRef<[], void>;
  readonly flushPage: FuncRef<[I64], void>;
  /** (host page): no set may write to that page without asking again. */
  readonly dropWrites: FuncRef<[I32], void>;
  /** Makes every entry empty, whatever the bytes held before. */
  readonly resetTlb: FuncRef<[], void>;
};

type LargeHash = FuncRef<[I64, I32], I32>;

export function defineFlushes(env: Env, largeHash: LargeHash): FlushFunctions {
  const resetTlb = defineReset(env);
  return {
    resetTlb,
    flushAll: defineFlushAll(env, resetTlb),
    flushNonGlobal: defineFlushNonGlobal(env),
    flushPage: defineFlushPage(env, largeHash),
    dropWrites: defineDropWrites(env),
  };
}

const tail = (env: Env, f: FunctionBuilder, at: number): I32 => f.i32.add(f.globalGet(env.tlb), f.i32.const(at));

const makeEmpty = (env: Env, f: FunctionBuilder, entry: I32Get): void =>
  f.i64.store(entry(), emptyTag(env, f, entry), TlbEntry.tag);

function defineReset(env: Env): FuncRef<[], void> {
  const f = env.module.function('resetTlb', [], []);
  f.memoryFill(f.globalGet(env.tlb), f.i32.const(0), f.i32.const(TlbTail.nonGlobalLog));
  f.memoryFill(tail(env, f, TlbTail.largeFilter), f.i32.const(0), f.i32.const(LARGE_FILTER_BYTES));
  for (let at = 0; at < TLB_ARRAYS_BYTES; at += TLB_ARRAY_BYTES)
    f.i64.store(f.globalGet(env.tlb), f.i64.const(TLB_EMPTY_TAG_0), at);
  return f.ref<[], void>();
}

const overflowed = (env: Env, f: FunctionBuilder, count: number): I32 =>
  f.i32.gt_u(f.i32.load(f.globalGet(env.tlb), count), f.i32.const(LOG_ENTRIES));

/** Runs `body` for each entry that a log names. */
function forLogged(env: Env, f: FunctionBuilder, count: number, log: number, body: (entry: I32Get) => void): void {
  const entry = f.local('i32');
  const end = (): I32 => f.i32.add(tail(env, f, log), f.i32.shl(f.i32.load(f.globalGet(env.tlb), count), f.i32.const(2)));
  forPointers(f, tail(env, f, log), end(), 4, (pointer) => {
    f.set(entry, f.i32.load(pointer()));
    body(() => f.get(entry));
  });
}

/** Runs `body` for each entry that is in use, and perhaps for others. */
function forUsed(env: Env, f: FunctionBuilder, body: (entry: I32Get) => void): void {
  f.if(
    f.i32.or(overflowed(env, f, TlbTail.nonGlobalCount), overflowed(env, f, TlbTail.globalCount)),
    () => forAllEntries(env, f, body),
    () => {
      forLogged(env, f, TlbTail.nonGlobalCount, TlbTail.nonGlobalLog, body);
      forLogged(env, f, TlbTail.globalCount, TlbTail.globalLog, body);
    },
  );
}

const forAllEntries = (env: Env, f: FunctionBuilder, body: (entry: I32Get) => void): void =>
  forPointers(f, f.globalGet(env.tlb), tail(env, f, TLB_ARRAYS_BYTES), TLB_ENTRY_BYTES, body);

function defineFlushAll(env: Env, resetTlb: FuncRef<[], void>): FuncRef<[], void> {
  const f = env.module.function('flushAll', [], []);
  countUp(env, f, 'flushes');
  f.if(f.i32.or(overflowed(env, f, TlbTail.nonGlobalCount), overflowed(env, f, TlbTail.globalCount)), () => {
    f.call(resetTlb);
    f.return();
  });
  const drop = (entry: I32Get): void => {
    makeEmpty(env, f, entry);
    f.i32.store(entry(), f.i32.const(0), TlbEntry.flags);
  };
  forLogged(env, f, TlbTail.nonGlobalCount, TlbTail.nonGlobalLog, drop);
  forLogged(env, f, TlbTail.globalCount, TlbTail.globalLog, drop);
  f.i64.store(f.globalGet(env.tlb), f.i64.const(0), TlbTail.nonGlobalCount); // and globalCount, its neighbour
  f.if(f.i32.load(f.globalGet(env.tlb), TlbTail.largeSeen), () => {
    f.memoryFill(tail(env, f, TlbTail.largeFilter), f.i32.const(0), f.i32.const(LARGE_FILTER_BYTES));
    f.i32.store(f.globalGet(env.tlb), f.i32.const(0), TlbTail.largeSeen);
  });
  return f.ref<[], void>();
}

/** A CR3 write with CR4.PGE = 1 (SDM vol. 3 §4.10.4.1). */
function defineFlushNonGlobal(env: Env): FuncRef<[], void> {
  const f = env.module.function('flushNonGlobal', [], []);
  const flags = f.local('i32');
  countUp(env, f, 'flushes');
  const dropUnlessGlobal = (entry: I32Get): void => {
    f.set(flags, f.i32.load(entry(), TlbEntry.flags));
    f.if(not(f, test32(f, f.get(flags), TlbFlag.GLOBAL)), () => makeEmpty(env, f, entry));
    f.i32.store(entry(), test32(f, f.get(flags), ~TlbFlag.LOGGED), TlbEntry.flags);
  };
  f.if(
    overflowed(env, f, TlbTail.nonGlobalCount),
    () => forAllEntries(env, f, dropUnlessGlobal),
    () => forLogged(env, f, TlbTail.nonGlobalCount, TlbTail.nonGlobalLog, dropUnlessGlobal),
  );
  f.i32.store(f.globalGet(env.tlb), f.i32.const(0), TlbTail.nonGlobalCount);
  return f.ref<[], void>();
}

/** INVLPG (SDM vol. 3 §4.10.4.1): the page that contains the address, global or not, with every fragment of it. */
function defineFlushPage(env: Env, largeHash: LargeHash): FuncRef<[I64], void> {
  const dropLarge = defineDropLarge(env);
  const f = env.module.function('flushPage', ['i64'], []);
  const va = f.param(0, 'i64');
  const page = f.local('i64');
  const entry = f.local('i32');
  f.set(page, f.i64.and(f.get(va), f.i64.const(-4096)));
  for (let array = 0; array < TLB_ARRAYS_BYTES; array += TLB_ARRAY_BYTES) {
    f.set(
      entry,
      entryAddress(env, f, f.i32.const(array), () => f.get(va)),
    );
    const difference = f.i64.xor(f.i64.load(f.get(entry), TlbEntry.tag), f.get(page));
    // Also if the page is a device's.
    f.if(f.i64.eqz(f.i64.and(difference, f.i64.const(~TLB_DEVICE_TAG))), () => makeEmpty(env, f, () => f.get(entry)));
  }
  f.if(f.i32.load(f.globalGet(env.tlb), TlbTail.largeSeen), () => {
    const position = f.local('i32');
    for (const shift of LARGE_SHIFTS) {
      f.set(position, f.call(largeHash, f.get(va), f.i32.const(shift)));
      const byte = f.i32.load8_u(filterByte(env, f, f.get(position)), TlbTail.largeFilter);
      f.if(test32(f, f.i32.shr_u(byte, test32(f, f.get(position), 7)), 1), () =>
        f.call(dropLarge, f.get(va), f.i32.const(shift)),
      );
    }
  });
  return f.ref<[I64], void>();
}

/** (linear address, page size): drops the fragments of the large page that contains the address. */
function defineDropLarge(env: Env): FuncRef<[I64, I32], void> {
  const f = env.module.function('dropLarge', ['i64', 'i32'], []);
  const [va, shift] = [f.param(0, 'i64'), f.param(1, 'i32')];
  const wanted = f.local('i32');
  f.set(wanted, f.i32.or(f.i32.shl(f.get(shift), f.i32.const(TlbFlag.PAGE_SHIFT)), f.i32.const(TlbFlag.LARGE)));
  forUsed(env, f, (entry) => {
    const size = test32(f, f.i32.load(entry(), TlbEntry.flags), (0xff << TlbFlag.PAGE_SHIFT) | TlbFlag.LARGE);
    f.if(f.i32.eq(size, f.get(wanted)), () => {
      const difference = f.i64.xor(f.i64.load(entry(), TlbEntry.tag), f.get(va));
      f.if(f.i64.eqz(f.i64.shr_u(difference, f.i64.extend_i32_u(f.get(shift)))), () => makeEmpty(env, f, entry));
    });
  });
  return f.ref<[I64, I32], void>();
}

function defineDropWrites(env: Env): FuncRef<[I32], void> {
  const f = env.module.function('dropWrites', ['i32'], []);
  const hostPage = f.param(0, 'i32');
  f.set(hostPage, test32(f, f.get(hostPage), -4096));
  /** 1 in an array of entries for writing. */
  const writes = (entry: I32Get): I32 => {
    const array = f.i32.div_u(f.i32.sub(entry(), f.globalGet(env.tlb)), f.i32.const(TLB_ARRAY_BYTES));
    return f.i32.eq(f.i32.rem_u(array, f.i32.const(TLB_SET_BYTES / TLB_ARRAY_BYTES)), f.i32.const(TlbArray.write));
  };
  forUsed(env, f, (entry) => {
    const host = f.i32.add(f.i32.load(entry(), TlbEntry.tag), f.i32.load(entry(), TlbEntry.addend));
    f.if(f.i32.eq(host, f.get(hostPage)), () => f.if(writes(entry), () => makeEmpty(env, f, entry)));
  });
  return f.ref<[I32], void>();
}

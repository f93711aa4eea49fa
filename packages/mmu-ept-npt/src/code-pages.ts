import type { FuncRef, FunctionBuilder, I32 } from '@tsvisor/wasm-codegen';
import type { Env, I32Get } from './env.ts';
import { forPointers, test32 } from './env.ts';
import { GUEST_MAP, SLOT, SlotFlag } from './guest-map.ts';
import type { PhysMapFunctions } from './phys-map.ts';
import { PhysPage } from './phys-map.ts';

export type CodePageFunctions = {
  /** (host address) → 1 when the page was not protected before. */
  readonly protectCode: FuncRef<[I32], I32>;
  readonly unprotectCode: FuncRef<[I32], void>;
};

/**
 * Protection of pages that translated code came from. A page of linear memory may appear at several guest-physical addresses; all of them
 * are marked, so that a store through any alias is noticed.
 */
export function defineCodePages(env: Env, map: PhysMapFunctions, dropWrites: FuncRef<[I32], void>): CodePageFunctions {
  return { protectCode: defineProtect(env, map, dropWrites), unprotectCode: defineUnprotect(env, map) };
}

/** Runs `body` with the address of each physical-map entry that maps `hostPage`. */
function forEntriesOf(
  env: Env,
  f: FunctionBuilder,
  map: PhysMapFunctions,
  hostPage: I32Get,
  body: (entry: I32Get) => void,
): void {
  const within = f.local('i32');
  const entry = f.local('i32');
  const first = (): I32 => f.i32.add(f.globalGet(env.slotTable), f.i32.const(GUEST_MAP.offset.slots));
  const bytes = (): I32 => f.i32.mul(f.i32.load(f.globalGet(env.slotTable), GUEST_MAP.offset.slotLimit), f.i32.const(SLOT.size));
  forPointers(f, first(), f.i32.add(first(), bytes()), SLOT.size, (slot) => {
    f.block((next) => {
      f.brIf(next, f.i32.eqz(test32(f, f.i32.load(slot(), SLOT.offset.flags), SlotFlag.USED)));
      // Page number within the slot; below its start it wraps to a large one.
      f.set(within, f.i32.shr_u(f.i32.sub(hostPage(), f.i32.load(slot(), SLOT.offset.host)), f.i32.const(12)));
      f.brIf(next, f.i32.ge_u(f.get(within), f.i32.load(slot(), SLOT.offset.pages)));
      const gpaPage = f.i32.add(f.i32.load(slot(), SLOT.offset.gpaPage), f.get(within));
      f.set(entry, f.call(map.physEntry, f.i64.shl(f.i64.extend_i32_u(gpaPage), f.i64.const(12))));
      f.brIf(next, f.i32.eqz(f.get(entry)));
      body(() => f.get(entry));
    });
  });
}

function defineProtect(env: Env, map: PhysMapFunctions, dropWrites: FuncRef<[I32], void>): FuncRef<[I32], I32> {
  const f = env.module.function('protectCode', ['i32'], ['i32']);
  const host = f.param(0, 'i32');
  const isNew = f.local('i32');
  f.set(host, test32(f, f.get(host), -4096));
  forEntriesOf(
    env,
    f,
    map,
    () => f.get(host),
    (entry) => {
      const before = f.i32.atomic_or(entry(), f.i32.const(PhysPage.CODE));
      f.if(f.i32.eqz(test32(f, before, PhysPage.CODE)), () => f.set(isNew, f.i32.const(1)));
    },
  );
  f.if(f.get(isNew), () => {
    f.call(dropWrites, f.get(host));
    f.call(env.shootdown, f.get(host));
  });
  f.get(isNew);
  return f.ref<[I32], I32>();
}

/** The page's next write fill enters the write TLB again; there is nothing to flush. */
function defineUnprotect(env: Env, map: PhysMapFunctions): FuncRef<[I32], void> {
  const f = env.module.function('unprotectCode', ['i32'], []);
  const host = f.param(0, 'i32');
  f.set(host, test32(f, f.get(host), -4096));
  forEntriesOf(
    env,
    f,
    map,
    () => f.get(host),
    (entry) => {
      f.drop(f.i32.atomic_and(entry(), f.i32.const(~PhysPage.CODE)));
    },
  );
  return f.ref<[I32], void>();
}

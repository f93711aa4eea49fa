import type { FuncRef, I32 } from '@tsvisor/wasm-codegen';
import type { Env } from './env.ts';
import { loadState64, not, test32, test64 } from './env.ts';
import type { EntryFunctions } from './paging-entry.ts';
import { Pte } from './paging-entry.ts';
import { MMU } from './state.ts';
import type { WalkFunction, WalkParts } from './walk.ts';
import { WalkBuilder } from './walk.ts';
import { ADDRESS_BITS, pushReserved, stepPdeAndPte } from './walk-long.ts';

/** PAE paging (SDM vol. 3 §4.4): the PDPTEs are registers, loaded with CR3, and carry no rights and no A bit. */
export function definePaeWalk(parts: WalkParts): WalkFunction {
  const walk = new WalkBuilder(parts, 'walkPae', 8, 2);
  const { f, env, entry, table } = walk;
  return walk.finish((found) => {
    // Bits 62:52 are reserved here (tables 4-9 to 4-11), ignored only in 4- and 5-level paging.
    f.set(walk.reserved, f.i64.or(pushReserved(env, f), f.i64.halves(0, 0x7ff << 20)));
    const index = test32(f, f.i32.wrap_i64(f.i64.shr_u(f.get(walk.va), f.i64.const(30 - 3))), 3 << 3);
    f.set(entry, f.i64.load(f.i32.add(index, f.globalGet(env.state)), MMU.offset.pdpte));
    f.if(not(f, test64(f, f.get(entry), Pte.P)), () => walk.fault(0));
    f.set(table, f.i64.and(f.get(entry), f.i64.const(ADDRESS_BITS)));
    stepPdeAndPte(walk, 0, found);
  });
}

/** () → 0 with the four PDPTE registers loaded from where CR3 points, or -1 with nothing loaded: a present one has reserved bits. */
export function defineLoadPdptes(env: Env, entries: EntryFunctions): FuncRef<[], I32> {
  const f = env.module.function('loadPdptes', [], ['i32']);
  const table = f.local('i64');
  const reserved = f.local('i64');
  const loaded = Array.from({ length: 4 }, () => f.local('i64'));
  // Table 4-8: bits 2:1, 8:5 and 63:MAXPHYADDR.
  f.set(reserved, f.i64.or(loadState64(env, f, 'reservedMaskLo'), f.i64.halves(0x1e6, 0xfff << 20)));
  f.set(table, f.i64.and(loadState64(env, f, 'cr3'), f.i64.const(0xffff_ffe0)));
  loaded.forEach((pdpte, i) => {
    f.set(pdpte, f.call(entries.readEntry[8], f.i64.add(f.get(table), f.i64.const(8 * i))));
    f.if(test64(f, f.get(pdpte), Pte.P), () =>
      f.if(not(f, f.i64.eqz(f.i64.and(f.get(pdpte), f.get(reserved)))), () => f.return(f.i32.const(-1))),
    );
  });
  loaded.forEach((pdpte, i) => {
    f.i64.store(f.globalGet(env.state), f.get(pdpte), MMU.offset.pdpte + 8 * i);
  });
  f.i32.const(0);
  return f.ref<[], I32>();
}

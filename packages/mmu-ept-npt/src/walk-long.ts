import type { FunctionBuilder, I32, I64, Label } from '@tsvisor/wasm-codegen';
import type { Env } from './env.ts';
import { loadState, loadState64, test32, test64 } from './env.ts';
import { Pte } from './paging-entry.ts';
import { MmuFlag, PagingMode } from './state.ts';
import type { WalkFunction, WalkParts } from './walk.ts';
import { WalkBuilder } from './walk.ts';

/** Bits 51:12 of a 64-bit entry: a physical address, once the reserved bits were found clear. */
export const ADDRESS_BITS = 0x000f_ffff_ffff_f000;

/** Pushes the bits reserved in every 64-bit entry: 51:MAXPHYADDR, and XD while IA32_EFER.NXE = 0. */
export function pushReserved(env: Env, f: FunctionBuilder): I64 {
  const xd = f.select(f.i64.const(0), f.i64.halves(0, 1 << 31), test32(f, loadState(env, f, 'flags'), MmuFlag.NXE));
  return f.i64.or(xd, loadState64(env, f, 'reservedMaskLo'));
}

/** Pushes the bits reserved in an entry that maps a page of 2^`shift` bytes: 12 is PAT, the others below the address must be 0. */
export const pushReservedBelow = (f: FunctionBuilder, shift: number): I64 => f.i64.const(2 ** shift - 2 ** 13);

/** The 2-MByte or 4-KByte end of a walk, which PAE paging has in common with 4- and 5-level paging (tables 4-9 to 4-11, 4-17 to 4-20). */
export function stepPdeAndPte(walk: WalkBuilder, level: number, found: Label): void {
  const { f, entry, table } = walk;
  const isLarge = (): I32 => test64(f, f.get(entry), Pte.PS);
  walk.step(level, 21, 9, () => f.select(pushReservedBelow(f, 21), f.i64.const(0), isLarge()));
  f.if(isLarge(), () => {
    walk.leaf(21, () => f.i64.and(f.get(entry), f.i64.const(ADDRESS_BITS - (2 ** 21 - 2 ** 12))));
    f.br(found);
  });
  f.set(table, f.i64.and(f.get(entry), f.i64.const(ADDRESS_BITS)));
  walk.step(level + 1, 12, 9);
  walk.leaf(12, () => f.i64.and(f.get(entry), f.i64.const(ADDRESS_BITS)));
}

/** 4-level and 5-level paging (SDM vol. 3 §4.5). */
export function defineLongWalk(parts: WalkParts): WalkFunction {
  const walk = new WalkBuilder(parts, 'walkLong', 8, 5);
  const { f, env, entry, table } = walk;
  const nextTable = (): void => f.set(table, f.i64.and(f.get(entry), f.i64.const(ADDRESS_BITS)));
  const page1GB = (): I32 => test32(f, loadState(env, f, 'flags'), MmuFlag.PAGE1GB);
  const isLarge = (): I32 => test64(f, f.get(entry), Pte.PS);

  return walk.finish((found) => {
    f.set(walk.reserved, pushReserved(env, f));
    f.set(table, f.i64.and(loadState64(env, f, 'cr3'), f.i64.const(ADDRESS_BITS)));
    // Tables 4-14 and 4-15: bit 7 of PML5Es and PML4Es is reserved.
    f.if(f.i32.eq(loadState(env, f, 'mode'), f.i32.const(PagingMode.fiveLevel)), () => {
      walk.step(0, 48, 9, () => f.i64.const(Pte.PS));
      nextTable();
    });
    walk.step(1, 39, 9, () => f.i64.const(Pte.PS));
    nextTable();
    // Table 4-16: bits 29:13 of a PDPTE that maps a page; where 1-GByte pages are not supported, PS itself.
    walk.step(2, 30, 9, () =>
      f.select(f.select(pushReservedBelow(f, 30), f.i64.const(Pte.PS), page1GB()), f.i64.const(0), isLarge()),
    );
    f.if(isLarge(), () => {
      walk.leaf(30, () => f.i64.and(f.get(entry), f.i64.const(ADDRESS_BITS - (2 ** 30 - 2 ** 12))));
      f.br(found);
    });
    nextTable();
    stepPdeAndPte(walk, 3, found);
  });
}

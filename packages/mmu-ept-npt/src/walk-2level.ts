import type { I64 } from '@tsvisor/wasm-codegen';
import { loadState, loadState64, test32, test64 } from './env.ts';
import { Pte } from './paging-entry.ts';
import { MmuFlag } from './state.ts';
import type { WalkFunction, WalkParts } from './walk.ts';
import { WalkBuilder } from './walk.ts';

/** 32-bit paging: 1024 entries of 4 bytes per table (SDM vol. 3 §4.3). */
export function defineTwoLevelWalk(parts: WalkParts): WalkFunction {
  const walk = new WalkBuilder(parts, 'walkTwoLevel', 4, 2);
  const { f, env, entry, table } = walk;
  const reservedInLarge = f.local('i64');

  // Table 4-4: a 4-MByte PDE holds address bits 39:32 in bits 20:13 if PSE-36 is supported, as far as MAXPHYADDR reaches; the rest of
  // 21:13 is reserved.
  f.set(
    reservedInLarge,
    f.ifOf(
      'i64',
      test32(f, loadState(env, f, 'flags'), MmuFlag.PSE36),
      () => {
        const beyond = f.i64.and(
          f.i64.shr_u(loadState64(env, f, 'reservedMaskLo'), f.i64.const(32 - 13)),
          f.i64.const(0xff << 13),
        );
        return f.i64.or(beyond, f.i64.const(1 << 21));
      },
      () => f.i64.const(0x1ff << 13),
    ),
  );
  const isLarge = () =>
    f.ifOf(
      'i32',
      test32(f, loadState(env, f, 'flags'), MmuFlag.PSE),
      () => test64(f, f.get(entry), Pte.PS),
      () => f.i32.const(0),
    );
  const reservedInPde = (): I64 => f.select(f.get(reservedInLarge), f.i64.const(0), isLarge());

  return walk.finish((found) => {
    f.set(table, f.i64.and(loadState64(env, f, 'cr3'), f.i64.const(0xffff_f000)));
    walk.step(0, 22, 10, reservedInPde);
    f.if(isLarge(), () => {
      walk.leaf(22, () => {
        const low = f.i64.and(f.get(entry), f.i64.const(0xffc0_0000));
        const high = f.i64.shl(f.i64.and(f.get(entry), f.i64.const(0xff << 13)), f.i64.const(32 - 13));
        return f.i64.or(low, high);
      });
      f.br(found);
    });
    f.set(table, f.i64.and(f.get(entry), f.i64.const(0xffff_f000)));
    walk.step(1, 12, 10);
    walk.leaf(12, () => f.i64.and(f.get(entry), f.i64.const(0xffff_f000)));
  });
}

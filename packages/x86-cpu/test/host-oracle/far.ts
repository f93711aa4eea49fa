/** Selectors and far pointers: sometimes good, often bad in one way. */
import { DESCRIPTORS, Layout } from './case.ts';
import type { Random } from './random.ts';

/** What loads segment registers. */
export const SELECTING: ReadonlySet<string> = new Set(
  'mov_to_sreg pop_sreg lds les lss lfs lgs jmp_far jmp_far_ind call_far call_far_ind ret_far iret'.split(' '),
);

/** Linux's entry of 64-bit code. */
const CODE64 = 6;
const USER_CODE32 = 5;

/** A selector: of the local table, null, of Linux's table, or none; now and then with another RPL. `call`: for a far CALL. */
export function randomSelector(random: Random, call: boolean): bigint {
  const roll = random.below(100);
  const rpl = random.chance(85) ? 3 : random.below(4);
  if (roll < 60) return BigInt(((1 + random.below(DESCRIPTORS.length - 1)) << 3) | 4 | rpl);
  if (roll < 70) return BigInt(random.below(4));
  if (roll < 90) {
    // Up to the task-state segment: behind it are things of the kernel's own.
    const entry = random.below(11);
    // A far CALL into 64-bit code pushes by its rules on AMD's processors, by the caller's on Intel's.
    return BigInt(((call && entry === CODE64 ? USER_CODE32 : entry) << 3) | rpl);
  }
  return BigInt(random.u32() & 0xffff) | 0x400n;
}

/** An offset to go to with a selector: in the code area by its own segment, by a flat one, or anywhere. */
export function randomFarOffset(random: Random): bigint {
  if (random.chance(70)) return BigInt(random.below(0x1000));
  return random.chance(70) ? BigInt(Layout.code + random.below(Layout.bytes)) : random.value();
}

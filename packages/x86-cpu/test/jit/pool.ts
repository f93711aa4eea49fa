/** The instructions random programs are made of: encodings of all rows that can run there. */
import { encodingsOf } from '../../src/decode/encodings.ts';
import { rows } from '../../src/decode/lookup.ts';
import type { OpcodeRow } from '../../src/decode/opcodes.ts';
import { isInteger } from '../host-oracle/excluded.ts';
import { Random } from '../host-oracle/random.ts';
import { engineHas } from '../host-oracle/test-machine.ts';

/** Their result is not the same twice, they change the system the program runs on, or they have items of their own. */
const EXCLUDED = new Set(
  (
    'rdrand rdseed rdpid rdtsc rdtscp rdpmc xgetbv mov_to_cr mov_to_dr lgdt lidt lldt ltr lmsw wrmsr clts xsetbv swapgs syscall sysret sysenter ' +
    'sysexit rsm call_far jmp_far call_far_ind jmp_far_ind ret_far iret int int1 int3 into hlt monitor mwait mov_to_sreg pop_sreg lds ' +
    'les lss lfs lgs wrfsbase wrgsbase invd wbinvd ret call jmp jcc call_ind jmp_ind loop loope loopne jcxz ud0 ud1 ud2 cli sti popf ' +
    'popa pusha enter leave invlpg invpcid xrstor fxrstor xsave fxsave xsaveopt xsavec xsaves xrstors frstor fnsave fldenv vzeroall'
  ).split(' '),
);
/** Tested most: what compilers emit. */
const COMMON = new Set(
  (
    'add or adc sbb and sub xor cmp test inc dec neg not mov movzx movsx movsxd lea cmovcc setcc shl shr sar rol ror rcl rcr shld shrd ' +
    'mul imul imul2 imul3 div idiv xchg xadd cmpxchg bt bts btr btc bsf bsr cbw cwd push pop pushf lahf sahf stc clc cmc std cld'
  ).split(' '),
);
/** Repeated, and with pointers of their own. */
const STRINGS = new Set('movs stos lods scas cmps'.split(' '));
const ROUNDS = 3;

export type Pool = {
  readonly common: readonly (readonly Uint8Array[])[];
  readonly integer: readonly (readonly Uint8Array[])[];
  readonly vector: readonly (readonly Uint8Array[])[];
  readonly string: readonly (readonly Uint8Array[])[];
};
const pools = new Map<32 | 64, Pool>();

/** Encodings by row: a row of many shapes is not drawn more often for it. */
export function poolOf(mode: 32 | 64): Pool {
  const known = pools.get(mode);
  if (known) return known;
  const random = new Random(mode);
  const pool = { common: [], integer: [], vector: [], string: [] } as Record<keyof Pool, Uint8Array[][]>;
  const kindOf = (row: OpcodeRow): keyof Pool =>
    STRINGS.has(row.sem) ? 'string' : !isInteger(row) ? 'vector' : COMMON.has(row.sem) ? 'common' : 'integer';
  for (const row of rows) {
    if (EXCLUDED.has(row.sem) || !engineHas(row) || (row.cpl0 && !row.iopl) || row.flow === 'ud') continue;
    const list: Uint8Array[] = [];
    for (let n = 0; n < ROUNDS; n++) list.push(...encodingsOf(row, mode, random.u32));
    if (list.length > 0) pool[kindOf(row)].push(list);
  }
  pools.set(mode, pool);
  return pool;
}

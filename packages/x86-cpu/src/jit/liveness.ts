/** Which blocks of a region are entered with flags that someone will look at, and which instructions' flags nobody can see. */
import type { RegionBlock, RegionInstruction } from './region.ts';

const words = (text: string): ReadonlySet<string> => new Set(text.split(' '));
/** Set all six status flags without looking at them. */
const SETS = words(
  'add sub and or xor cmp test neg xadd cmpxchg imul2 imul3 mul imul popcnt lzcnt tzcnt comiss comisd ucomiss ucomisd ptest',
);
/** With an immediate count. */
const SHIFTS = words('shl shr sar');
/** Neither set status flags nor look at them. */
const IGNORES = words(
  'mov movzx movsx movsxd lea push pop nop xchg not bswap cbw cwd leave call ret jmp jmp_ind call_ind movbe ' +
    'div idiv movaps movapd movups movupd movdqa movdqu movd movq movss movsd addsd subsd mulsd divsd addss subss mulss divss ' +
    'out hypercall pxor por pand pandn paddb paddw paddd paddq psubb psubw psubd psubq xorps xorpd andps andpd cvtsi2sd cvtsi2ss cvttsd2si cvttss2si',
);
/** Leave some status flags as they were, and do nothing else with the old ones: if nobody sees theirs, they do not look either. */
const PRESERVES = words('inc dec shl shr sar rol ror shld shrd bt bts btr btc bsf bsr stc clc');
/** Cannot leave the region when all their operands are registers. */
const STAYS = words(
  'add sub and or xor cmp test neg not inc dec adc sbb shl shr sar rol ror imul2 imul3 mul imul mov movzx movsx movsxd lea nop bswap cbw cwd ' +
    'cmovcc setcc bt bts btr btc shld shrd',
);

const ignores = ({ form }: RegionInstruction): boolean => IGNORES.has(form.sem);

/** The shift count of an instruction that has it as an immediate, masked as the processor does. */
export function immediateCount({ insn, form }: RegionInstruction): number | undefined {
  const last = form.classes.length - 1;
  return form.classes[last] === 'i' ? insn.immLo & (form.sizes[0] === 8 ? 63 : 31) : undefined;
}

function sets(instruction: RegionInstruction): boolean {
  const { sem } = instruction.form;
  return SETS.has(sem) || (SHIFTS.has(sem) && (immediateCount(instruction) ?? 0) !== 0);
}

export const preserves = ({ form }: RegionInstruction): boolean => PRESERVES.has(form.sem);
const stays = ({ form }: RegionInstruction): boolean => STAYS.has(form.sem) && !form.classes.includes('m');

/**
 * Whether nobody can see the flags that an instruction of a block leaves: another one sets them all before anything looks, and before
 * anything that might leave the region, where they have to be exact.
 */
export function flagsUnseen(instructions: readonly RegionInstruction[], position: number): boolean {
  for (let n = position + 1; n < instructions.length; n++) {
    const next = instructions[n];
    if (!stays(next)) return false;
    if (sets(next)) return true;
    if (!ignores(next) && !preserves(next)) return false;
  }
  return false;
}

/** How the flags at a block's start matter: looked at, not (all are set before), or whatever its successors do. */
function blockNeeds(block: RegionBlock): boolean | undefined {
  const { instructions } = block;
  for (let n = 0; n < instructions.length; n++) {
    if (sets(instructions[n])) return false;
    if (!ignores(instructions[n]) && !(preserves(instructions[n]) && flagsUnseen(instructions, n))) return true;
  }
  return undefined;
}

/** The nodes (numbered as in `edges`) whose blocks look at flags they are entered with. Node 0 is the root. */
export function flagsLiveAt(blocks: readonly RegionBlock[], edges: readonly (readonly number[])[]): ReadonlySet<number> {
  const needs = [undefined, ...blocks.map(blockNeeds)];
  const live = new Set<number>();
  for (let changed = true; changed; ) {
    changed = false;
    for (let node = blocks.length; node > 0; node--) {
      if (live.has(node)) continue;
      const does = needs[node] ?? edges[node].some((to) => live.has(to));
      if (!does) continue;
      live.add(node);
      changed = true;
    }
  }
  return live;
}

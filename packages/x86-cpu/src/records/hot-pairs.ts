/**
 * Which instructions, one behind the other, are one case of the interpreter: what follows what most often in the translations of a booting
 * Linux kernel, half of all neighbours. A case for two saves a dispatch, which costs as much as many an instruction.
 */
import type { Form } from '../form.ts';
import { AddressMode, StackMode } from '../form.ts';

export type HotPair = { readonly first: Form; readonly second: Form };

/** The first, and what follows it: semantics and operands of the 64-bit forms. */
const PAIRS: readonly (readonly [string, string])[] = [
  ['pop:r8', 'pop:r8 ret: jmp:j4'],
  ['push:r8', 'push:r8 mov:r8,r8 mov:r4,r4 sub:r8,i8'],
  ['mov:r8,r8', 'call:j4 mov:r8,r8 push:r8 pop:r8 mov:r8,m8 test:r8,r8 mov:r4,i4 mov:m8,r8 mov:r4,r4 mov:r8,i8'],
  ['test:r8,r8', 'jcc.4:j1 jcc.4:j4 jcc.5:j1'],
  ['mov:m8,r8', 'mov:m8,r8 mov:r8,m8 xor:r4,r4 call:j4 mov:r8,r8 test:r8,r8'],
  ['mov:r8,m8', 'mov:r8,m8 test:r8,r8 mov:r8,r8 mov:m8,r8 call:j4 lea:r8,m0 mov:r4,m4'],
  ['mov:r8,i8', 'call:j4 mov:r8,i8'],
  ['mov:m8,i8', 'mov:m8,i8'],
  ['test:r4,r4', 'jcc.4:j1 jcc.5:j1 jcc.5:j4 jcc.4:j4'],
  ['mov:r4,i4', 'mov:r8,r8 call:j4 mov:r8,i8 mov:r4,i4'],
  ['add:r8,i8', 'pop:r8'],
  ['mov:r4,r4', 'pop:r8 mov:r8,r8 test:r4,r4 push:r8 mov:r4,r4 call:j4'],
  ['mov:r4,m4', 'test:r4,r4'],
  ['xor:r4,r4', 'xor:r4,r4 mov:r8,r8 mov:r4,i4 pop:r8'],
  ['lea:r8,m0', 'mov:r8,r8 mov:m8,r8 call:j4'],
  ['test:r1,r1', 'jcc.4:j1'],
];

/** The same in 32-bit code. */
const narrow = (name: string): string => name.replaceAll(/([rmi])8/g, '$14');

type Find = (name: string) => Form | undefined;

/** The pairs that these forms have, in a fixed order. Only the second may transfer control. */
export function hotPairs(forms: readonly Form[]): HotPair[] {
  const named = (name: string): Form[] => forms.filter(({ key }) => key.startsWith(`${name}:`));
  const wide: Find = (name) =>
    named(name).find(({ mode, stack, address }) => mode === 64 && stack === StackMode.Long && address === AddressMode.Base);
  // A form that has to do with neither stack nor branches is the same in all modes; 32-bit code has other addresses, though.
  const flat: Find = (name) => {
    const all = named(narrow(name));
    const own = all.find(({ mode, stack }) => mode === 32 || stack === StackMode.Flat32);
    return own ?? all.find(({ address, classes }) => (address === AddressMode.Indexed) === classes.includes('m'));
  };
  const pairs = new Map<string, HotPair>();
  for (const find of [wide, flat]) {
    for (const [first, followers] of PAIRS) {
      for (const follower of followers.split(' ')) {
        const pair = { first: find(first), second: find(follower) };
        if (pair.first && pair.second) pairs.set(`${pair.first.key} ${pair.second.key}`, pair as HotPair);
      }
    }
  }
  return [...pairs.values()];
}

/** Where the pair of two handlers is looked up. */
export const pairKey = (first: number, second: number): number => first * 0x1_0000 + second;

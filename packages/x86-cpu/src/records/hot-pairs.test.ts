import { describe, expect, it } from 'vitest';
import { hotForms } from './hot-forms.ts';
import { hotPairs, pairKey } from './hot-pairs.ts';

describe('pairs of instructions that are one case', () => {
  const pairs = hotPairs(hotForms());
  const keys = pairs.map(({ first, second }) => `${first.key} ${second.key}`);

  it('are there for 64-bit and for 32-bit code', () => {
    expect(keys).toContain('pop:r8:o4a8m64:00 ret::o8a8m64:00');
    expect(keys.some((key) => /^pop:r4:\S+:01 ret::\S+m32:01$/.test(key))).toBe(true);
    expect(keys.some((key) => /^mov:r4,m4:\S+:10 test:r4,r4:/.test(key))).toBe(true);
    expect(pairs.length).toBeGreaterThan(90);
  });

  it('are different, and each goes on behind its first', () => {
    expect(new Set(keys).size).toBe(keys.length);
    for (const { first } of pairs) expect([first.branch, /^(?:ret|jmp|call)/.test(first.sem)], first.key).toEqual([false, false]);
  });

  it('are looked up by both handlers', () => {
    expect(new Set([pairKey(1, 2), pairKey(2, 1), pairKey(0x3fff, 0x3fff), pairKey(0x3fff, 0)]).size).toBe(4);
  });
});

/** The printer of wasm-codegen on what this package generates. */
import { MMU } from '@tsvisor/mmu-ept-npt';
import { wabtInstructions } from '@tsvisor/scripts/wabt-instructions';
import { readModule } from '@tsvisor/wasm-codegen';
import { describe, expect, it } from 'vitest';
import { buildCore } from '../../src/core/build.ts';
import { hotForms } from '../../src/records/hot-forms.ts';

async function expectSame(bytes: Uint8Array): Promise<number> {
  const theirs = await wabtInstructions(bytes);
  const ours = readModule(bytes, { function: String, global: String }).functions;
  expect(ours.length).toBe(theirs.length);
  for (const [n, { name, instructions }] of ours.entries()) {
    const texts = instructions.map(({ text }) => text);
    const at = texts.findIndex((text, i) => text !== theirs[n][i]);
    expect({ name, at, text: texts[at], length: texts.length }).toEqual({
      name,
      at: -1,
      text: undefined,
      length: theirs[n].length,
    });
  }
  return ours.reduce((sum, { instructions }) => sum + instructions.length, 0);
}

describe('printed modules have the instructions that wabt reads', () => {
  it('the core module', { timeout: 60_000 }, async () => {
    expect(await expectSame(buildCore({ mmu: MMU.offset, doorbells: undefined }, hotForms()).bytes)).toBeGreaterThan(50_000);
  });
});

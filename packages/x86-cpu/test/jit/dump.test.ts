/** What is told of regions, and how it is printed. */
import { wabtInstructions } from '@tsvisor/scripts/wabt-instructions';
import { readModule } from '@tsvisor/wasm-codegen';
import { describe, expect, it } from 'vitest';
import { CPU, holdsAddress, printRegion, type RegionReport } from '../../src/index.ts';
import { LongModeMachine, Place } from '../system/long-mode.ts';

/** Sums eight words; each third one is doubled by a function. */
const PROGRAM = `
  be 00 00 04 00          # mov esi, data
  b9 08 00 00 00          # mov ecx, 8
  31 c0                   # xor eax, eax
  48 8b 16                # again: mov rdx, [rsi]
  f6 c1 01                # test cl, 1
  74 05                   # jz even
  e8 0d 00 00 00          # call double
  48 01 d0                # even: add rax, rdx
  48 83 c6 08             # add rsi, 8
  ff c9                   # dec ecx
  75 e8                   # jnz again
  f4 f4                   # hlt
  48 01 d2 c3             # double: add rdx, rdx; ret`;

function compiled(): { regions: RegionReport[]; machine: LongModeMachine } {
  const regions: RegionReport[] = [];
  const machine = new LongModeMachine({ heat: 2, onRegion: (region) => regions.push(region) });
  machine.load(PROGRAM);
  expect(machine.run()).toBe('halt');
  return { regions, machine };
}

describe('reports of regions', () => {
  const { regions, machine } = compiled();

  const [region] = regions;
  const all = region.blocks.flatMap(({ instructions }) => instructions);

  it('come once for each region, with its blocks and the bytes of their instructions', () => {
    expect(regions.length).toBe(machine.processor.stats().regions);
    expect(region).toMatchObject({ codeSize: 64, rip: BigInt(Place.code), address: BigInt(Place.code), pages: [0] });
    expect(region.blocks.filter(({ entry }) => entry).map(({ offset }) => offset)).toEqual([0x19]);
    const found = all.find(({ offset }) => offset === 0x1c);
    expect([...(found?.bytes ?? [])]).toEqual([0x48, 0x83, 0xc6, 0x08]);
    expect(found?.text).toBe('add rsi, 0x8');
    expect(holdsAddress(region, BigInt(Place.code + 0x1d))).toBe(true);
    expect(holdsAddress(region, BigInt(Place.code))).toBe(false);
    expect(holdsAddress(region, BigInt(Place.code + 0x24))).toBe(false);
  });

  it('say which bytes of the function came of what: whole instructions, in ranges that nest', () => {
    const [{ instructions }] = readModule(region.wasm).functions;
    const starts = new Set(instructions.map(({ at }) => at));
    const ranges = region.blocks.flatMap((block) => [block.code, ...block.instructions.map(({ code }) => code)]);
    for (const { start, end } of ranges) expect([starts.has(start), starts.has(end), start < end]).toEqual([true, true, true]);
    for (const a of ranges)
      for (const b of ranges)
        expect(a.end <= b.start || b.end <= a.start || (a.start - b.start) * (a.end - b.end) <= 0).toBe(true);
  });

  it('are printed as guest instructions beside what was made of them', () => {
    const text = printRegion(region);
    const lines = text.split('\n');
    expect(lines[0]).toMatch(/^region at 0x10000: 4 blocks, 10 instructions, 1 pages; \d+ bytes of WebAssembly$/);
    expect(lines.filter((line) => /^\S/.test(line)).slice(1)).toEqual([
      'entry',
      'block 0000000000010019, entry',
      'block 000000000001000c',
      'block 0000000000010014',
      'block 0000000000010026',
      'exit',
    ]);
    expect(text).toMatch(/^ {2}0000000000010019 {2}add rax, rdx +\| local\.get \$rax {2}local\.set \d+$/m);
    expect(text).toMatch(/^ {2}0000000000010012 {2}\.\.\. jz 0x10019 +\| end$/m);
    expect(text).toContain(`i32.load offset=${CPU.offset.exitRequest} (;exitRequest;)`);
    const printed = lines.filter((line) => /^ {2}[0-9a-f]{16} {2}(?!\.\.\.)/.test(line));
    expect(printed.map((line) => line.slice(20, line.indexOf('|')).trim()).sort()).toEqual(all.map(({ text }) => text).sort());
  });

  it('give an instruction of which nothing became its own line', () => {
    const found: RegionReport[] = [];
    const other = new LongModeMachine({ heat: 2, onRegion: (report) => found.push(report) });
    other.load('b9 08 00 00 00 90 ff c9 90 75 fa f4'); // mov ecx, 8; nop; dec ecx; nop; jnz
    expect(other.run()).toBe('halt');
    expect(printRegion(found[0]).match(/ nop +\|$/gm)?.length).toBe(2);
  });

  it('hold modules that wabt reads as the printer does', async () => {
    const theirs = await wabtInstructions(region.wasm);
    const ours = readModule(region.wasm, { function: String, global: String }).functions;
    expect(ours.map(({ instructions }) => instructions.map(({ text }) => text))).toEqual(theirs);
  });
});

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeptRegion } from '@tsvisor/machines/compiler';
import { afterAll, describe, expect, it } from 'vitest';
import { CodeCollector, codePath, openKept } from './code-cache.ts';
import { CodeFile, entryOf, regionId, type Stored, writeCodeFile } from './file.ts';
import { dropOldFiles, touch } from './folder.ts';
import { KeptModule } from './kept-module.ts';
import { instanceToAsk, moduleOf, optimisedCode } from './optimised.ts';

const folder = mkdtempSync(join(tmpdir(), 'tsvisor-code-'));
afterAll(() => rmSync(folder, { recursive: true }));
const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });

/** (module (func (export "f") (param i32) (result i32): the sum of the numbers below, `step` apart). */
function summing(step: number): Uint8Array<ArrayBuffer> {
  const loop = [0x03, 0x40, 0x20, 1, 0x20, 0, 0x6a, 0x21, 1, 0x20, 0, 0x41, step, 0x6b, 0x22, 0, 0x41, 0, 0x4a, 0x0d, 0, 0x0b];
  const body = [1, 1, 0x7f, ...loop, 0x20, 1, 0x0b];
  return Uint8Array.of(
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...[1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f],
    ...[3, 2, 1, 0],
    ...[7, 5, 1, 1, 0x66, 0, 0],
    ...[10, body.length + 2, 1, body.length, ...body],
  );
}

function region(step: number): KeptRegion {
  return {
    key: 2,
    pages: [0, 4096],
    code: [
      { offset: 0x10, bytes: Uint8Array.of(1, 2, step) },
      { offset: 4096, bytes: Uint8Array.of(4) },
    ],
    entries: [{ offset: 0x10, hash: -step }],
    instructions: 3,
    wasm: summing(step),
  };
}

/** A module that V8 has optimised. */
async function optimised(wasm: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  const module = new WebAssembly.Module(wasm);
  const f = new WebAssembly.Instance(module).exports.f as (n: number) => number;
  for (let round = 0; optimisedCode(module, f) === undefined; round++) {
    if (round === 1000) throw new Error('V8 does not optimise it');
    f(1_000_000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return module;
}

const all = (path: string): KeptRegion[] => {
  const file = CodeFile.open(path);
  const regions = file?.index.flatMap((stored) => file.read(stored)?.region ?? []) ?? [];
  // Node's buffers are views of the same kind.
  const plain = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes);
  file?.close();
  return regions.map((one) => ({
    ...one,
    wasm: plain(one.wasm),
    code: one.code.map(({ offset, bytes }) => ({ offset, bytes: plain(bytes) })),
  }));
};

/** Regions by the hash of their entries: whether V8 has optimised them, and when they were used last. */
function stored(path: string): [number, boolean, number][] {
  const file = CodeFile.open(path);
  const found = (file?.index ?? []).map(({ entries, optimised, run }): [number, boolean, number] => [
    entries[0].hash,
    optimised > 0,
    run,
  ]);
  file?.close();
  return found;
}

describe('a file of kept regions', () => {
  const path = join(folder, 'file');
  const entries = [1, 2].map((step) =>
    entryOf({ region: region(step), optimised: step === 2 ? Uint8Array.of(9, 9) : undefined }, 7),
  );

  it('gives back what was written', () => {
    writeCodeFile(path, entries);
    expect(all(path)).toEqual([region(1), region(2)]);
    const file = CodeFile.open(path) as CodeFile;
    const [first, second] = file.index.map((stored) => file.read(stored));
    expect([first?.optimised, second?.optimised && [...second.optimised]]).toEqual([undefined, [9, 9]]);
    expect(file.index.map(({ run }) => run)).toEqual([7, 7]);
    file.close();
  });

  it('can be read on by who has it open when it is replaced', () => {
    writeCodeFile(path, entries);
    const old = CodeFile.open(path) as CodeFile;
    writeCodeFile(path, []);
    expect(old.read(old.index[1])?.region.instructions).toBe(3);
    expect(all(path)).toEqual([]);
    old.close();
  });

  it('is none if it is damaged at its end, and lacks what is damaged elsewhere', () => {
    writeCodeFile(path, entries);
    const bytes = readFileSync(path);
    const broken = (at: number, length = bytes.length): string => {
      const copy = Buffer.from(bytes.subarray(0, length));
      if (at < length) copy[at] ^= 1;
      writeFileSync(join(folder, 'broken'), copy);
      return join(folder, 'broken');
    };
    for (const length of [0, 7, 20, bytes.length - 1]) expect(CodeFile.open(broken(length, length))).toBeUndefined();
    for (const at of [bytes.length - 1, bytes.length - 13, bytes.length - 17]) expect(CodeFile.open(broken(at))).toBeUndefined();
    expect(all(broken(10)).map(({ entries }) => entries[0].hash)).toEqual([-2]);
    expect(CodeFile.open(join(folder, 'nothing'))).toBeUndefined();
  });
});

describe('kept code', () => {
  it('is for one engine, one kind of processor', () => {
    const features = ['avx', 'sse'];
    const path = codePath(folder, { features, atomic: false });
    expect(codePath(folder, { features: [...features].reverse(), atomic: false })).toBe(path);
    expect(codePath(folder, { features, atomic: true })).not.toBe(path);
    expect(codePath(folder, { features: ['sse'], atomic: false })).not.toBe(path);
  });

  it('is found by the hash of a block, and comes with what V8 made of it', async () => {
    const path = join(folder, 'regions');
    const first = new CodeCollector(path, memory);
    first.add(region(3), await optimised(summing(3)));
    // Never run: nothing is optimised.
    first.add(region(4), new WebAssembly.Module(summing(4)));
    first.save();
    const used: string[] = [];
    const kept = openKept(path, (id) => used.push(id));
    expect([kept?.has(-3), kept?.has(-5)]).toEqual([true, false]);
    const found = [-3, -4].flatMap((hash) => [...(kept?.find(hash) ?? [])]);
    expect(found.map(({ instructions }) => instructions)).toEqual([3, 3]);
    const results = found.map((one) => {
      const module = kept?.load(one) as WebAssembly.Module;
      return (new WebAssembly.Instance(module).exports.f as (n: number) => number)(6);
    });
    expect(results).toEqual([6 + 3, 6 + 2]);
    expect(used).toEqual([regionId(region(3)), regionId(region(4))]);
    expect(stored(path).map(([hash, isOptimised]) => [hash, isOptimised])).toEqual([
      [-3, true],
      [-4, false],
    ]);
  });

  it('gets better from run to run, and what has been of no use for longest makes room', async () => {
    const path = join(folder, 'better');
    const first = new CodeCollector(path, memory);
    for (const step of [5, 6]) first.add(region(step), new WebAssembly.Module(summing(step)));
    first.save();
    const second = new CodeCollector(path, memory);
    const kept = openKept(path, second.used);
    const [region5] = kept?.find(-5) ?? [];
    const running = kept?.load(region5) as WebAssembly.Module;
    await optimised(region5.wasm);
    expect(running).toBeInstanceOf(WebAssembly.Module);
    second.save();
    expect(stored(path)).toEqual([
      [-5, true, 2],
      [-6, false, 1],
    ]);
    const newest = { ...region(7), code: [{ offset: 0, bytes: new Uint8Array(500) }] };
    const five = CodeFile.open(path)?.index[0] as Stored;
    const room = entryOf({ region: newest, optimised: undefined }, 0).bytes.length + five.wasm + five.optimised + 4;
    const third = new CodeCollector(path, memory, { file: room });
    third.add(newest, new WebAssembly.Module(summing(7)));
    third.save();
    expect(stored(path).map(([hash]) => hash)).toEqual([-7, -5]);
  });

  it('is the same region once, and not more than is held for the end of a run', () => {
    const path = join(folder, 'bounded');
    const [two, three] = [14, 15].map((step) => ({ ...region(step), entries: [{ offset: 0, hash: step }] }));
    const collector = new CodeCollector(path, memory, { held: two.wasm.length + three.wasm.length });
    for (const one of [region(13), two, two, three]) collector.add(one, new WebAssembly.Module(one.wasm));
    collector.save();
    expect(stored(path).map(([hash]) => hash)).toEqual([14, 15]);
    const again = new CodeCollector(path, memory);
    again.add(two, new WebAssembly.Module(two.wasm));
    again.save();
    expect(stored(path).length).toBe(2);
  });

  it('that nobody has used for longest makes room for that of other engines', () => {
    const where = join(folder, 'many');
    mkdirSync(where);
    const names = Array.from({ length: 18 }, (_, n) => `regions-${n + 10}`);
    for (const [n, name] of names.entries()) {
      writeFileSync(join(where, name), '');
      utimesSync(join(where, name), 1000 + n, 1000 + n);
    }
    writeFileSync(join(where, 'core-0'), '');
    touch(join(where, 'regions-10'));
    dropOldFiles(join(where, 'regions-27'));
    expect(readdirSync(where).sort()).toEqual(['core-0', 'regions-10', ...names.slice(3)]);
  });

  it('of a module is what V8 made of it', async () => {
    const wasm = summing(9);
    const kept = new KeptModule(join(folder, 'modules'));
    const module = kept.compile(wasm);
    // Nothing to keep yet.
    kept.save('f');
    const again = (): WebAssembly.Module => new KeptModule(join(folder, 'modules')).compile(wasm);
    expect(again()).toBeInstanceOf(WebAssembly.Module);
    await optimised(wasm);
    kept.save('f');
    expect(module).toBeInstanceOf(WebAssembly.Module);
    const { f } = new WebAssembly.Instance(again()).exports;
    expect((f as (n: number) => number)(10)).toBe(11);
  });
});

describe('code that V8 has optimised', () => {
  it('is good for the module that it was made of, and what is none is refused', async () => {
    const wasm = summing(11);
    const module = await optimised(wasm);
    const { f } = instanceToAsk(module, memory).exports;
    const code = f && optimisedCode(module, f);
    if (code === undefined) throw new Error('it was optimised just now');
    expect(moduleOf(wasm, code)).toBeInstanceOf(WebAssembly.Module);
    const other = code.slice();
    other[0] ^= 1;
    expect(moduleOf(summing(12), other)).toBeUndefined();
    expect(moduleOf(summing(13), new Uint8Array(3))).toBeUndefined();
  });
});

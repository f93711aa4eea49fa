import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { type KeptCode, type KeptRegion, linkModules, RUNS_BEFORE } from '@tsvisor/machines/compiler';
import { afterAll, describe, expect, it } from 'vitest';
import { CodeCollector, codePath, openKept, type Use } from './code-cache.ts';
import { CodeFile, type Entry, entryOf, writeCodeFile } from './file.ts';
import { dropOldFiles, touch } from './folder.ts';
import { KeptModule } from './kept-module.ts';
import { instanceToAsk, moduleOf, optimisedCode } from './optimised.ts';

const folder = mkdtempSync(join(tmpdir(), 'tsvisor-code-'));
// As the command has it.
setFlagsFromString('--no-wasm-lazy-compilation');
afterAll(() => rmSync(folder, { recursive: true }));

/** (module (func (export "f") (param i32) (result i32): the sum of the numbers below, `step` apart), to be linked. */
function summing(step: number): Uint8Array<ArrayBuffer> {
  const loop = [0x03, 0x40, 0x20, 1, 0x20, 0, 0x6a, 0x21, 1, 0x20, 0, 0x41, step, 0x6b, 0x22, 0, 0x41, 0, 0x4a, 0x0d, 0, 0x0b];
  const body = [1, 1, 0x7f, ...loop, 0x20, 1, 0x0b];
  // One function without references.
  const references = [18, ...Buffer.from('tsvisor.references'), 1, 0];
  return Uint8Array.of(
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...[1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f],
    ...[3, 2, 1, 0],
    ...[7, 5, 1, 1, 0x66, 0, 0],
    ...[10, body.length + 2, 1, body.length, ...body],
    ...[0, references.length, ...references],
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
    bytes: 100,
    instructions: 3,
  };
}

/** A module that V8 has optimised in its own time. */
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

// Node's buffers are views of the same kind.
const plain = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes);

/** All regions of a file, bundle by bundle; of one that is damaged none. */
function all(path: string): KeptRegion[][] {
  const file = CodeFile.open(path);
  const regions = file?.index.bundles.map((bundle) => file.readRegions(bundle) ?? []) ?? [];
  file?.close();
  return regions.map((bundle) =>
    bundle.map((one) => ({ ...one, code: one.code.map(({ offset, bytes }) => ({ offset, bytes: plain(bytes) })) })),
  );
}

/** Bundles by the hashes of their regions' entries: whether V8 has optimised them, and when they were used last. */
function stored(path: string): [number[], boolean, number][] {
  const file = CodeFile.open(path);
  const found = (file?.index.bundles ?? []).map(({ regions, optimised, run }): [number[], boolean, number] => [
    regions.map(({ entries }) => entries[0].hash),
    optimised > 0,
    run,
  ]);
  file?.close();
  return found;
}

/** A file's bundle with regions of these steps, as one run adds it. */
function collect(path: string, steps: readonly number[], limits = {}): void {
  const collector = new CodeCollector(path, limits);
  for (const step of steps) collector.add(region(step), summing(step));
  collector.save();
}

/** What the region with the hash of a step makes of a number. */
function use(kept: KeptCode | undefined, step: number, x: number): number[] {
  return [...(kept?.find(-step) ?? [])].map((one) => {
    const found = kept?.load(one);
    if (!found) throw new Error('it cannot be loaded');
    return (new WebAssembly.Instance(found.module).exports[found.name] as (n: number) => number)(x);
  });
}

describe('a file of kept regions', () => {
  const path = join(folder, 'file');
  const WASM = Uint8Array.of(7, 8);
  const entry = (steps: readonly number[], optimised?: Uint8Array<ArrayBuffer>): Entry =>
    entryOf(
      steps.map((step) => ({ region: region(step), id: String(step) })),
      { wasm: WASM, optimised },
      7,
    );
  const entries = [entry([1, 2]), entry([3], Uint8Array.of(9, 9))];

  it('gives back what was written', () => {
    writeCodeFile(path, entries, [5, -6]);
    expect(all(path)).toEqual([[region(1), region(2)], [region(3)]]);
    const file = CodeFile.open(path) as CodeFile;
    const { bundles, warm } = file.index;
    const modules = bundles.map((bundle) => file.readModule(bundle));
    expect(modules.map((module) => module && plain(module.wasm))).toEqual([WASM, WASM]);
    expect(modules.map((module) => module?.optimised && [...module.optimised])).toEqual([undefined, [9, 9]]);
    expect([bundles.map(({ run }) => run), warm]).toEqual([
      [7, 7],
      [5, -6],
    ]);
    expect(bundles.map((bundle) => plain(file.raw(bundle)))).toEqual(entries.map(({ bytes }) => plain(bytes)));
    file.close();
  });

  it('can be read on by who has it open when it is replaced', () => {
    writeCodeFile(path, entries, []);
    const old = CodeFile.open(path) as CodeFile;
    writeCodeFile(path, [], []);
    expect(old.readRegions(old.index.bundles[1])?.length).toBe(1);
    expect(all(path)).toEqual([]);
    old.close();
  });

  it('is none if it is damaged at its end, and lacks what is damaged elsewhere', () => {
    writeCodeFile(path, entries, []);
    const bytes = readFileSync(path);
    const broken = (at: number, length = bytes.length): string => {
      const copy = Buffer.from(bytes.subarray(0, length));
      if (at < length) copy[at] ^= 1;
      writeFileSync(join(folder, 'broken'), copy);
      return join(folder, 'broken');
    };
    for (const length of [0, 7, 20, bytes.length - 1]) expect(CodeFile.open(broken(length, length))).toBeUndefined();
    for (const at of [bytes.length - 1, bytes.length - 13, bytes.length - 17]) expect(CodeFile.open(broken(at))).toBeUndefined();
    expect(all(broken(10))).toEqual([[], [region(3)]]);
    // Behind the first bundle's code is its module.
    const file = CodeFile.open(broken(8 + 8)) as CodeFile;
    const { bundles } = file.index;
    expect(bundles.map((bundle) => [file.readRegions(bundle)?.length, file.readModule(bundle) !== undefined])).toEqual([
      [2, false],
      [1, true],
    ]);
    file.close();
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

  it('is found by the hash of a block, and comes as one module with what V8 made of it', () => {
    const path = join(folder, 'regions');
    collect(path, [3, 4]);
    const uses: Use[] = [];
    const kept = openKept(path, (one) => uses.push(one));
    expect([kept?.has(-3), kept?.has(-5)]).toEqual([true, false]);
    expect([use(kept, 3, 6), use(kept, 4, 6)]).toEqual([[6 + 3], [6 + 2]]);
    const [first, second] = [-3, -4].map((hash) => [...(kept?.find(hash) ?? [])][0]);
    expect(kept?.load(first)?.module).toBe(kept?.load(second)?.module);
    expect(uses).toEqual([{ at: expect.any(Number), isRefused: false }]);
    expect(stored(path)).toEqual([[[-3, -4], true, 1]]);
  });

  it('is in few bundles: one takes in those that are no larger', () => {
    const path = join(folder, 'bundles');
    const many = Array.from({ length: 20 }, (_, n) => 40 + n);
    collect(path, many);
    collect(path, [24]);
    const hashes = many.map((step) => -step);
    expect(stored(path).map(([all]) => all)).toEqual([[-24], hashes]);
    collect(path, [25, 26]);
    expect(stored(path).map(([all]) => all)).toEqual([[-24, -25, -26], hashes]);
    const kept = openKept(path, () => undefined);
    expect([24, 26, 40, 59].map((step) => use(kept, step, 60))).toEqual([[60 + 36 + 12], [60 + 34 + 8], [60 + 20], [60 + 1]]);
  });

  it('that V8 has not optimised, or would not have, is optimised at the end of the run that used it', () => {
    const path = join(folder, 'better');
    const wasm = linkModules([summing(5), summing(6)]);
    const regions = [5, 6].map((step) => ({ region: region(step), id: String(step) }));
    for (const optimised of [undefined, Uint8Array.of(1, 2, 3)]) {
      writeCodeFile(path, [entryOf(regions, { wasm, optimised }, 1)], []);
      const collector = new CodeCollector(path);
      const kept = openKept(path, collector.used);
      expect(use(kept, 5, 6)).toEqual([6 + 1]);
      collector.save();
      expect(stored(path)).toEqual([[[-5, -6], true, 2]]);
      const uses: Use[] = [];
      expect(
        use(
          openKept(path, (one) => uses.push(one)),
          6,
          8,
        ),
      ).toEqual([8 + 2]);
      expect(uses.map(({ isRefused }) => isRefused)).toEqual([false]);
    }
  });

  it('that has been of no use for longest makes room', () => {
    const path = join(folder, 'room');
    collect(path, [31, 32, 33, 34]);
    collect(path, [35, 36]);
    const second = new CodeCollector(path);
    use(openKept(path, second.used), 31, 1);
    second.add(region(37), summing(37));
    second.save();
    expect(stored(path)).toEqual([
      [[-31, -32, -33, -34], true, 3],
      [[-37], true, 3],
      [[-35, -36], true, 2],
    ]);
    const sizes = CodeFile.open(path)?.index.bundles.map(({ at }) => at) as number[];
    collect(path, [], { file: 0 });
    expect(stored(path).length).toBe(3);
    // As much as the first two take.
    const third = new CodeCollector(path, { file: sizes[2] - sizes[0] });
    third.addRuns([{ hash: 1, runs: 1000 }]);
    third.save();
    expect(stored(path).map(([hashes]) => hashes[0])).toEqual([-31, -37]);
  });

  it('is the same region once, and no more of them than a run may add', () => {
    const path = join(folder, 'bounded');
    const [two, three] = [14, 15].map((step) => ({ ...region(step), entries: [{ offset: 0, hash: step }] }));
    const collector = new CodeCollector(path, { made: 2 * summing(13).length });
    for (const [one, step] of [
      [region(13), 13],
      [two, 14],
      [two, 14],
      [three, 15],
    ] as const)
      collector.add(one, summing(step));
    collector.save();
    const small = new CodeCollector(path, { used: 1 });
    expect(small.isFull).toBe(false);
    use(openKept(path, small.used), 13, 1);
    expect(small.isFull).toBe(true);
    expect([collector.isFull, stored(path).map(([hashes]) => hashes)]).toEqual([true, [[-13, 14]]]);
    const again = new CodeCollector(path);
    again.add(two, summing(14));
    again.save();
    expect(stored(path).length).toBe(1);
  });

  it('tells the next run which blocks were warm, those that ran most', () => {
    const path = join(folder, 'warm');
    const collector = new CodeCollector(path);
    collector.addRuns(Array.from({ length: 30_000 }, (_, n) => ({ hash: n, runs: 1000 })));
    collector.addRuns([{ hash: 7, runs: 500 }]);
    collector.save();
    const kept = openKept(path, () => undefined);
    expect([kept?.wasWarm(7), kept?.wasWarm(29_999), kept?.has(7)]).toEqual([true, false, false]);
    const next = new CodeCollector(path);
    expect([next.runsBefore(7), next.runsBefore(29_999)]).toEqual([RUNS_BEFORE, undefined]);
    next.add(region(41), summing(41));
    next.save();
    expect(openKept(path, () => undefined)?.wasWarm(7)).toBe(false);
    expect(new CodeCollector(path).runsBefore(-41)).toBe(RUNS_BEFORE);
  });

  it('that nobody has used for longest makes room for that of other engines', () => {
    const where = join(folder, 'many');
    mkdirSync(where);
    const names = Array.from({ length: 10 }, (_, n) => `regions-${n + 10}`);
    for (const [n, name] of names.entries()) {
      writeFileSync(join(where, name), '');
      utimesSync(join(where, name), 1000 + n, 1000 + n);
    }
    writeFileSync(join(where, 'core-0'), '');
    touch(join(where, 'regions-10'));
    dropOldFiles(join(where, 'regions-19'));
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
    const { f } = instanceToAsk(module).exports;
    const code = f && optimisedCode(module, f);
    if (code === undefined) throw new Error('it was optimised just now');
    const other = code.slice();
    other[0] ^= 1;
    expect(moduleOf(wasm, code)).toBeInstanceOf(WebAssembly.Module);
    expect(code.length).toBe(0);
    expect(moduleOf(summing(12), other)).toBeUndefined();
    expect(moduleOf(summing(13), new Uint8Array(3))).toBeUndefined();
  });
});

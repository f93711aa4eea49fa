import { describe, expect, it } from 'vitest';
import { linkModules, ModuleBuilder, printModule, readModule, WasmReadError } from './index.ts';
import { readHints } from './link.ts';
import { readParts } from './module-reader.ts';

/** A linkable module that imports `names`, and whose functions add up what those give, and two globals, from the prologue on. */
function adding(names: readonly string[], bias: number, ...globals: readonly string[]): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder({ branchHints: true });
  module.importMemory('env', 'memory', { min: 1, max: 2, shared: true });
  const refs = names.map((name) => module.importFunction('env', name, ['i32'], ['i32']));
  const bases = globals.map((name) => module.importGlobal('env', name, 'i32'));
  const f = module.function('add', ['i32'], ['i32']);
  const x = f.param(0, 'i32');
  const sum = f.local('i32');
  for (const ref of refs) f.if(f.unlikely(f.i32.eqz(f.call(ref, f.get(x)))), () => f.set(sum, f.i32.const(bias)));
  for (const ref of refs) f.set(sum, f.i32.add(f.get(sum), f.call(ref, f.get(x))));
  f.get(sum);
  f.prologue(() => {
    for (const base of bases) f.if(f.likely(f.globalGet(base)), () => f.set(sum, f.i32.add(f.get(sum), f.globalGet(base))));
  });
  module.exportFunction('add', f);
  const tail = module.function('tail', ['i32'], ['i32']);
  tail.returnCall(f.ref(), tail.get(tail.param(0, 'i32')) as never);
  return module.build({ linkable: true });
}

const env = {
  memory: new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true }),
  one: (x: number) => x + 1,
  ten: (x: number) => x * 10,
  thousand: (x: number) => x * 1000,
  left: new WebAssembly.Global({ value: 'i32' }, 100_000),
  right: new WebAssembly.Global({ value: 'i32' }, 200_000),
};
/** What its functions make of a number, in the order of their exports. */
function results(wasm: Uint8Array<ArrayBuffer>, x: number): number[] {
  const module = new WebAssembly.Module(wasm);
  const { exports } = new WebAssembly.Instance(module, { env });
  return WebAssembly.Module.exports(module).map(({ name }) => (exports[name] as (x: number) => number)(x));
}

describe('modules that are linked', () => {
  const first = adding(['one', 'ten'], 0, 'left');
  // 200 other imports before: their indices take two bytes.
  const many = adding([...Array<string>(200).fill('one'), 'thousand'], 5, 'right', 'left');
  const second = adding(['thousand', 'one'], 7, 'right', 'left');

  it('are one in which each function does what it did, and imports are there once', () => {
    const linked = linkModules([first, second]);
    expect(results(linked, 3)).toEqual([100_034, 100_034, 303_004, 303_004]);
    expect(WebAssembly.Module.imports(new WebAssembly.Module(linked)).map(({ name }) => name)).toEqual([
      ...['memory', 'one', 'ten', 'left', 'thousand', 'right'],
    ]);
    expect(WebAssembly.Module.exports(new WebAssembly.Module(linked)).map(({ name }) => name)).toEqual(['0', '1', '2', '3']);
  });

  it('can be linked again, wherever an index grows', () => {
    const linked = linkModules([linkModules([many, first]), second]);
    const alone = [many, first, second].flatMap((module) => results(linkModules([module]), 2));
    expect(results(linked, 2)).toEqual(alone);
    expect(alone.slice(2)).toEqual([100_023, 100_023, 302_003, 302_003]);
  });

  it('keep their hints, where the branches are now', () => {
    const hinted = (wasm: Uint8Array): string[] => {
      const parts = readParts(wasm);
      const { functions, importedFunctions } = readModule(wasm);
      return [...readHints(wasm, parts)].flatMap(([index, hints]) =>
        hints.map(({ at, likely }) => {
          const n = index - importedFunctions.length;
          const { text } = functions[n].instructions.find((one) => one.at === parts.bodies[n].start + at) ?? { text: 'nothing' };
          return `${text} ${likely}`;
        }),
      );
    };
    const ifs = (unlikely: number, likely: number): string[] => [
      ...Array<string>(likely).fill('if true'),
      ...Array<string>(unlikely).fill('if false'),
    ];
    expect(hinted(linkModules([many, second]))).toEqual([...ifs(201, 2), ...ifs(2, 2)]);
  });

  it.each<[string, (module: ModuleBuilder) => void]>([
    ['a table of its own', (module) => module.table({ min: 1 })],
    ['a memory of its own', (module) => module.memory({ min: 1 })],
    ['a global of its own', (module) => void module.global('i32')],
  ])('have not %s', (_, add) => {
    const module = new ModuleBuilder();
    add(module);
    expect(() => linkModules([module.build({ linkable: true })])).toThrow(WasmReadError);
  });

  it('were built to be linked', () => {
    expect(() => linkModules([new ModuleBuilder().build()])).toThrow('the module was not built to be linked');
    expect(printModule(linkModules([first]))).toContain('return_call');
  });
});

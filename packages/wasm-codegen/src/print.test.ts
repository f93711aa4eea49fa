import { wabtInstructions } from '@tsvisor/scripts/wabt-instructions';
import { describe, expect, it } from 'vitest';
import {
  F32Ops,
  F64Ops,
  type FunctionBuilder,
  I32Ops,
  I64Ops,
  ModuleBuilder,
  printModule,
  readModule,
  V128Ops,
} from './index.ts';

/** Text with numbers for all indices, as wabt gives it without names. */
const ours = (bytes: Uint8Array): string[][] =>
  readModule(bytes, { function: String, global: String }).functions.map(({ instructions }) =>
    instructions.map(({ text }) => text),
  );

/** Methods that need more than operands. */
const SPECIAL = new Set('constructor const halves load_zero shuffle splat replace'.split(' '));
const CLASSES = { i32: I32Ops, i64: I64Ops, f32: F32Ops, f64: F64Ops, v128: V128Ops } as const;

function everyOperation(f: FunctionBuilder): string[] {
  const called: string[] = [];
  for (const [type, { prototype }] of Object.entries(CLASSES)) {
    const target: object = f[type as keyof typeof CLASSES];
    for (const name of Object.getOwnPropertyNames(prototype)) {
      if (SPECIAL.has(name) || name.startsWith('extract_')) continue;
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') continue;
      Reflect.apply(method, target, []);
      called.push(`${type}.${name}`);
    }
  }
  return called;
}

function constants(f: FunctionBuilder): void {
  for (const value of [0, 1, -1, 63, 64, -64, -65, 0x7fff_ffff, -0x8000_0000]) f.i32.const(value);
  for (const value of [0n, -1n, 1n << 62n, -(1n << 63n), 0x1234_5678_9abc_def0n]) f.i64.const(value);
  for (const value of [0, -0, 1.5, -3.25, 2 ** 100, 2 ** -1022, Infinity, -Infinity, Number.NaN]) f.f64.const(value);
  for (const value of [0, 0.5, -Infinity, Number.NaN]) f.f32.const(value);
  f.v128.const(1, -1, 0x1234, 0);
}

function lanes(f: FunctionBuilder): void {
  const v = f.v128;
  const none = undefined as never;
  const shapes = ['i8x16', 'i16x8', 'i32x4', 'i64x2', 'f32x4', 'f64x2'] as const;
  for (const shape of shapes) {
    v.splat(shape, none);
    v.replace(shape, none, 1, none);
  }
  for (const shape of ['i8x16_s', 'i8x16_u', 'i16x8_s', 'i16x8_u', 'i32x4'] as const) v.extract_i32(shape, none, 3);
  v.extract_i64(none, 1);
  v.extract_f32(none, 2);
  v.extract_f64(none, 0);
  v.load_zero(32, none, 4);
  v.load_zero(64, none, 300);
  v.shuffle(none, none, [0, 1, 2, 3, 4, 5, 6, 7, 31, 30, 29, 28, 27, 26, 25, 24]);
}

function control(module: ModuleBuilder, f: FunctionBuilder): void {
  const none = undefined as never;
  const local = f.local('i64');
  f.set(local, f.tee(local, f.get(local)));
  const global = module.global('i32', 5);
  f.globalSet(global, f.globalGet(global));
  f.block((out) => {
    f.loop((again) => {
      f.brIf(again, none);
      f.brTable([out, again], out, none);
      f.br(out);
    });
    f.ifOf(
      'i64',
      none,
      () => f.i64.const(1),
      () => f.select(none, none, none),
    );
    f.drop(none);
    f.if(none, () => f.unreachable());
    f.blockOf('v128', () => none);
  });
  f.callIndirect({ params: ['i32'], results: ['i32'] }, [], none);
  f.returnCallIndirect({ params: [], results: [] }, [], none);
  f.memoryCopy(none, none, none);
  f.memoryFill(none, none, none);
  f.atomicFence();
  f.return();
}

function sample(): { bytes: Uint8Array; called: string[] } {
  const module = new ModuleBuilder();
  const imported = module.importFunction('env', 'go on', [], []);
  module.importMemory('env', 'memory', { min: 1, max: 2, shared: true });
  module.table({ min: 1, max: 4 });
  const first = module.function('all', [], []);
  const called = everyOperation(first);
  const second = module.function('rest', ['i32'], []);
  first.call(second.ref<[], void>());
  constants(second);
  lanes(second);
  control(module, second);
  second.call(imported);
  second.returnCall(first.ref<[], void>());
  module.elements(0, [first]);
  module.data(8, Uint8Array.of(1, 2));
  return { bytes: module.build({ names: true }), called };
}

describe('the printer', () => {
  const { bytes, called } = sample();

  it('agrees with wabt on everything the builder can emit', async () => {
    expect(called.length).toBeGreaterThan(350);
    const theirs = await wabtInstructions(bytes);
    const all = ours(bytes);
    expect(all.map(({ length }) => length)).toEqual(theirs.map(({ length }) => length));
    for (const [n, instructions] of all.entries()) expect(instructions).toEqual(theirs[n]);
  });

  it('names each operation as its method is named', () => {
    const [first] = readModule(bytes).functions;
    const letters = (text: string): string => text.replace(/[^a-z0-9]/g, '');
    const [texts, methods] = [first.instructions.map(({ text }) => letters(text)), called.map(letters)];
    for (const [n, method] of methods.entries()) {
      // Shapes stand for the type, and atomic accesses have their size elsewhere.
      const parts = called[n].split(/[._]/).filter((part) => part !== 'v128' && !/^[a-z]+(8|16|32)$/.test(part));
      for (const part of parts) expect(`${method}: ${texts[n]}`).toContain(part);
    }
  });

  it('gives offsets at which the instructions begin, and the depth of blocks', () => {
    const module = new ModuleBuilder();
    const f = module.function('f', ['i32'], ['i32']);
    f.block((label) => f.brIf(label, f.get(f.param(0, 'i32'))));
    f.i32.const(300);
    const built = module.build();
    const [{ instructions, params }] = readModule(built).functions;
    expect(params).toEqual(['i32']);
    expect(instructions.map(({ text, depth }) => [text, depth])).toEqual([
      ['block', 0],
      ['local.get 0', 1],
      ['br_if 0', 1],
      ['end', 0],
      ['i32.const 300', 0],
    ]);
    expect(instructions.map(({ at }) => built[at])).toEqual([0x02, 0x20, 0x0d, 0x0b, 0x41]);
  });

  it('finds what a function emitted, behind prologues and locals', () => {
    const module = new ModuleBuilder();
    module.function('other', [], []).unreachable();
    const f = module.function('f', [], []);
    f.drop(f.i32.const(1));
    const mark = f.size;
    f.drop(f.i32.const(500_000));
    f.prologue(() => f.set(f.local('i64'), f.i64.const(-1)));
    const built = module.build({ names: true });
    const found = readModule(built).functions[1].instructions.find(({ at }) => at === module.offsetOf(f, mark));
    expect(found?.text).toBe('i32.const 500000');
  });

  it('says where branches seldom go, by their distance from the function body (branch hinting proposal)', () => {
    const module = new ModuleBuilder({ branchHints: true });
    module.function('none', [], []).unreachable();
    const f = module.function('f', ['i32'], ['i32']);
    const [x, y] = [f.param(0, 'i32'), f.local('i32')];
    f.block((out) => f.brIf(out, f.unlikely(f.get(x))));
    f.if(f.get(x), () => f.set(y, f.i32.const(7)));
    f.ifOf(
      'i32',
      f.likely(f.i32.eqz(f.get(x))),
      () => f.get(y),
      () => f.i32.const(1),
    );
    f.prologue(() => f.if(f.unlikely(f.get(x)), () => f.set(y, f.i32.const(3))));
    const built = module.build();
    const [section] = WebAssembly.Module.customSections(new WebAssembly.Module(built), 'metadata.code.branch_hint');
    // One group of locals takes three bytes.
    const { instructions } = readModule(built).functions[1];
    const body = instructions[0].at - 3;
    const [count, index, hints, ...rest] = new Uint8Array(section);
    expect([count, index, hints, rest.length]).toEqual([1, 1, 3, 9]);
    const found = [0, 3, 6].map((n) => [instructions.find(({ at }) => at === body + rest[n])?.text, rest[n + 1], rest[n + 2]]);
    expect(found).toEqual([
      ['if', 1, 0],
      ['br_if 0', 1, 0],
      ['if (result i32)', 1, 1],
    ]);
  });

  it('prints names where it has some', () => {
    const text = printModule(bytes, { local: (index) => (index === 1 ? '$sum' : undefined) });
    expect(text).toContain('local.get $sum');
    expect(text).toContain('call $go_on');
    expect(text).toContain('return_call $all');
    expect(text).toMatch(/^\(func 2 ;; rest\n {2}\(param i32\) \(local i64\)\n/m);
  });

  it('refuses bytes that are no module, and opcodes that the builder does not have', () => {
    expect(() => readModule(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))).toThrow(/no WebAssembly module/);
    const module = new ModuleBuilder();
    module.function('f', [], []).unreachable();
    const broken = module.build();
    broken[broken.length - 2] = 0x06;
    expect(() => readModule(broken)).toThrow(/unknown opcode/);
    expect(() => readModule(bytes.subarray(0, bytes.length - 200))).toThrow(RangeError);
  });
});

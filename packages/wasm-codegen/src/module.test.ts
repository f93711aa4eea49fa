import { describe, expect, it } from 'vitest';
import { type I32, ModuleBuilder, OperandOrderError, Writer } from './index.ts';

const instantiate = (module: ModuleBuilder, imports: WebAssembly.Imports = {}) =>
  new WebAssembly.Instance(new WebAssembly.Module(module.build({ names: true })), imports).exports as Record<
    string,
    CallableFunction
  >;

describe('LEB128 (core specification §5.2.2)', () => {
  const encode = (write: (w: Writer) => void) => {
    const w = new Writer(1);
    write(w);
    return [...w.view()];
  };
  it('encodes unsigned integers in the fewest groups', () => {
    expect(encode((w) => w.u32(0))).toEqual([0]);
    expect(encode((w) => w.u32(624485))).toEqual([0xe5, 0x8e, 0x26]);
    expect(encode((w) => w.u32(0xffffffff))).toEqual([0xff, 0xff, 0xff, 0xff, 0x0f]);
  });
  it('encodes signed integers with a sign in the last group', () => {
    expect(encode((w) => w.s32(-1))).toEqual([0x7f]);
    expect(encode((w) => w.s32(64))).toEqual([0xc0, 0x00]);
    expect(encode((w) => w.s32(-64))).toEqual([0x40]);
    expect(encode((w) => w.s32(-123456))).toEqual([0xc0, 0xbb, 0x78]);
  });
  it('encodes 64-bit halves as one number', () => {
    for (const value of [0n, 1n, -1n, 63n, 64n, -64n, -65n, 1n << 31n, 1n << 32n, -(1n << 63n), (1n << 63n) - 1n]) {
      const module = new ModuleBuilder();
      const f = module.function('f', [], ['i64']);
      f.i64.const(value);
      module.exportFunction('f', f);
      expect(instantiate(module).f()).toBe(value);
    }
  });
});

describe('function builder', () => {
  it('emits expressions in evaluation order', () => {
    const module = new ModuleBuilder();
    const f = module.function('f', ['i32', 'i32'], ['i32']);
    const [a, b] = [f.param(0, 'i32'), f.param(1, 'i32')];
    f.i32.sub(f.i32.mul(f.get(a), f.i32.const(10)), f.get(b));
    module.exportFunction('f', f);
    expect(instantiate(module).f(7, 3)).toBe(67);
  });

  it('resolves labels from any depth, and loops back', () => {
    const module = new ModuleBuilder();
    const f = module.function('sum', ['i32'], ['i32']);
    const n = f.param(0, 'i32');
    const sum = f.local('i32');
    f.block((done) => {
      f.loop((again) => {
        f.if(f.i32.eqz(f.get(n)), () => f.br(done));
        f.set(sum, f.i32.add(f.get(sum), f.get(n)));
        f.set(n, f.i32.sub(f.get(n), f.i32.const(1)));
        f.br(again);
      });
    });
    f.get(sum);
    module.exportFunction('sum', f);
    expect(instantiate(module).sum(10)).toBe(55);
  });

  it('dispatches through br_table and the function table', () => {
    const module = new ModuleBuilder();
    const leaf = module.function('leaf', ['i32'], ['i32']);
    leaf.i32.add(leaf.get(leaf.param(0, 'i32')), leaf.i32.const(100));
    const f = module.function('f', ['i32'], ['i32']);
    const x = f.param(0, 'i32');
    f.block((other) => {
      f.block((one) => {
        f.block((zero) => f.brTable([zero, one], other, f.get(x)));
        f.return(f.i32.const(11));
      });
      f.return(f.i32.const(22));
    });
    f.callIndirect({ params: ['i32'], results: ['i32'] }, [f.get(x)], f.i32.const(0));
    module.table({ min: 1 });
    module.elements(0, [leaf]);
    module.exportFunction('f', f);
    const { f: run } = instantiate(module);
    expect([run(0), run(1), run(5)]).toEqual([11, 22, 105]);
  });

  it('puts the results of a call into locals, each into that of its place', () => {
    const module = new ModuleBuilder();
    const pair = module.function('pair', ['i32'], ['i64', 'i32']);
    const x = pair.param(0, 'i32');
    pair.if(pair.i32.eqz(pair.get(x)), () => pair.return(pair.i64.const(70), pair.i32.const(7)));
    pair.i64.const(50);
    pair.get(x);
    const f = module.function('f', ['i32'], ['i32']);
    const [wide, narrow] = [f.local('i64'), f.local('i32')];
    f.callInto([wide, narrow], pair.ref<[I32], void>(), f.get(f.param(0, 'i32')));
    f.i32.sub(f.i32.wrap_i64(f.get(wide)), f.get(narrow));
    const wrong = new ModuleBuilder().function('wrong', [], []);
    expect(() => wrong.callInto([narrow, wide], pair.ref<[I32], void>(), wrong.i32.const(0))).toThrow(TypeError);
    module.exportFunction('f', f);
    const { f: run } = instantiate(module);
    expect([run(0), run(5)]).toEqual([63, 45]);
  });

  it('refuses a branch to a closed label and a body with an open block', () => {
    const module = new ModuleBuilder();
    const f = module.function('f', [], []);
    let closed = f.openBlock();
    f.openBlock();
    f.closeBlock();
    f.closeBlock();
    closed = { depth: closed.depth + 1 };
    expect(() => f.br(closed)).toThrow(/not open/);
    f.openLoop();
    expect(() => module.build()).toThrow(/left open/);
  });

  it('imports functions, a shared memory and immutable globals', () => {
    const module = new ModuleBuilder();
    const log = module.importFunction('env', 'log', ['i32'], []);
    const base = module.importGlobal('env', 'base', 'i32');
    module.importMemory('env', 'memory', { min: 1, max: 2, shared: true });
    const f = module.function('f', [], ['i64']);
    f.i64.store(f.globalGet(base), f.i64.const(-2), 8);
    f.call(log, f.globalGet(base));
    f.i64.atomic_add(f.globalGet(base), f.i64.const(5), 8);
    module.exportFunction('f', f);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
    const seen: number[] = [];
    const { f: run } = instantiate(module, {
      env: { memory, base: new WebAssembly.Global({ value: 'i32' }, 64), log: (n: number) => seen.push(n) },
    });
    expect(run()).toBe(-2n);
    expect(new DataView(memory.buffer).getBigInt64(72, true)).toBe(3n);
    expect(seen).toEqual([64]);
  });
});

describe('vector operations', () => {
  it('shuffles, shifts, extracts and replaces lanes', () => {
    const module = new ModuleBuilder();
    const f = module.function('f', ['i32'], ['i32']);
    const v = f.v128;
    const x = v.splat('i32x4', f.get(f.param(0, 'i32')));
    const y = v.replace('i32x4', x, 2, f.i32.const(7));
    const rotated = v.shuffle(y, v.const(0, 0, 0, 0), [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]);
    v.extract_i32('i32x4', v.i32x4_shl(rotated, f.i32.const(1)), 0);
    module.exportFunction('f', f);
    expect(instantiate(module).f(3)).toBe(14);
  });
});

describe('checked building', () => {
  const checked = () => new ModuleBuilder({ checked: true }).function('f', ['i32', 'i32'], ['i32']);

  it('accepts nested expressions, control flow with values, and calls', () => {
    const f = checked();
    const [a, b] = [f.param(0, 'i32'), f.param(1, 'i32')];
    f.set(
      a,
      f.ifOf(
        'i32',
        f.get(b),
        () => f.i32.add(f.get(a), f.i32.const(1)),
        () => f.i32.const(2),
      ),
    );
    f.loop((again) =>
      f.brIf(again, f.i32.lt_u(f.get(a), f.call(f.ref<[never, never], never>(), f.get(a) as never, f.get(b) as never))),
    );
    f.get(a);
    expect(f.size).toBeGreaterThan(0);
  });

  it('refuses an operand that was emitted before another', () => {
    const f = checked();
    const early = f.i32.const(1);
    const late = f.get(f.param(0, 'i32'));
    expect(() => f.i32.sub(late, early)).toThrow(OperandOrderError);
  });
});

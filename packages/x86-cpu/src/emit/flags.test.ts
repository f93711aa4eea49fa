import { ModuleBuilder } from '@tsvisor/wasm-codegen';
import { describe, expect, it } from 'vitest';
import { xorshift32 } from '../decode/encodings.ts';
import { Rflags, STATUS_FLAGS } from '../state.ts';
import { addCarries, condition, decodeStatus, encodeStatus, statusFlags, subCarries } from './flags.ts';

type Values = { readonly result: bigint; readonly carry: bigint; readonly aux: bigint };

/** Generated code over (result, carry, aux): the flags, and each condition. */
const generated = (() => {
  const module = new ModuleBuilder({ checked: true });
  const over = (
    name: string,
    body: (f: ReturnType<typeof module.function>, flags: Parameters<typeof statusFlags>[1]) => void,
  ) => {
    const f = module.function(name, ['i64', 'i64', 'i64'], ['i32']);
    const [result, carry, aux] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i64')];
    body(f, { result: () => f.get(result), carry: () => f.get(carry), aux: () => f.get(aux) });
    module.exportFunction(name, f);
  };
  over('status', (f, flags) => statusFlags(f, flags));
  for (let cc = 0; cc < 16; cc++) over(`condition${cc}`, (f, flags) => condition(f, cc, flags));
  for (const size of [1, 2, 4, 8]) {
    for (const [name, carries] of [
      ['add', addCarries],
      ['sub', subCarries],
    ] as const) {
      const f = module.function(`${name}${size}`, ['i64', 'i64', 'i64'], ['i64']);
      carries(f, size, f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i64'));
      module.exportFunction(`${name}${size}`, f);
    }
  }
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.build()));
  const call = exports as Record<string, (a: bigint, b: bigint, c: bigint) => number | bigint>;
  return {
    status: ({ result, carry, aux }: Values) => Number(call.status(result, carry, aux)),
    condition: (cc: number, { result, carry, aux }: Values) => Number(call[`condition${cc}`](result, carry, aux)),
    carries: (name: 'add' | 'sub', size: number, a: bigint, b: bigint, r: bigint) => call[`${name}${size}`](a, b, r) as bigint,
  };
})();

const FLAGS = [Rflags.CF, Rflags.PF, Rflags.AF, Rflags.ZF, Rflags.SF, Rflags.OF];
/** All 64 combinations of the six status flags. */
const combinations = Array.from({ length: 64 }, (_, n) =>
  FLAGS.reduce((all, flag, bit) => (n & (1 << bit) ? all | flag : all), 0),
);

const pair = (hi: number, lo: number): bigint => BigInt.asIntN(64, (BigInt(hi | 0) << 32n) | BigInt(lo >>> 0));

function encoded(flags: number): Values {
  const s = encodeStatus(flags);
  return { result: pair(s.resultHi, s.resultLo), carry: pair(s.carryHi, s.carryLo), aux: pair(0, s.auxLo) };
}

/** SDM vol. 2, appendix B, table B-10. */
function holds(cc: number, flags: number): boolean {
  const has = (flag: number): boolean => (flags & flag) !== 0;
  const less = has(Rflags.SF) !== has(Rflags.OF);
  const positive = [
    has(Rflags.OF),
    has(Rflags.CF),
    has(Rflags.ZF),
    has(Rflags.CF) || has(Rflags.ZF),
    has(Rflags.SF),
    has(Rflags.PF),
    less,
    less || has(Rflags.ZF),
  ][cc >> 1];
  return positive !== ((cc & 1) === 1);
}

describe('the three values that stand for the status flags', () => {
  it('hold all 64 combinations, read back by generated code and by TypeScript', () => {
    expect(new Set(combinations).size).toBe(64);
    for (const flags of combinations) {
      const values = encoded(flags);
      const s = encodeStatus(flags);
      expect(generated.status(values)).toBe(flags);
      expect(decodeStatus(s.resultLo, s.resultHi, s.carryLo, s.carryHi, s.auxLo)).toBe(flags);
    }
  });

  it('other bits of an RFLAGS image do not matter', () => {
    for (const flags of combinations) {
      const s = encodeStatus(flags | (0xffff_ffff & ~STATUS_FLAGS));
      expect(decodeStatus(s.resultLo, s.resultHi, s.carryLo, s.carryHi, s.auxLo)).toBe(flags);
    }
  });

  it('give each of the 16 conditions under all 64 combinations (SDM vol. 2, table B-10)', () => {
    for (const flags of combinations) {
      const values = encoded(flags);
      for (let cc = 0; cc < 16; cc++)
        expect(generated.condition(cc, values), `condition ${cc} of ${flags}`).toBe(+holds(cc, flags));
    }
  });
});

const mask = (size: number): bigint => (1n << BigInt(8 * size)) - 1n;
const evenParity = (value: bigint): boolean => [...(value & 0xffn).toString(2)].filter((bit) => bit === '1').length % 2 === 0;

/** Flags of an addition or subtraction by their definition (SDM vol. 1 §3.4.3.1). */
function expectedFlags(name: 'add' | 'sub', size: number, a: bigint, b: bigint): number {
  const signed = (value: bigint): bigint => BigInt.asIntN(8 * size, value);
  const exact = name === 'add' ? a + b : a - b;
  const exactSigned = name === 'add' ? signed(a) + signed(b) : signed(a) - signed(b);
  const low = name === 'add' ? (a & 15n) + (b & 15n) : (a & 15n) - (b & 15n);
  const r = exact & mask(size);
  return (
    (exact !== r ? Rflags.CF : 0) |
    (evenParity(r) ? Rflags.PF : 0) |
    (low < 0n || low > 15n ? Rflags.AF : 0) |
    (r === 0n ? Rflags.ZF : 0) |
    (signed(r) < 0n ? Rflags.SF : 0) |
    (signed(r) !== exactSigned ? Rflags.OF : 0)
  );
}

describe('carry vectors of arithmetic', () => {
  for (const name of ['add', 'sub'] as const) {
    it(`${name}: every operand pair at the borders, and random ones, in every size`, () => {
      const rng = xorshift32(11);
      for (const size of [1, 2, 4, 8]) {
        const top = 1n << BigInt(8 * size - 1);
        const borders = [0n, 1n, 2n, 15n, 16n, 0x7fn, 0x80n, 0xffn, top - 1n, top, top + 1n, mask(size) - 1n, mask(size)];
        const random = Array.from({ length: 20 }, () => ((BigInt(rng()) << 32n) | BigInt(rng())) & mask(size));
        const values = [...borders.map((value) => value & mask(size)), ...random];
        for (const a of values) {
          for (const b of values) {
            const r = (name === 'add' ? a + b : a - b) & mask(size);
            const carry = generated.carries(name, size, a, b, r);
            const flags = generated.status({ result: BigInt.asIntN(8 * size, r), carry, aux: a ^ b });
            expect(flags, `${name} ${size}: ${a}, ${b}`).toBe(expectedFlags(name, size, a, b));
          }
        }
      }
    });
  }
});

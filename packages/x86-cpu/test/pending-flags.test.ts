/**
 * The compiled tier keeps flags pending at generation time, so what is pending has to be the same on both ways out of a condition. Semantics that
 * set or read flags on one path only must settle them before (`CONDITIONAL_FLAGS`); this looks at every instruction for one that does not.
 */
import { MMU } from '@tsvisor/mmu-ept-npt';
import { describe, expect, it } from 'vitest';
import { buildCore } from '../src/core/build.ts';
import { encodingsOf, xorshift32 } from '../src/decode/encodings.ts';
import { DecodeStatus, decode, Insn, OperandKind } from '../src/decode/insn.ts';
import { rows } from '../src/decode/lookup.ts';
import type { Emitter } from '../src/emit/emitter.ts';
import { AddressMode, formOf, StackMode } from '../src/form.ts';
import { compileRegion } from '../src/jit/compile.ts';
import { RegionEmitter } from '../src/jit/emitter.ts';
import type { RegionInstruction } from '../src/jit/region.ts';
import { hotForms } from '../src/records/hot-forms.ts';
import { semantics } from '../src/semantics/index.ts';
import type { Semantics } from '../src/semantics/types.ts';

type Method = (...args: unknown[]) => unknown;
const CONDITIONAL = ['if', 'ifOf', 'loop'] as const;

/** Runs `body` with the builder's conditional methods watched; tells how often what is pending differed behind a condition. */
function watched(e: RegionEmitter, body: () => void): number {
  let different = 0;
  const builder = e.f as unknown as Record<string, Method>;
  const watch =
    (arm: Method): Method =>
    (...args) => {
      const before = e.lazy.pending;
      const result = arm(...args);
      if (e.lazy.pending !== before) different++;
      return result;
    };
  for (const name of CONDITIONAL) {
    const original = builder[name];
    const replacement: Method = (...args) =>
      original.apply(
        builder,
        args.map((arg) => (typeof arg === 'function' ? watch(arg as Method) : arg)),
      );
    Object.defineProperty(builder, name, { value: replacement, configurable: true });
  }
  try {
    body();
  } finally {
    for (const name of CONDITIONAL) delete builder[name];
  }
  return different;
}

/** Temporarily wraps the semantics of `sem`. */
function wrapping<T>(sem: string, wrap: (original: Semantics) => Semantics, body: () => T): T {
  const original = semantics[sem];
  Object.assign(semantics, { [sem]: wrap(original) });
  try {
    return body();
  } finally {
    Object.assign(semantics, { [sem]: original });
  }
}

function instruction(bytes: Uint8Array, offset: number): RegionInstruction {
  const insn = new Insn();
  expect(decode(bytes, 0, bytes.length, 64, insn)).toBe(DecodeStatus.Ok);
  const mode = insn.kind.includes(OperandKind.Moffs) ? AddressMode.Absolute : AddressMode.Indexed;
  return { insn, form: formOf(insn, mode, StackMode.Long), offset };
}

const CMP = Uint8Array.of(0x39, 0xd8); // cmp eax, ebx

describe('pending flags of the compiled tier', () => {
  const image = buildCore({ mmu: MMU.offset, doorbells: undefined }, hotForms());

  /** Compiles CMP and one instruction behind it, watching the latter. */
  function differences(bytes: Uint8Array): number {
    const second = instruction(bytes, 2);
    const next = 2 + second.insn.length;
    const block = { offset: 0, entry: true, checked: false, next };
    const region = {
      key: 2,
      pages: [{ offset: 0, host: 0x10_0000 }],
      code: [],
      blocks: new Map([[0, { ...block, instructions: [instruction(CMP, 0), second] }]]),
    };
    let different = 0;
    const wrap =
      (original: Semantics): Semantics =>
      (e: Emitter) => {
        if (!(e instanceof RegionEmitter)) throw new TypeError('another emitter');
        different += watched(e, () => original(e));
      };
    wrapping(second.form.sem, wrap, () => compileRegion(image, region));
    return different;
  }

  it('no instruction leaves them different behind a condition', () => {
    const rng = xorshift32(5);
    const bad = new Set<string>();
    let looked = 0;
    for (const row of rows) {
      if (!(row.sem in semantics) || row.system || row.flow !== 'next') continue;
      for (const bytes of encodingsOf(row, 64, rng)) {
        looked++;
        if (differences(bytes) > 0) bad.add(row.sem);
      }
    }
    expect(looked).toBeGreaterThan(1500);
    expect([...bad]).toEqual([]);
  });

  it('the watch would see one that does', () => {
    const shl = Uint8Array.of(0xd3, 0xe0); // shl eax, cl
    const early: Semantics = (e) => e.f.if(e.f.i32.const(1), () => e.flagsCarry(() => e.f.i32.const(1)));
    expect(
      wrapping(
        'mov',
        () => early,
        () => differences(Uint8Array.of(0x89, 0xd8)),
      ),
    ).toBeGreaterThan(0);
    expect(differences(shl)).toBe(0);
  });
});

/**
 * Every form the translator can ask for builds and is valid WebAssembly. The builder's checked mode finds what validation cannot: an
 * operand that was emitted too early and happens to have a fitting type.
 */
import { MMU } from '@tsvisor/mmu-ept-npt';
import { OperandOrderError } from '@tsvisor/wasm-codegen';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildCore, buildForms, type CoreImage } from '../src/core/build.ts';
import { encodingsOf, xorshift32 } from '../src/decode/encodings.ts';
import { DecodeStatus, decode, Insn, OperandKind } from '../src/decode/insn.ts';
import { rows } from '../src/decode/lookup.ts';
import type { OpcodeRow } from '../src/decode/opcodes.ts';
import { AddressMode, type Form, formOf, StackMode } from '../src/form.ts';
import { compileRegion } from '../src/jit/compile.ts';
import type { RegionBlock, RegionInstruction } from '../src/jit/region.ts';
import { hotForms } from '../src/records/hot-forms.ts';
import { rowExists } from '../src/records/row-facts.ts';
import { semantics } from '../src/semantics/index.ts';
import { SYSTEM_INSTRUCTIONS } from '../src/semantics/system.ts';
import type { Semantics } from '../src/semantics/types.ts';
import { systemInstructions } from '../src/system/instructions.ts';
import { cpuModel, hasFeature } from '../src/system/model.ts';

const FORMS_PER_MODULE = 200;
const BLOCKS_PER_REGION = 60;
/** Draws per shape: the number of a segment, control or debug register is part of the form, so rows with one need several. */
const DRAWS = { plain: 1, numbered: 24 };

type Mode = 16 | 32 | 64;
const insn = new Insn();

function operandKinds(): number[] {
  return [...insn.kind].slice(0, insn.operandCount);
}

function addressModes(mode: Mode): AddressMode[] {
  const kinds = operandKinds();
  const moffs = kinds.includes(OperandKind.Moffs);
  const addressed = moffs || kinds.includes(OperandKind.Mem) || insn.row.rep !== 'no' || insn.row.sem === 'xlat';
  if (!addressed) return [AddressMode.Base];
  if (mode !== 64) return [AddressMode.Base, AddressMode.Indexed, AddressMode.Segmented];
  const always = [AddressMode.Base, AddressMode.Indexed, AddressMode.Segmented];
  return moffs ? [...always, AddressMode.Absolute] : always;
}

const stackModes = (mode: Mode): StackMode[] => (mode === 64 ? [StackMode.Long] : [StackMode.Flat32, StackMode.Segmented]);
const isNumbered = (row: OpcodeRow): boolean => row.operands.some((operand) => /^[SCD]/.test(operand));

/** Every form of every row that has semantics, in one mode. */
function formsIn(mode: Mode): Map<string, Form> {
  const forms = new Map<string, Form>();
  const rng = xorshift32(7);
  for (const row of rows) {
    if (!(row.sem in semantics)) continue;
    for (let draw = 0; draw < (isNumbered(row) ? DRAWS.numbered : DRAWS.plain); draw++) {
      for (const bytes of encodingsOf(row, mode, rng)) {
        expect(decode(bytes, 0, bytes.length, mode, insn)).toBe(DecodeStatus.Ok);
        for (const address of addressModes(mode)) {
          for (const stack of stackModes(mode)) {
            const form = formOf(insn, address, stack);
            forms.set(form.key, form);
          }
        }
      }
    }
  }
  return forms;
}

/** Names the forms of a module that do not build or do not validate. */
function failures(image: CoreImage, forms: readonly Form[]): string[] {
  const problem = (some: readonly Form[]): string | undefined => {
    try {
      new WebAssembly.Module(buildForms(image, some, { checked: true }));
      return undefined;
    } catch (error) {
      return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
  };
  if (problem(forms) === undefined) return [];
  return forms.flatMap((form) => {
    const text = problem([form]);
    return text === undefined ? [] : [`${form.key}: ${text}`];
  });
}

/** One instruction of every form that a region may hold. */
function* compilable(mode: 64 | 32): Generator<RegionInstruction> {
  const rng = xorshift32(9);
  const seen = new Set<string>();
  const stack = mode === 64 ? StackMode.Long : StackMode.Flat32;
  for (const row of rows) {
    if (!(row.sem in semantics)) continue;
    for (const bytes of encodingsOf(row, mode, rng)) {
      const insn = new Insn();
      expect(decode(bytes, 0, bytes.length, mode, insn)).toBe(DecodeStatus.Ok);
      const absolute = mode === 64 && insn.kind.includes(OperandKind.Moffs);
      const form = formOf(insn, absolute ? AddressMode.Absolute : AddressMode.Indexed, stack);
      if (seen.has(form.key)) continue;
      seen.add(form.key);
      yield { insn, form, offset: 0 };
    }
  }
}

/** `add eax, ecx`: leaves flags pending, which what comes behind it must respect. */
function addition(mode: 64 | 32): RegionInstruction {
  const insn = new Insn();
  expect(decode(Uint8Array.of(0x01, 0xc8), 0, 2, mode, insn)).toBe(DecodeStatus.Ok);
  const form = formOf(insn, AddressMode.Base, mode === 64 ? StackMode.Long : StackMode.Flat32);
  return { insn, form, offset: 0 };
}

/** Puts each instruction behind an addition in a block of its own that the next one follows, and compiles them as one region. */
function regionFailures(image: CoreImage, mode: 64 | 32, instructions: readonly RegionInstruction[]): string[] {
  const problem = (some: readonly RegionInstruction[]): string | undefined => {
    const first = addition(mode);
    const blocks = some.map((instruction, n): [number, RegionBlock] => {
      const { row, rep } = instruction.insn;
      const offset = 32 * n;
      const goesOn = row.flow === 'next' || row.flow === 'end' || (row.rep !== 'no' && rep !== 0);
      const next = goesOn ? offset + 32 : undefined;
      const instructions = [
        { ...first, offset },
        { ...instruction, offset: offset + first.insn.length },
      ];
      const block = { offset, instructions, next };
      return [offset, { ...block, entry: n % 4 === 0, checked: n % 8 === 0 }];
    });
    try {
      const pages = [
        { offset: 0, host: 0x10_0000 },
        { offset: 4096, host: 0x20_0000 },
      ];
      const region = { key: mode === 64 ? 2 : 1, pages, code: [], blocks: new Map(blocks) };
      new WebAssembly.Module(compileRegion(image, region, { checked: true }).bytes);
      return undefined;
    } catch (error) {
      return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
  };
  if (problem(instructions) === undefined) return [];
  return instructions.flatMap((instruction) => {
    const text = problem([instruction]);
    return text === undefined ? [] : [`${instruction.form.key}: ${text}`];
  });
}

const chunks = <T>(list: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, n) => list.slice(n * size, (n + 1) * size));

describe('every form of every row with semantics', () => {
  let image: CoreImage;
  const seen = new Set<string>();
  beforeAll(() => {
    image = buildCore({ mmu: MMU.offset, doorbells: undefined }, hotForms(), [], { checked: true });
  });

  it('the core module, with the hot forms as cases, builds in checked mode and is valid', () => {
    expect(() => new WebAssembly.Module(image.bytes)).not.toThrow();
    expect(image.handlers.size).toBeGreaterThan(300);
  });

  for (const mode of [64, 32, 16] as const) {
    it(`builds in checked mode and is valid in ${mode}-bit code, in every address and stack mode`, () => {
      const forms = [...formsIn(mode).values()].filter(({ key }) => !seen.has(key));
      for (const { key } of forms) seen.add(key);
      expect(forms.length).toBeGreaterThan(100);
      expect(chunks(forms, FORMS_PER_MODULE).flatMap((some) => failures(image, some))).toEqual([]);
    });
  }

  for (const mode of [64, 32] as const) {
    it(`compiles in checked mode and is valid in ${mode}-bit code, wherever regions may hold it`, () => {
      const instructions = [...compilable(mode)];
      expect(instructions.length).toBeGreaterThan(500);
      expect(chunks(instructions, BLOCKS_PER_REGION).flatMap((some) => regionFailures(image, mode, some))).toEqual([]);
    });
  }

  it('checked mode would find flags that change on one of two ways, and are not listed in CONDITIONAL_FLAGS', () => {
    const some = [...compilable(64)].filter(({ form }) => form.sem === 'xadd' && form.classes.join('') === 'rr');
    expect(some.length).toBeGreaterThan(0);
    expect(regionFailures(image, 64, some)).toEqual([]);
    const { xadd } = semantics;
    const sometimes: Semantics[] = [
      (e) => {
        const a = e.let(e.read(0));
        e.f.if(e.f.i64.eqz(e.f.get(a)), () => e.flagsLogic(e.size(0), a));
      },
      (e) => {
        const none = () => e.f.i32.const(0);
        const a = e.let(e.read(0));
        e.f.if(e.f.i64.eqz(e.f.get(a)), () => e.flagsResult(e.size(0), a, none, none));
      },
    ];
    try {
      for (const broken of sometimes) {
        Object.assign(semantics, { xadd: broken });
        expect(regionFailures(image, 64, some).join()).toMatch(/CONDITIONAL_FLAGS has to name/);
      }
    } finally {
      Object.assign(semantics, { xadd });
    }
  });

  it('checked mode would find an operand that is emitted too early', () => {
    const [form] = [...formsIn(64).values()].filter(({ sem, classes }) => sem === 'add' && classes.join('') === 'rr');
    const { add } = semantics;
    const early: Semantics = (e) => {
      const second = e.read(1);
      const first = e.read(0);
      e.write(0, e.let(e.f.i64.sub(first, second)));
    };
    Object.assign(semantics, { add: early });
    try {
      expect(() => buildForms(image, [form], { checked: true })).toThrow(OperandOrderError);
      expect(() => new WebAssembly.Module(buildForms(image, [form]))).not.toThrow();
    } finally {
      Object.assign(semantics, { add });
    }
  });
});

describe('the instructions a model announces', () => {
  const without = (names: (row: OpcodeRow) => boolean): string[] => [
    ...new Set(rows.filter((row) => row.flow !== 'ud' && names(row) && !(row.sem in semantics)).map(({ sem }) => sem)),
  ];

  it('every row of the x86-64 baseline has semantics or raises #UD (x86-64 psABI §3.1.1)', () => {
    const baseline = 'base i186 i286 i386 i486 cpuid x87 cmov cx8 fxsr mmx sse sse2 syscall'.split(' ');
    expect(without(({ feature }) => baseline.includes(feature))).toEqual([]);
  });

  it('every row of a feature of the model max has semantics or raises #UD', () => {
    const model = cpuModel('max');
    expect(without((row) => rowExists(row, (feature) => hasFeature(model, feature)))).toEqual([]);
  });

  it('every system instruction of those rows is there, not only its number', () => {
    const model = cpuModel('max');
    const reachable = new Set(rows.filter(({ feature }) => hasFeature(model, feature)).map(({ sem }) => sem));
    expect(SYSTEM_INSTRUCTIONS.filter((name) => reachable.has(name) && !systemInstructions[name])).toEqual([]);
  });
});

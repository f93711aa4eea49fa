/** Text of one instruction, by the opcode tables that the builder writes with. */
import * as op from './opcodes.ts';
import type { Names } from './print.ts';
import type { Reader } from './reader.ts';
import { ValType } from './types.ts';

export type Nesting = 'open' | 'else' | 'close' | undefined;
export type Printed = { readonly text: string; readonly nesting: Nesting };
type Immediates = (r: Reader, names: Names) => string;
type Entry = { readonly name: string; readonly immediates?: Immediates; readonly nesting?: Nesting };
type Table = Map<number, Entry>;

export class UnknownOpcodeError extends Error {
  readonly code = 'WASM_CODEGEN_UNKNOWN_OPCODE';
}

const BLOCK_TYPES = new Map<number, string>([
  [0x40, ''],
  ...Object.entries(ValType).map(([n, c]): [number, string] => [c, ` (result ${n})`]),
]);
const blockType: Immediates = (r) => BLOCK_TYPES.get(r.u8()) ?? ' (type ?)';
const label: Immediates = (r) => ` ${r.u32()}`;
const local: Immediates = (r, names) => named(r.u32(), names.local);
const global: Immediates = (r, names) => named(r.u32(), names.global);
const callee: Immediates = (r, names) => named(r.u32(), names.function);
const indirect: Immediates = (r) => {
  const type = r.u32();
  const table = r.u32();
  return `${table === 0 ? '' : ` ${table}`} (type ${type})`;
};
const labels: Immediates = (r) => {
  const cases = r.list(() => r.u32());
  return ` ${[...cases, r.u32()].join(' ')}`;
};
/** Alignment is a hint that the builder does not use (`ops.ts`), so it is not shown. */
const access: Immediates = (r) => {
  r.u32();
  const offset = r.u32();
  return offset === 0 ? '' : ` offset=${offset}`;
};
const lane: Immediates = (r) => ` ${r.u8()}`;
const zeros =
  (bytes: number): Immediates =>
  (r) => {
    r.at += bytes;
    return '';
  };
const lanes: Immediates = (r) => Array.from({ length: 16 }, () => ` ${r.u8()}`).join('');
const words: Immediates = (r) =>
  ` i32x4${Array.from({ length: 4 }, () => ` 0x${r.u32le().toString(16).padStart(8, '0')}`).join('')}`;

function named(index: number, names: ((index: number) => string | undefined) | undefined): string {
  return ` ${names?.(index) ?? index}`;
}

/** `i8x16_add` → `i8x16.add`; what has no shape is `v128`'s. */
const vectorName = (name: string): string => (/^[if]\d+x\d+_/.test(name) ? name.replace('_', '.') : `v128.${name}`);

/** `atomic_load8_u` → `atomic.load8_u`; `atomic_add8` → `atomic.rmw8.add_u`. */
function atomicName(name: string): string {
  const plain = /^atomic_((?:load|store).*)$/.exec(name);
  if (plain) return `atomic.${plain[1]}`;
  const [, operation, bits] = /^atomic_([a-z]+)(\d*)$/.exec(name) ?? [];
  return `atomic.rmw${bits}.${operation}${bits === '' ? '' : '_u'}`;
}

class Tables {
  readonly plain: Table = new Map();
  readonly misc: Table = new Map();
  readonly vector: Table = new Map();
  readonly atomic: Table = new Map();

  constructor() {
    this.#control();
    const numbers = [
      ['i32', op.I32_TEST, op.I32_CONVERT, op.I32_UNARY, op.I32_BINARY],
      ['i64', op.I64_TEST, op.I64_CONVERT, op.I64_UNARY, op.I64_BINARY, op.I64_COMPARE],
      ['f32', op.F32_CONVERT, op.F32_UNARY, op.F32_BINARY, op.F32_COMPARE],
      ['f64', op.F64_CONVERT, op.F64_UNARY, op.F64_BINARY, op.F64_COMPARE],
    ] as const;
    for (const [type, ...tables] of numbers) for (const table of tables) add(this.plain, table, (name) => `${type}.${name}`);
    for (const [type, table] of [
      ['i32', op.I32_TRUNCATE],
      ['i64', op.I64_TRUNCATE],
    ] as const)
      add(this.misc, table, (name) => `${type}.${name}`);
    this.misc.set(op.BULK['memory.copy'], { name: 'memory.copy', immediates: zeros(2) });
    this.misc.set(op.BULK['memory.fill'], { name: 'memory.fill', immediates: zeros(1) });
    this.#memory();
    this.#vectors();
  }

  #control(): void {
    const immediates: Partial<Record<keyof typeof op.CONTROL, Immediates>> = {
      ...{ block: blockType, loop: blockType, if: blockType, br: label, br_if: label, br_table: labels },
      ...{ call: callee, return_call: callee, call_indirect: indirect, return_call_indirect: indirect },
      ...{ 'local.get': local, 'local.set': local, 'local.tee': local, 'global.get': global, 'global.set': global },
    };
    const nesting: Partial<Record<keyof typeof op.CONTROL, Nesting>> = {
      ...{ block: 'open', loop: 'open', if: 'open', else: 'else', end: 'close' },
    };
    for (const name of Object.keys(op.CONTROL) as (keyof typeof op.CONTROL)[])
      this.plain.set(op.CONTROL[name], {
        name,
        ...(immediates[name] ? { immediates: immediates[name] } : {}),
        ...(nesting[name] ? { nesting: nesting[name] } : {}),
      });
    const constants: Record<keyof typeof op.CONST, Immediates> = {
      i32: (r) => ` ${r.s64()}`,
      i64: (r) => ` ${r.s64()}`,
      f32: (r) => ` ${real(r.f32())}`,
      f64: (r) => ` ${real(r.f64())}`,
    };
    for (const type of Object.keys(constants) as (keyof typeof op.CONST)[])
      this.plain.set(op.CONST[type], { name: `${type}.const`, immediates: constants[type] });
  }

  #memory(): void {
    const plain = { i32: [op.I32_LOAD, op.I32_STORE], i64: [op.I64_LOAD, op.I64_STORE] };
    const floats = { f32: [op.F32_LOAD, op.F32_STORE], f64: [op.F64_LOAD, op.F64_STORE] };
    for (const [type, tables] of Object.entries({ ...plain, ...floats }))
      for (const table of tables) add(this.plain, firsts(table), (name) => `${type}.${name}`, access);
    const atomics = {
      i32: [op.I32_ATOMIC_LOAD, op.I32_ATOMIC_STORE, op.I32_ATOMIC_RMW],
      i64: [op.I64_ATOMIC_LOAD, op.I64_ATOMIC_STORE, op.I64_ATOMIC_RMW, op.I64_ATOMIC_CMPXCHG],
    };
    for (const [type, tables] of Object.entries(atomics))
      for (const table of tables) add(this.atomic, firsts(table), (name) => `${type}.${atomicName(name)}`, access);
    add(this.atomic, firsts(op.ATOMIC_NOTIFY), () => 'memory.atomic.notify', access);
    add(this.atomic, op.FENCE, (name) => name, zeros(1));
  }

  #vectors(): void {
    for (const table of [op.V128_UNARY, op.V128_BINARY, op.V128_TERNARY, op.V128_SHIFT, op.V128_TEST])
      add(this.vector, table, vectorName);
    add(this.vector, op.V128_MEMORY, (name) => `v128.${name}`, access);
    add(this.vector, op.SPLAT, (shape) => `${shape}.splat`);
    add(this.vector, op.EXTRACT, (shape) => shape.replace(/^([^_]+)/, '$1.extract_lane'), lane);
    add(this.vector, op.REPLACE, (shape) => `${shape}.replace_lane`, lane);
    this.vector.set(op.V128_CONST, { name: 'v128.const', immediates: words });
    this.vector.set(op.V128_SHUFFLE, { name: 'i8x16.shuffle', immediates: lanes });
  }
}

function add(to: Table, from: Readonly<Record<string, number>>, name: (key: string) => string, immediates?: Immediates): void {
  for (const [key, code] of Object.entries(from)) to.set(code, { name: name(key), ...(immediates ? { immediates } : {}) });
}

const firsts = (table: Readonly<Record<string, readonly [number, number]>>): Record<string, number> =>
  Object.fromEntries(Object.entries(table).map(([name, [code]]) => [name, code]));

const real = (value: number): string =>
  Number.isNaN(value) ? 'nan' : Object.is(value, -0) ? '-0' : String(value).replace('Infinity', 'inf');

let tables: Tables | undefined;

/** @throws UnknownOpcodeError for what the builder cannot have written */
export function instructionAt(r: Reader, names: Names): Printed {
  tables ??= new Tables();
  const at = r.at;
  const first = r.u8();
  const prefixed =
    first === op.PREFIX.misc
      ? tables.misc
      : first === op.PREFIX.vector
        ? tables.vector
        : first === op.PREFIX.atomic
          ? tables.atomic
          : undefined;
  const entry = prefixed === undefined ? tables.plain.get(first) : prefixed.get(r.u32());
  if (entry === undefined) throw new UnknownOpcodeError(`unknown opcode at ${at}: 0x${first.toString(16)}`);
  return { text: entry.name + (entry.immediates?.(r, names) ?? ''), nesting: entry.nesting };
}

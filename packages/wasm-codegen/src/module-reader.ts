/** The parts of a module that the builder made. */
import type { Limits } from './module.ts';
import { Kind } from './module.ts';
import { Reader } from './reader.ts';
import type { FuncType, ValTypeName } from './types.ts';
import { ValType } from './types.ts';

export class WasmReadError extends Error {
  readonly code = 'WASM_CODEGEN_READ';
}

/** What is imported as what, of the kinds that the builder can import. */
export type Import = { readonly module: string; readonly name: string } & (
  | { readonly kind: typeof Kind.func; readonly type: FuncType }
  | { readonly kind: typeof Kind.table | typeof Kind.memory; readonly limits: Limits }
  | { readonly kind: typeof Kind.global; readonly type: ValTypeName }
);

/** From the first byte to the one behind the last. */
export type Range = { readonly start: number; readonly end: number };

export type ModuleParts = {
  readonly imports: readonly Import[];
  /** Types of the functions that are not imported, and where their bodies are. */
  readonly defined: readonly FuncType[];
  readonly bodies: readonly Range[];
  /** Custom sections behind their names. */
  readonly custom: ReadonlyMap<string, Range>;
  /** Ids of the other sections that there are. */
  readonly sections: ReadonlySet<number>;
};

const TYPE_NAMES = new Map<number, ValTypeName>(Object.entries(ValType).map(([name, code]) => [code, name as ValTypeName]));

export function readValType(r: Reader): ValTypeName {
  const code = r.u8();
  const name = TYPE_NAMES.get(code);
  if (name === undefined) throw new WasmReadError(`unknown value type 0x${code.toString(16)}`);
  return name;
}

function readFuncType(r: Reader): FuncType {
  const form = r.u8();
  if (form !== 0x60) throw new WasmReadError(`unknown type 0x${form.toString(16)}`);
  return { params: r.list(() => readValType(r)), results: r.list(() => readValType(r)) };
}

function readLimits(r: Reader): Limits {
  const flags = r.u8();
  const min = r.u32();
  return { min, ...(flags & 1 ? { max: r.u32() } : {}), ...(flags & 2 ? { shared: true } : {}) };
}

function readImport(r: Reader, types: readonly FuncType[]): Import {
  const [module, name] = [r.name(), r.name()];
  const kind = r.u8();
  if (kind === Kind.func) return { module, name, kind, type: types[r.u32()] };
  if (kind === Kind.global) {
    const type = readValType(r);
    r.u8();
    return { module, name, kind, type };
  }
  if (kind !== Kind.table && kind !== Kind.memory) throw new WasmReadError(`unknown kind of import 0x${kind.toString(16)}`);
  if (kind === Kind.table) r.u8();
  return { module, name, kind, limits: readLimits(r) };
}

function readRange(r: Reader): Range {
  const length = r.u32();
  const start = r.at;
  r.at += length;
  return { start, end: r.at };
}

/** @throws WasmReadError, RangeError if this is not what the builder makes */
export function readParts(bytes: Uint8Array): ModuleParts {
  const r = new Reader(bytes);
  if (r.u32le() !== 0x6d73_6100 || r.u32le() !== 1) throw new WasmReadError('this is no WebAssembly module of version 1');
  let types: FuncType[] = [];
  let imports: Import[] = [];
  let defined: FuncType[] = [];
  let bodies: Range[] = [];
  const custom = new Map<string, Range>();
  const sections = new Set<number>();
  while (!r.done) {
    const id = r.u8();
    const { start, end } = readRange(r);
    r.at = start;
    if (id === 1) types = r.list(() => readFuncType(r));
    else if (id === 2) imports = r.list(() => readImport(r, types));
    else if (id === 3) defined = r.list(() => types[r.u32()]);
    else if (id === 10) bodies = r.list(() => readRange(r));
    if (id === 0) custom.set(r.name(), { start: r.at, end });
    else sections.add(id);
    r.at = end;
  }
  return { imports, defined, bodies, custom, sections };
}

import type { FuncRef, FunctionBody, GlobalRef } from './function.ts';
import { FunctionBuilder } from './function.ts';
import type { FuncType, TokenOf, ValTypeName } from './types.ts';
import { ValType } from './types.ts';
import { Writer } from './writer.ts';

/** Limits of a memory, in 64 KiB pages, or of a table, in entries. */
export type Limits = { readonly min: number; readonly max?: number; readonly shared?: boolean };

type TokensOf<P extends readonly ValTypeName[]> = { [K in keyof P]: TokenOf<P[K]> };
type ResultOf<R extends readonly ValTypeName[]> = R extends readonly [infer N extends ValTypeName] ? TokenOf<N> : void;

/** Names of custom sections. */
export const HINTS = 'metadata.code.branch_hint';
export const REFERENCES = 'tsvisor.references';

export const Kind = { func: 0, table: 1, memory: 2, global: 3 } as const;
const FUNCREF = 0x70;

/** Builds one module: imports first, then functions, then `build()`. */
export class ModuleBuilder {
  readonly #types: FuncType[] = [];
  readonly #typeIndex = new Map<string, number>();
  readonly #imports: { module: string; name: string; kind: number; encode: (out: Writer) => void }[] = [];
  readonly #importedNames: string[] = [];
  readonly #functions: FunctionBody[] = [];
  readonly #exports: { name: string; kind: number; target: { readonly index: number } }[] = [];
  /** A defined function's index is in use: no more functions can be imported. */
  #indexed = false;
  readonly #elements: { offset: number; functions: readonly number[] }[] = [];
  readonly #data: { offset: number; bytes: Uint8Array }[] = [];
  readonly #globals: { type: ValTypeName; mutable: boolean; value: number }[] = [];
  #importedGlobals = 0;
  #table: Limits | undefined;
  #memory: Limits | undefined;
  #codeAt = 0;

  readonly #branchHints: boolean;
  /** Functions verify their operands' order (see checked.ts). */
  readonly checked: boolean;

  /**
   * @param options.branchHints puts what `FunctionBuilder.likely` and `unlikely` say into the module. It is worth it where values live long
   * across paths that are hardly ever taken; a dispatch loop of many short cases got slower with it.
   */
  constructor(options: { checked?: boolean; branchHints?: boolean } = {}) {
    this.checked = options.checked ?? false;
    this.#branchHints = options.branchHints ?? false;
  }

  typeIndex(type: FuncType): number {
    const key = `${type.params.join()}>${type.results.join()}`;
    let index = this.#typeIndex.get(key);
    if (index === undefined) {
      index = this.#types.push(type) - 1;
      this.#typeIndex.set(key, index);
    }
    return index;
  }

  importFunction<const P extends readonly ValTypeName[], const R extends readonly ValTypeName[]>(
    module: string,
    name: string,
    params: P,
    results: R,
  ): FuncRef<TokensOf<P>, ResultOf<R>> {
    if (this.#indexed) throw new Error(`import ${module}.${name} after a function's index was used: it would shift`);
    const type = { params, results };
    const typeIndex = this.typeIndex(type);
    this.#imports.push({ module, name, kind: Kind.func, encode: (out) => out.u32(typeIndex) });
    return { index: this.#importedNames.push(name) - 1, type };
  }

  importMemory(module: string, name: string, limits: Limits): void {
    this.#imports.push({ module, name, kind: Kind.memory, encode: (out) => encodeLimits(out, limits) });
  }

  importTable(module: string, name: string, limits: Limits): void {
    this.#imports.push({
      module,
      name,
      kind: Kind.table,
      encode: (out) => {
        out.u8(FUNCREF);
        encodeLimits(out, limits);
      },
    });
  }

  /** An immutable imported global: how one module serves several vCPUs, each with its own state address. */
  importGlobal<N extends ValTypeName>(module: string, name: string, type: N): GlobalRef<TokenOf<N>> {
    if (this.#globals.length > 0) throw new Error('globals are imported before they are defined');
    this.#imports.push({
      module,
      name,
      kind: Kind.global,
      encode: (out) => {
        out.u8(ValType[type]);
        out.u8(0);
      },
    });
    return { index: this.#importedGlobals++, type };
  }

  /** A mutable global with an integer initial value. */
  global<N extends 'i32' | 'i64'>(type: N, value = 0): GlobalRef<TokenOf<N>> {
    return { index: this.#importedGlobals + this.#globals.push({ type, mutable: true, value }) - 1, type };
  }

  memory(limits: Limits, exportAs?: string): void {
    this.#memory = limits;
    if (exportAs) this.#exports.push({ name: exportAs, kind: Kind.memory, target: { index: 0 } });
  }

  table(limits: Limits, exportAs?: string): void {
    this.#table = limits;
    if (exportAs) this.#exports.push({ name: exportAs, kind: Kind.table, target: { index: 0 } });
  }

  /** Declares a function and returns its builder, to be filled before `build`; may be called before it is filled. */
  function(name: string, params: readonly ValTypeName[], results: readonly ValTypeName[]): FunctionBuilder {
    return this.take((indexOf) => new FunctionBuilder(this, indexOf, { params, results }, name));
  }

  /** Takes a function that is made elsewhere; `make` is given what tells its index, as it will be once nothing more is imported. */
  take<F extends FunctionBody>(make: (index: () => number) => F): F {
    const ordinal = this.#functions.length;
    const body = make(() => {
      this.#indexed = true;
      return this.#importedNames.length + ordinal;
    });
    this.#functions.push(body);
    this.typeIndex(body.type);
    return body;
  }

  exportFunction(name: string, target: { readonly index: number }): void {
    this.#exports.push({ name, kind: Kind.func, target });
  }

  /** Fills table 0 from `offset` on with functions. */
  elements(offset: number, functions: readonly { readonly index: number }[]): void {
    this.#elements.push({ offset, functions: functions.map((f) => f.index) });
  }

  data(offset: number, bytes: Uint8Array): void {
    this.#data.push({ offset, bytes });
  }

  /**
   * Encodes the module (core specification §5.5). With `names`, a name section makes profiles and traps readable; with `linkable`, its functions can
   * be put into other modules (link.ts).
   */
  build(options: { names?: boolean; linkable?: boolean } = {}): Uint8Array<ArrayBuffer> {
    const code = new Writer(this.#functions.reduce((sum, f) => sum + f.size + 64, 16));
    code.u32(this.#functions.length);
    for (const f of this.#functions) f.encodeTo(code); // first: a body may still add a type

    const out = new Writer(code.length + 4096);
    out.raw(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
    section(out, 1, this.#types, encodeType);
    section(out, 2, this.#imports, (w, entry) => {
      w.name(entry.module);
      w.name(entry.name);
      w.u8(entry.kind);
      entry.encode(w);
    });
    section(out, 3, this.#functions, (w, f) => w.u32(this.typeIndex(f.type)));
    section(out, 4, this.#table ? [this.#table] : [], (w, limits) => {
      w.u8(FUNCREF);
      encodeLimits(w, limits);
    });
    section(out, 5, this.#memory ? [this.#memory] : [], encodeLimits);
    section(out, 6, this.#globals, (w, global) => {
      w.u8(ValType[global.type]);
      w.u8(global.mutable ? 1 : 0);
      w.u8(global.type === 'i32' ? 0x41 : 0x42);
      w.s64(global.value | 0, Math.floor(global.value / 0x1_0000_0000));
      w.u8(0x0b);
    });
    section(out, 7, this.#exports, (w, entry) => {
      w.name(entry.name);
      w.u8(entry.kind);
      w.u32(entry.target.index);
    });
    section(out, 9, this.#elements, (w, segment) => {
      w.u32(0);
      w.u8(0x41);
      w.s32(segment.offset);
      w.u8(0x0b);
      w.u32(segment.functions.length);
      for (const index of segment.functions) w.u32(index);
    });
    const hints = this.#hintSection();
    if (hints) sectionBytes(out, 0, hints);
    if (this.#functions.length > 0) sectionBytes(out, 10, code.view());
    this.#codeAt = out.length - code.length;
    section(out, 11, this.#data, (w, segment) => {
      w.u32(0);
      w.u8(0x41);
      w.s32(segment.offset);
      w.u8(0x0b);
      w.u32(segment.bytes.length);
      w.raw(segment.bytes);
    });
    if (options.names) sectionBytes(out, 0, this.#nameSection());
    if (options.linkable) sectionBytes(out, 0, this.#referenceSection());
    return out.bytes.slice(0, out.length) as Uint8Array<ArrayBuffer>;
  }

  /** Where in the bytes that were built the code is that a function emitted when its `size` was `at`. */
  offsetOf(f: FunctionBuilder, at: number): number {
    return this.#codeAt + f.encodedAt + at;
  }

  /** Branch hinting proposal, "Branch Hints Section"; undefined if there are none. */
  #hintSection(): Uint8Array | undefined {
    const hinted = this.#branchHints ? this.#functions.filter((f) => f.hints.length > 0) : [];
    if (hinted.length === 0) return undefined;
    const out = new Writer(1024);
    out.name(HINTS);
    out.u32(hinted.length);
    for (const { index, hints } of hinted) {
      out.u32(index);
      out.u32(hints.length);
      for (const { at, likely } of hints) {
        out.u32(at);
        out.u32(1);
        out.u8(likely ? 1 : 0);
      }
    }
    return out.view();
  }

  /** For each function where its references are, each by its distance from the one before. */
  #referenceSection(): Uint8Array {
    const out = new Writer(4096);
    out.name(REFERENCES);
    out.u32(this.#functions.length);
    for (const { references } of this.#functions) {
      out.u32(references.length);
      references.forEach((at, n) => out.u32(at - (n === 0 ? 0 : references[n - 1])));
    }
    return out.view();
  }

  #nameSection(): Uint8Array {
    const all = [...this.#importedNames, ...this.#functions.map((f) => f.name)];
    const names = new Writer(4096);
    names.u32(all.length);
    all.forEach((name, index) => {
      names.u32(index);
      names.name(name);
    });
    const out = new Writer(names.length + 16);
    out.name('name');
    sectionBytes(out, 1, names.view());
    return out.view();
  }
}

function encodeLimits(out: Writer, limits: Limits): void {
  out.u8((limits.max === undefined ? 0 : 1) | (limits.shared ? 2 : 0));
  out.u32(limits.min);
  if (limits.max !== undefined) out.u32(limits.max);
}

function encodeType(out: Writer, type: FuncType): void {
  out.u8(0x60);
  for (const list of [type.params, type.results]) {
    out.u32(list.length);
    for (const name of list) out.u8(ValType[name]);
  }
}

function sectionBytes(out: Writer, id: number, bytes: Uint8Array): void {
  out.u8(id);
  out.u32(bytes.length);
  out.raw(bytes);
}

function section<T>(out: Writer, id: number, entries: readonly T[], encode: (out: Writer, entry: T) => void): void {
  if (entries.length === 0) return;
  const body = new Writer();
  body.u32(entries.length);
  for (const entry of entries) encode(body, entry);
  sectionBytes(out, id, body.view());
}

/** From the bytes of a module to text for people, in the names of the WebAssembly text format: instructions one by one, not folded. */
import { instructionAt } from './print-code.ts';
import { Reader } from './reader.ts';
import type { ValTypeName } from './types.ts';
import { ValType } from './types.ts';

export type PrintedInstruction = {
  /** Offset of its first byte in the module. */
  readonly at: number;
  /** Such as `i64.load offset=8`. Branches name their label's distance, as the binary format does. */
  readonly text: string;
  /** Blocks around it in the function; of `else` and `end` those around the block they belong to. */
  readonly depth: number;
};

export type PrintedFunction = {
  /** In the module: imported functions come first. */
  readonly index: number;
  /** From the name section; undefined if that has none. */
  readonly name: string | undefined;
  readonly params: readonly ValTypeName[];
  readonly results: readonly ValTypeName[];
  readonly locals: readonly ValTypeName[];
  readonly instructions: readonly PrintedInstruction[];
};

export type PrintedModule = {
  /** Names of what is imported, functions and globals each in the order of their indices. */
  readonly importedFunctions: readonly string[];
  readonly importedGlobals: readonly string[];
  readonly functions: readonly PrintedFunction[];
};

/** Text in place of indices: `$rax` for local 7, say. Undefined: the module's own name, or else the number. */
export type Names = {
  readonly local?: (index: number) => string | undefined;
  readonly function?: (index: number) => string | undefined;
  readonly global?: (index: number) => string | undefined;
};

export class WasmPrintError extends Error {
  readonly code = 'WASM_CODEGEN_PRINT';
}

type Signature = Pick<PrintedFunction, 'params' | 'results'>;

const TYPE_NAMES = new Map<number, ValTypeName>(Object.entries(ValType).map(([name, code]) => [code, name as ValTypeName]));

const dollar = (name: string | undefined): string | undefined =>
  name === undefined ? undefined : `$${name.replaceAll(' ', '_')}`;

class ModuleReader {
  readonly #reader: Reader;
  readonly #types: Signature[] = [];
  readonly importedFunctions: string[] = [];
  readonly importedGlobals: string[] = [];
  readonly #defined: number[] = [];
  readonly #bodies: { readonly start: number; readonly end: number }[] = [];
  readonly #names = new Map<number, string>();

  constructor(bytes: Uint8Array) {
    this.#reader = new Reader(bytes);
    if (this.#reader.u32le() !== 0x6d73_6100 || this.#reader.u32le() !== 1)
      throw new WasmPrintError('this is no WebAssembly module of version 1');
    this.#sections();
  }

  #sections(): void {
    const r = this.#reader;
    while (!r.done) {
      const id = r.u8();
      const length = r.u32();
      const end = r.at + length;
      if (id === 1) r.list(() => this.#types.push(this.#type()));
      else if (id === 2) r.list(() => this.#import());
      else if (id === 3) r.list(() => this.#defined.push(r.u32()));
      else if (id === 10) r.list(() => this.#bodies.push(this.#body()));
      else if (id === 0 && r.name() === 'name') this.#nameSection(end);
      r.at = end;
    }
  }

  #valType(): ValTypeName {
    const code = this.#reader.u8();
    const name = TYPE_NAMES.get(code);
    if (name === undefined) throw new WasmPrintError(`unknown value type 0x${code.toString(16)}`);
    return name;
  }

  #type(): Signature {
    const r = this.#reader;
    const form = r.u8();
    if (form !== 0x60) throw new WasmPrintError(`unknown type 0x${form.toString(16)}`);
    return { params: r.list(() => this.#valType()), results: r.list(() => this.#valType()) };
  }

  #limits(): void {
    const r = this.#reader;
    const flags = r.u8();
    r.u32();
    if (flags & 1) r.u32();
  }

  #import(): void {
    const r = this.#reader;
    const name = `${r.name()}.${r.name()}`;
    const kind = r.u8();
    if (kind === 0) {
      r.u32();
      this.importedFunctions.push(name);
    } else if (kind === 1) {
      r.u8();
      this.#limits();
    } else if (kind === 2) this.#limits();
    else {
      r.u8();
      r.u8();
      this.importedGlobals.push(name);
    }
  }

  #body(): { start: number; end: number } {
    const r = this.#reader;
    const length = r.u32();
    const start = r.at;
    r.at += length;
    return { start, end: r.at };
  }

  #nameSection(end: number): void {
    const r = this.#reader;
    while (r.at < end) {
      const id = r.u8();
      const length = r.u32();
      const next = r.at + length;
      if (id === 1) r.list(() => this.#names.set(r.u32(), r.name()));
      r.at = next;
    }
  }

  functions(names: Names): PrintedFunction[] {
    return this.#bodies.map(({ start, end }, n) => {
      const index = this.importedFunctions.length + n;
      const signature = this.#types[this.#defined[n]];
      const r = this.#reader;
      r.at = start;
      const locals = r.list(() => {
        const count = r.u32();
        const type = this.#valType();
        return new Array<ValTypeName>(count).fill(type);
      });
      const instructions = this.#instructions(end, names);
      return { index, name: this.#names.get(index), ...signature, locals: locals.flat(), instructions };
    });
  }

  #instructions(end: number, names: Names): PrintedInstruction[] {
    const r = this.#reader;
    const out: PrintedInstruction[] = [];
    const known: Names = {
      ...names,
      function: (index) => names.function?.(index) ?? dollar(this.#names.get(index) ?? this.importedFunctions[index]),
      global: (index) => names.global?.(index) ?? dollar(this.importedGlobals[index]),
    };
    let depth = 0;
    while (r.at < end) {
      const at = r.at;
      const { text, nesting } = instructionAt(r, known);
      if (nesting === 'close' || nesting === 'else') depth--;
      // The function's own end is not an instruction of the text format.
      if (depth >= 0) out.push({ at, text, depth });
      if (nesting === 'open' || nesting === 'else') depth++;
    }
    return out;
  }
}

/**
 * Reads a module that this package's builder made.
 * @throws WasmPrintError, UnknownOpcodeError, RangeError for others
 */
export function readModule(bytes: Uint8Array, names: Names = {}): PrintedModule {
  const reader = new ModuleReader(bytes);
  return {
    importedFunctions: reader.importedFunctions,
    importedGlobals: reader.importedGlobals,
    functions: reader.functions(names),
  };
}

/** The functions of a module as text. */
export function printModule(bytes: Uint8Array, names: Names = {}): string {
  const lines: string[] = [];
  for (const { index, name, params, results, locals, instructions } of readModule(bytes, names).functions) {
    const list = (word: string, types: readonly string[]): string => (types.length === 0 ? '' : ` (${word} ${types.join(' ')})`);
    lines.push(`(func ${index}${name === undefined ? '' : ` ;; ${name}`}`);
    const header = list('param', params) + list('result', results) + list('local', locals);
    if (header !== '') lines.push(` ${header}`);
    for (const { text, depth } of instructions) lines.push(`${'  '.repeat(depth + 1)}${text}`);
    lines.push(')');
  }
  return `${lines.join('\n')}\n`;
}

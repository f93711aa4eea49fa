/** From the bytes of a module to text for people, in the names of the WebAssembly text format: instructions one by one, not folded. */
import { Kind } from './module.ts';
import type { ModuleParts } from './module-reader.ts';
import { readParts, readValType } from './module-reader.ts';
import { instructionAt } from './print-code.ts';
import { Reader } from './reader.ts';
import type { ValTypeName } from './types.ts';

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

const dollar = (name: string | undefined): string | undefined =>
  name === undefined ? undefined : `$${name.replaceAll(' ', '_')}`;

class ModulePrinter {
  readonly #bytes: Uint8Array;
  readonly #parts: ModuleParts;
  readonly importedFunctions: readonly string[];
  readonly importedGlobals: readonly string[];
  readonly #names: ReadonlyMap<number, string>;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#parts = readParts(bytes);
    const { imports } = this.#parts;
    const imported = (wanted: number): string[] =>
      imports.filter(({ kind }) => kind === wanted).map(({ module, name }) => `${module}.${name}`);
    this.importedFunctions = imported(Kind.func);
    this.importedGlobals = imported(Kind.global);
    this.#names = this.#readNames();
  }

  #readNames(): Map<number, string> {
    const names = new Map<number, string>();
    const section = this.#parts.custom.get('name');
    if (!section) return names;
    const r = new Reader(this.#bytes, section.start);
    while (r.at < section.end) {
      const id = r.u8();
      const length = r.u32();
      const next = r.at + length;
      if (id === 1) r.list(() => names.set(r.u32(), r.name()));
      r.at = next;
    }
    return names;
  }

  functions(names: Names): PrintedFunction[] {
    return this.#parts.bodies.map(({ start, end }, n) => {
      const index = this.importedFunctions.length + n;
      const signature = this.#parts.defined[n];
      const r = new Reader(this.#bytes, start);
      const locals = r.list(() => {
        const count = r.u32();
        const type = readValType(r);
        return new Array<ValTypeName>(count).fill(type);
      });
      const instructions = this.#instructions(r, end, names);
      return { index, name: this.#names.get(index), ...signature, locals: locals.flat(), instructions };
    });
  }

  #instructions(r: Reader, end: number, names: Names): PrintedInstruction[] {
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
 * @throws WasmReadError, UnknownOpcodeError, RangeError for others
 */
export function readModule(bytes: Uint8Array, names: Names = {}): PrintedModule {
  const reader = new ModulePrinter(bytes);
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

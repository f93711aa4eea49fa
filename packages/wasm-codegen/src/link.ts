/** Puts the functions of several modules into one, as a linker does. */
import type { BranchHint, FunctionBody } from './function.ts';
import { HINTS, Kind, ModuleBuilder, REFERENCES } from './module.ts';
import type { Import, ModuleParts } from './module-reader.ts';
import { readParts, WasmReadError } from './module-reader.ts';
import { CONTROL } from './opcodes.ts';
import { Reader } from './reader.ts';
import type { FuncType } from './types.ts';
import { Writer } from './writer.ts';

/** Sections that a linkable module may have: types, imports, functions, exports, code. */
const LINKABLE = new Set([1, 2, 3, 7, 10]);
const GLOBALS: ReadonlySet<number> = new Set([CONTROL['global.get'], CONTROL['global.set']]);

/** What a module's indices mean in the module that its functions go to. */
type Indices = { readonly functions: readonly number[]; readonly globals: readonly number[] };

/** A function of a module, which becomes one of another. */
class LinkedFunction implements FunctionBody {
  readonly #indexOf: () => number;
  readonly #bytes: Uint8Array;
  readonly #from: { readonly references: readonly number[]; readonly hints: readonly BranchHint[] };
  readonly #indices: Indices;
  readonly type: FuncType;
  readonly name: string;
  references: readonly number[] = [];
  hints: readonly BranchHint[] = [];

  constructor(
    indexOf: () => number,
    of: {
      readonly name: string;
      readonly type: FuncType;
      readonly bytes: Uint8Array;
      readonly references: readonly number[];
      readonly hints: readonly BranchHint[];
      readonly indices: Indices;
    },
  ) {
    this.#indexOf = indexOf;
    this.#bytes = of.bytes;
    this.#from = of;
    this.#indices = of.indices;
    this.type = of.type;
    this.name = of.name;
  }

  get index(): number {
    return this.#indexOf();
  }

  get size(): number {
    return this.#bytes.length;
  }

  encodeTo(out: Writer): void {
    const { functions, globals } = this.#indices;
    const body = new Writer(this.#bytes.length + 64);
    const reader = new Reader(this.#bytes);
    const references: number[] = [];
    const hints: BranchHint[] = [];
    let hinted = 0;
    const copyTo = (end: number): void => {
      const moved = body.length - reader.at;
      for (; hinted < this.#from.hints.length && this.#from.hints[hinted].at < end; hinted++) {
        const { at, likely } = this.#from.hints[hinted];
        hints.push({ at: at + moved, likely });
      }
      body.raw(this.#bytes.subarray(reader.at, end));
      reader.at = end;
    };
    for (const at of this.#from.references) {
      copyTo(at);
      references.push(body.length);
      body.u32((GLOBALS.has(this.#bytes[at - 1]) ? globals : functions)[reader.u32()]);
    }
    copyTo(this.#bytes.length);
    this.references = references;
    this.hints = hints;
    out.u32(body.length);
    out.raw(body.view());
  }
}

/** Imports what modules import, the same things once. */
class Imports {
  readonly #target: ModuleBuilder;
  readonly #known = new Map<string, number>();

  constructor(target: ModuleBuilder) {
    this.#target = target;
  }

  add({ imports }: ModuleParts): Indices {
    const functions: number[] = [];
    const globals: number[] = [];
    for (const one of imports) {
      const key = JSON.stringify(one);
      const index = this.#known.get(key) ?? this.#import(one);
      this.#known.set(key, index);
      if (one.kind === Kind.func) functions.push(index);
      else if (one.kind === Kind.global) globals.push(index);
    }
    return { functions, globals };
  }

  #import(one: Import): number {
    const { module, name, kind } = one;
    if (kind === Kind.func) return this.#target.importFunction(module, name, one.type.params, one.type.results).index;
    if (kind === Kind.global) return this.#target.importGlobal(module, name, one.type).index;
    if (kind === Kind.memory) this.#target.importMemory(module, name, one.limits);
    else this.#target.importTable(module, name, one.limits);
    return 0;
  }
}

/** Distances between neighbours as places. */
function readReferences(bytes: Uint8Array, { custom }: ModuleParts): number[][] {
  const section = custom.get(REFERENCES);
  if (section === undefined) throw new WasmReadError('the module was not built to be linked');
  const r = new Reader(bytes, section.start);
  return r.list(() => {
    let at = 0;
    return r.list(() => (at += r.u32()));
  });
}

/** Hints by the index of their function. */
export function readHints(bytes: Uint8Array, { custom }: ModuleParts): Map<number, BranchHint[]> {
  const section = custom.get(HINTS);
  if (section === undefined) return new Map();
  const r = new Reader(bytes, section.start);
  const hint = (): BranchHint => {
    const at = r.u32();
    r.u32();
    return { at, likely: r.u8() === 1 };
  };
  return new Map(r.list((): [number, BranchHint[]] => [r.u32(), r.list(hint)]));
}

/**
 * One module with the functions of others, which were built to be linked: what several of them import is imported once. It exports the functions by
 * their position as text, in the order of the modules and of the functions in each, and can be linked itself. Functions may call what they import,
 * and nothing else: tables, memories and globals of a module's own are refused.
 * @throws WasmReadError, RangeError for a module that was not built so
 */
export function linkModules(modules: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const target = new ModuleBuilder({ branchHints: true });
  const imports = new Imports(target);
  const sources = modules.map((bytes) => {
    const parts = readParts(bytes);
    for (const id of parts.sections)
      if (!LINKABLE.has(id)) throw new WasmReadError(`a module with a section ${id} cannot be linked`);
    return {
      bytes,
      parts,
      indices: imports.add(parts),
      references: readReferences(bytes, parts),
      hints: readHints(bytes, parts),
    };
  });
  let count = 0;
  for (const { bytes, parts, indices, references, hints } of sources) {
    // What it imports, then what it has itself.
    const functions = [...indices.functions];
    for (const [n, { start, end }] of parts.bodies.entries()) {
      const of = {
        name: String(count),
        type: parts.defined[n],
        bytes: bytes.subarray(start, end),
        references: references[n],
        hints: hints.get(indices.functions.length + n) ?? [],
        indices: { functions, globals: indices.globals },
      };
      const f = target.take((index) => new LinkedFunction(index, of));
      functions.push(f.index);
      target.exportFunction(String(count++), f);
    }
  }
  return target.build({ linkable: true });
}

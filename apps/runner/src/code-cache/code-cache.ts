/** What was compiled of guests' code, kept in a folder for later runs: whoever starts the same guest again need not wait until it is fast. */
import { type CompileService, engineId, type KeptCode, type KeptRegion } from '@tsvisor/machines/compiler';
import { CodeFile, type Entry, entryOf, regionId, type Stored, type StoredRegion, writeCodeFile } from './file.ts';
import { dropOldFiles, fileOf, touch } from './folder.ts';
import { instanceToAsk, moduleOf, optimisedCode } from './optimised.ts';

type Limits = {
  /** Bytes of a file's regions; beyond, what has not been of use for longest goes. */
  readonly file: number;
  /** Bytes of WebAssembly that wait for the run's end; beyond, what was made first goes. */
  readonly held: number;
};
const LIMITS: Limits = { file: 48 << 20, held: 8 << 20 };

/** Where code for vCPUs like this one is kept: it is good for the same engine alone. */
export const codePath = (folder: string, { features, atomic }: Pick<CompileService, 'features' | 'atomic'>): string =>
  fileOf(folder, 'regions', JSON.stringify([engineId, [...features].sort(), atomic]));

/** Kept regions, for one thread. `onUse` is told which of them run. */
export function openKept(path: string, onUse: (id: string) => void): KeptCode | undefined {
  const file = CodeFile.open(path);
  if (file === undefined) return undefined;
  const byHash = new Map<number, Stored[]>();
  for (const stored of file.index)
    for (const { hash } of stored.entries) {
      const known = byHash.get(hash);
      if (known) known.push(stored);
      else byHash.set(hash, [stored]);
    }
  const origins = new WeakMap<KeptRegion, Pick<StoredRegion, 'optimised'> & Pick<Stored, 'id'>>();
  return {
    has: (hash) => byHash.has(hash),
    *find(hash) {
      for (const stored of byHash.get(hash) ?? []) {
        const found = file.read(stored);
        if (found === undefined) continue;
        origins.set(found.region, { optimised: found.optimised, id: stored.id });
        yield found.region;
      }
    },
    load: (region) => {
      const origin = origins.get(region);
      if (origin) onUse(origin.id);
      return (origin?.optimised && moduleOf(region.wasm, origin.optimised)) ?? new WebAssembly.Module(region.wasm);
    },
  };
}

/** What one run adds to a file. */
export class CodeCollector {
  readonly #path: string;
  readonly #file: CodeFile | undefined;
  readonly #limits: Limits;
  readonly #memory: WebAssembly.Memory;
  /** By id, in the order in which they came. */
  readonly #made = new Map<string, Kept>();
  #madeBytes = 0;
  /** By id. */
  readonly #inFile: ReadonlyMap<string, Stored>;
  readonly #used = new Set<string>();
  /** Used, but the file has no optimised code of it. */
  readonly #slow = new Map<string, Kept>();

  /** @param memory one that the modules can be instantiated with */
  constructor(path: string, memory: WebAssembly.Memory, limits: Partial<Limits> = {}) {
    this.#path = path;
    this.#memory = memory;
    this.#limits = { ...LIMITS, ...limits };
    this.#file = CodeFile.open(path);
    this.#inFile = new Map(this.#file?.index.map((stored) => [stored.id, stored]));
  }

  readonly add = (region: KeptRegion, module: WebAssembly.Module): void => {
    const id = regionId(region);
    if (this.#inFile.has(id) || this.#made.has(id)) return;
    this.#made.set(id, { region, module });
    this.#madeBytes += region.wasm.length;
    // A guest that runs for weeks must not fill the host's memory with what it had compiled.
    for (const [oldest, { region: old }] of this.#made) {
      if (this.#madeBytes <= this.#limits.held) break;
      this.#made.delete(oldest);
      this.#madeBytes -= old.wasm.length;
    }
  };

  readonly used = (id: string): void => {
    // Another process may have replaced the file that the vCPU reads.
    const stored = this.#inFile.get(id);
    if (stored === undefined || this.#used.has(id)) return;
    this.#used.add(id);
    if (stored.optimised > 0) return;
    const found = this.#file?.read(stored);
    // V8 has but one module of the same bytes in a process: this one is optimised when the one that runs is.
    if (found) this.#slow.set(id, { region: found.region, module: new WebAssembly.Module(found.region.wasm) });
  };

  #optimised({ module }: Kept): Uint8Array | undefined {
    const { f } = instanceToAsk(module, this.#memory).exports;
    return f && optimisedCode(module, f);
  }

  /** Writes the file if there is anything new. @throws what the file system says */
  save(): void {
    const run = 1 + [...this.#inFile.values()].reduce((most, stored) => Math.max(most, stored.run), 0);
    const fresh = [...this.#made.values()].map((kept) => entryOf({ region: kept.region, optimised: this.#optimised(kept) }, run));
    for (const kept of this.#slow.values()) {
      const optimised = this.#optimised(kept);
      if (optimised) fresh.push(entryOf({ region: kept.region, optimised }, run));
    }
    if (fresh.length === 0) {
      if (this.#used.size > 0) touch(this.#path);
      return;
    }
    const replaced = new Set(fresh.map(({ stored }) => stored.id));
    const old = [...this.#inFile.values()]
      .filter(({ id }) => !replaced.has(id))
      .map((stored): Entry => {
        const bytes = (this.#file as CodeFile).raw(stored);
        return { stored: this.#used.has(stored.id) ? { ...stored, run } : stored, bytes };
      });
    const entries = [...fresh, ...old.sort((a, b) => b.stored.run - a.stored.run)];
    let size = 0;
    writeCodeFile(
      this.#path,
      entries.filter(({ bytes }) => (size += bytes.length) <= this.#limits.file),
    );
    dropOldFiles(this.#path);
  }
}

type Kept = { readonly region: KeptRegion; readonly module: WebAssembly.Module };

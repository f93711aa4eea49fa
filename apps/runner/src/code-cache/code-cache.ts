/** What was compiled of guests' code, kept in a folder for later runs: whoever starts the same guest again need not wait until it is fast. */
import {
  type BlockRuns,
  type CompileService,
  engineId,
  type KeptCode,
  type KeptRegion,
  linkModules,
  type RegionFunction,
  RUNS_BEFORE,
} from '@tsvisor/machines/compiler';
import { CodeFile, type Entry, entryOf, regionId, type StoredBundle, writeCodeFile } from './file.ts';
import { dropOldFiles, fileOf, touch } from './folder.ts';
import { another, lazyModule, moduleOf, optimise } from './optimised.ts';

type Limits = {
  /** Bytes of a file's bundles; beyond, what has not been of use for longest goes. */
  readonly file: number;
  /** Bytes of bundles that one run has use for, which are in its memory; beyond, nothing is added. */
  readonly used: number;
  /** Bytes of WebAssembly that one run adds: V8 optimises some 3 MB in a second at its end. */
  readonly made: number;
  /** The same for a bundle that is taken into another. */
  readonly taken: number;
};
const LIMITS: Limits = { file: 96 << 20, used: 64 << 20, made: 8 << 20, taken: 1 << 20 };
/** Bytes that V8 makes of a byte of WebAssembly, more or less. */
const GROWTH = 2.7;

/** Blocks that are noted to be compiled in the next run, at most. */
const MOST_WARM = 20_000;

/** Where code for vCPUs like this one is kept: it is good for the same engine alone. */
export const codePath = (folder: string, { features, atomic }: Pick<CompileService, 'features' | 'atomic'>): string =>
  fileOf(folder, 'regions', JSON.stringify([engineId, [...features].sort(), atomic]));

/** A bundle runs: where in the file it lies, and whether V8 would not have what it was optimised to. */
export type Use = { readonly at: number; readonly isRefused: boolean };

/** A bundle that is read as far as someone asks for it. */
class Bundle {
  readonly #file: CodeFile;
  readonly #stored: StoredBundle;
  readonly #onUse: (use: Use) => void;
  #regions: readonly KeptRegion[] | undefined;
  #module: WebAssembly.Module | undefined;

  constructor(file: CodeFile, stored: StoredBundle, onUse: (use: Use) => void) {
    this.#file = file;
    this.#stored = stored;
    this.#onUse = onUse;
  }

  get isLoaded(): boolean {
    return this.#module !== undefined;
  }

  region(n: number): KeptRegion | undefined {
    this.#regions ??= this.#file.readRegions(this.#stored) ?? [];
    return this.#regions[n];
  }

  load(): WebAssembly.Module | undefined {
    if (this.#module) return this.#module;
    const found = this.#file.readModule(this.#stored);
    if (found === undefined) return undefined;
    const { wasm, optimised } = found;
    const module = optimised && moduleOf(wasm, optimised);
    this.#module = module ?? lazyModule(wasm);
    // V8 has a copy.
    wasm.buffer.transfer(0);
    this.#onUse({ at: this.#stored.at, isRefused: module === undefined });
    return this.#module;
  }
}

/** Where a region is: in which bundle, and which of its regions. */
type Origin = { readonly bundle: Bundle; readonly n: number };

/** Kept regions, for one thread. `onUse` is told of the bundles that run. */
export function openKept(path: string, onUse: (use: Use) => void): KeptCode | undefined {
  const file = CodeFile.open(path);
  if (file === undefined) return undefined;
  const byHash = new Map<number, Origin[]>();
  for (const stored of file.index.bundles) {
    const bundle = new Bundle(file, stored, onUse);
    for (const [n, { entries }] of stored.regions.entries())
      for (const { hash } of entries) {
        const known = byHash.get(hash);
        if (known) known.push({ bundle, n });
        else byHash.set(hash, [{ bundle, n }]);
      }
  }
  const warm = new Set(file.index.warm);
  const origins = new WeakMap<KeptRegion, Origin>();
  return {
    has: (hash) => byHash.has(hash),
    wasWarm: (hash) => warm.has(hash),
    *find(hash) {
      const found = byHash.get(hash) ?? [];
      // What is there already takes nothing to load.
      for (const isLoaded of [true, false])
        for (const origin of found) {
          if (origin.bundle.isLoaded !== isLoaded) continue;
          const region = origin.bundle.region(origin.n);
          if (region === undefined) continue;
          origins.set(region, origin);
          yield region;
        }
    },
    load: (region): RegionFunction | undefined => {
      const origin = origins.get(region);
      const module = origin?.bundle.load();
      return origin && module && { module, name: String(origin.n) };
    },
  };
}

/** A region and its own module. */
type Made = { readonly region: KeptRegion; readonly id: string; readonly wasm: Uint8Array<ArrayBuffer> };

/** What one run adds to a file. */
export class CodeCollector {
  readonly #path: string;
  readonly #file: CodeFile | undefined;
  readonly #limits: Limits;
  /** By id, in the order in which they came. */
  readonly #made = new Map<string, Made>();
  #madeBytes = 0;
  /** Ids, and hashes of entries. */
  readonly #inFile: ReadonlySet<string>;
  readonly #entries: ReadonlySet<number>;
  readonly #wasWarm: ReadonlySet<number>;
  /** Where the bundles lie that were used, and those of them that V8 has to optimise anew. */
  readonly #used = new Set<number>();
  #usedBytes = 0;
  readonly #refused = new Set<number>();
  /** Runs of blocks that were not compiled, by their hashes. */
  readonly #warm = new Map<number, number>();

  constructor(path: string, limits: Partial<Limits> = {}) {
    this.#path = path;
    this.#limits = { ...LIMITS, ...limits };
    this.#file = CodeFile.open(path);
    const regions = this.#file?.index.bundles.flatMap((bundle) => bundle.regions) ?? [];
    this.#inFile = new Set(regions.map(({ id }) => id));
    this.#entries = new Set(regions.flatMap(({ entries }) => entries.map(({ hash }) => hash)));
    this.#wasWarm = new Set(this.#file?.index.warm);
  }

  readonly add = (region: KeptRegion, wasm: Uint8Array<ArrayBuffer>): void => {
    const id = regionId(region, wasm);
    if (this.isFull || this.#inFile.has(id) || this.#made.has(id)) return;
    this.#made.set(id, { region, id, wasm });
    this.#madeBytes += wasm.length;
  };

  /** This run adds no more: a later one may. */
  get isFull(): boolean {
    const { made, used } = this.#limits;
    return this.#madeBytes >= made || this.#usedBytes + this.#madeBytes * (1 + GROWTH) >= used;
  }

  readonly used = ({ at, isRefused }: Use): void => {
    const stored = this.#file?.index.bundles.find((bundle) => bundle.at === at);
    // Another process may have replaced the file that the vCPU reads.
    if (stored === undefined || this.#used.has(at)) return;
    this.#used.add(at);
    this.#usedBytes += stored.wasm + stored.optimised;
    if (isRefused) this.#refused.add(at);
  };

  /** Takes note of what a vCPU's interpreter ran. */
  addRuns(blocks: Iterable<BlockRuns>): void {
    for (const { hash, runs } of blocks) this.#warm.set(hash, (this.#warm.get(hash) ?? 0) + runs);
  }

  /** After how many runs a block with a hash was to be reported. */
  readonly runsBefore = (hash: number): number | undefined =>
    this.#entries.has(hash) || this.#wasWarm.has(hash) ? RUNS_BEFORE : undefined;

  /** Hashes of the blocks that are worth compiling in the next run. */
  #warmest(): number[] {
    const found = [...this.#warm].sort(([, a], [, b]) => b - a).slice(0, MOST_WARM);
    return found.map(([hash]) => hash);
  }

  /** Writes the file if there is anything new. @throws what the file system says */
  save(): void {
    const file = this.#file;
    const old = file?.index.bundles ?? [];
    const warm = this.#warmest();
    if (this.#made.size === 0 && warm.length === 0 && this.#refused.size === 0) {
      if (this.#used.size > 0) touch(this.#path);
      return;
    }
    const run = 1 + old.reduce((most, stored) => Math.max(most, stored.run), 0);
    const taken = this.#taken(old);
    const bundle = this.#bundle(taken, run);
    const rest = old
      .filter((stored) => !taken.includes(stored))
      .map((stored): Entry => {
        const bytes = (file as CodeFile).raw(stored);
        return { stored: this.#used.has(stored.at) ? { ...stored, run } : stored, bytes };
      });
    // What is new comes after what has been of use.
    const entries = [...rest, ...(bundle ? [bundle] : [])].sort((a, b) => b.stored.run - a.stored.run);
    let size = 0;
    writeCodeFile(
      this.#path,
      entries.filter(({ bytes }) => (size += bytes.length) <= this.#limits.file),
      warm,
    );
    dropOldFiles(this.#path);
  }

  /** Bundles that a new one takes in: those to be optimised anew, and, so that they get few, each small one that is no larger than what it has besides. */
  #taken(bundles: readonly StoredBundle[]): StoredBundle[] {
    const taken = bundles.filter(({ at }) => this.#refused.has(at));
    let bytes = taken.reduce((sum, { wasm }) => sum + wasm, this.#madeBytes);
    for (const bundle of bundles.toSorted((a, b) => a.wasm - b.wasm)) {
      if (bundle.wasm > Math.min(bytes, this.#limits.taken) || taken.includes(bundle)) continue;
      taken.push(bundle);
      bytes += bundle.wasm;
    }
    return taken;
  }

  /** What there is in some bundles and what is new as one bundle; undefined if that is nothing. */
  #bundle(from: readonly StoredBundle[], run: number): Entry | undefined {
    const regions: Omit<Made, 'wasm'>[] = [];
    const modules: Uint8Array[] = [];
    for (const stored of from) {
      const known = this.#file?.readRegions(stored);
      const module = this.#file?.readModule(stored);
      if (!known || !module) continue;
      regions.push(...known.map((region, n) => ({ region, id: stored.regions[n].id })));
      modules.push(module.wasm);
    }
    for (const made of this.#made.values()) {
      regions.push(made);
      modules.push(made.wasm);
    }
    if (regions.length === 0) return undefined;
    const wasm = another(linkModules(modules), run);
    return entryOf(regions, { wasm, optimised: optimise(wasm) }, run);
  }
}

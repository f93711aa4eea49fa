/** What was compiled of guests' code, kept in a folder for later runs: whoever starts the same guest again need not wait until it is fast. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type CompileService, engineId, type KeptCode, type KeptRegion } from '@tsvisor/machines/compiler';
import { CodeFile, type Entry, entryOf, type Stored, type StoredRegion, writeCodeFile } from './file.ts';
import { instanceToAsk, moduleOf, optimisedCode } from './optimised.ts';

/** Bytes of a file; beyond, what has not been of use for longest goes. */
const LIMIT = 48 << 20;

/** Where code for vCPUs like this one is kept: it is good for the same engine alone, and what V8 made of it for the same V8. */
export function codePath(folder: string, { features, atomic }: Pick<CompileService, 'features' | 'atomic'>): string {
  const { v8 } = process.versions;
  const text = JSON.stringify([engineId, v8, process.arch, [...features].sort(), atomic]);
  return join(folder, `regions-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`);
}

/** Kept regions, for one thread. `onUse` is told which of them run. */
export function openKept(path: string, onUse: (stored: Stored) => void): KeptCode | undefined {
  const file = CodeFile.open(path);
  if (file === undefined) return undefined;
  const byHash = new Map<number, Stored[]>();
  for (const stored of file.index)
    for (const { hash } of stored.entries) {
      const known = byHash.get(hash);
      if (known) known.push(stored);
      else byHash.set(hash, [stored]);
    }
  const read = new WeakMap<KeptRegion, StoredRegion & { readonly stored: Stored }>();
  return {
    has: (hash) => byHash.has(hash),
    *find(hash) {
      for (const stored of byHash.get(hash) ?? []) {
        const found = file.read(stored);
        if (found === undefined) continue;
        read.set(found.region, { ...found, stored });
        yield found.region;
      }
    },
    load: (region) => {
      const { optimised, stored } = read.get(region) as StoredRegion & { readonly stored: Stored };
      onUse(stored);
      return (optimised && moduleOf(region.wasm, optimised)) ?? new WebAssembly.Module(region.wasm);
    },
  };
}

/** What one run adds to a file. */
export class CodeCollector {
  readonly #path: string;
  readonly #file: CodeFile | undefined;
  readonly #made: { readonly region: KeptRegion; readonly module: WebAssembly.Module }[] = [];
  /** By the place in the file. */
  readonly #used = new Set<number>();
  /** Used, but the file has no optimised code of it. */
  readonly #slow = new Map<number, { readonly region: KeptRegion; readonly module: WebAssembly.Module }>();

  readonly #memory: WebAssembly.Memory;

  readonly #limit: number;

  /** @param memory one that the modules can be instantiated with; @param limit bytes of the regions in the file */
  constructor(path: string, memory: WebAssembly.Memory, limit = LIMIT) {
    this.#limit = limit;
    this.#path = path;
    this.#memory = memory;
    this.#file = CodeFile.open(path);
  }

  readonly add = (region: KeptRegion, module: WebAssembly.Module): void => {
    this.#made.push({ region, module });
  };

  used({ at, crc, optimised }: Stored): void {
    // Another process may have replaced the file that the vCPU reads.
    const stored = this.#file?.index.find((one) => one.at === at && one.crc === crc);
    if (stored === undefined || this.#used.has(at)) return;
    this.#used.add(at);
    if (optimised > 0) return;
    const found = this.#file?.read(stored);
    // V8 has but one module of the same bytes in a process: this one is optimised when the one that runs is.
    if (found) this.#slow.set(at, { region: found.region, module: new WebAssembly.Module(found.region.wasm) });
  }

  #optimised(module: WebAssembly.Module): Uint8Array | undefined {
    const { f } = instanceToAsk(module, this.#memory).exports;
    return f && optimisedCode(module, f);
  }

  /** Writes the file if there is anything new. @throws what the file system says */
  save(): void {
    const index = this.#file?.index ?? [];
    const run = 1 + index.reduce((most, stored) => Math.max(most, stored.run), 0);
    const improved = new Map<number, Entry>();
    for (const [at, { region, module }] of this.#slow) {
      const optimised = this.#optimised(module);
      if (optimised) improved.set(at, entryOf({ region, optimised }, run));
    }
    if (this.#made.length === 0 && improved.size === 0) return;
    const entries = this.#made.map(({ region, module }) => entryOf({ region, optimised: this.#optimised(module) }, run));
    const old = index.map((stored): Entry => {
      const { at } = stored;
      if (improved.has(at)) return improved.get(at) as Entry;
      const bytes = (this.#file as CodeFile).raw(stored);
      return { stored: this.#used.has(at) ? { ...stored, run } : stored, bytes };
    });
    entries.push(...old.sort((a, b) => b.stored.run - a.stored.run));
    let size = 0;
    const kept = entries.filter(({ bytes }) => (size += bytes.length) <= this.#limit);
    writeCodeFile(this.#path, kept);
  }
}

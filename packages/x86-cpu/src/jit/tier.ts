/** The compiled tier of one processor: compiles hot regions, and drops them when their code changes or there are too many. */
import type { CoreImage } from '../core/build.ts';
import { FIRST_REGION, Handler } from '../core/interpreter.ts';
import { codeSize, ModeKey } from '../records/mode-key.ts';
import type { Translator } from '../records/translator.ts';
import { REGION_TABLE, Record } from '../state.ts';
import type { CompiledRegion } from './compile.ts';
import { compileRegion } from './compile.ts';
import type { Region } from './region.ts';
import { discover } from './region.ts';

const PAGE = 4096;
/** A block belongs to a region if it ran at least a 64th as often as the one that was hot. */
const WARM = 64;

type Compiled = {
  readonly slot: number;
  readonly headers: readonly number[];
  readonly pages: readonly number[];
  readonly bytes: number;
};

/** What the tier needs of its processor. */
export type TierHost = {
  readonly image: CoreImage;
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly env: WebAssembly.ModuleImports;
  /** Address of the table in which regions note where they found their pages in place. */
  readonly regionTable: number;
  readonly core: () => WebAssembly.ModuleImports;
  readonly translator: () => Translator;
  /** Host address of the code page at a distance from the one that is running, or 0 if no instruction was fetched from it lately. */
  readonly hostPage: (offset: number) => number;
  /** Runs of a block before it is hot. */
  readonly heat: number;
  /** WebAssembly bytes of all regions together before the oldest are dropped. */
  readonly limit: number;
  /** Build with the checks of the module builder. */
  readonly checked: boolean;
  /** Told of each region, with a trace. */
  readonly onRegion?: (region: Region, compiled: CompiledRegion) => void;
};

export class RegionTier {
  readonly #host: TierHost;
  readonly #bytes: Uint8Array;
  readonly #u16: Uint16Array;
  /** In the order in which they were compiled. */
  readonly #regions = new Set<Compiled>();
  readonly #pages = new Map<number, Set<Compiled>>();
  readonly #free: number[] = [];
  #nextSlot = FIRST_REGION;
  #liveBytes = 0;
  readonly counts = { compiled: 0, dropped: 0, evicted: 0, bytes: 0, instructions: 0, milliseconds: 0 };

  constructor(host: TierHost) {
    this.#host = host;
    this.#bytes = new Uint8Array(host.memory.buffer);
    this.#u16 = new Uint16Array(host.memory.buffer);
  }

  /** Regions that exist now, and their bytes. */
  get live(): { readonly regions: number; readonly bytes: number } {
    return { regions: this.#regions.size, bytes: this.#liveBytes };
  }

  /** Compiles the region around a hot block, which is about to run. Blocks that cannot be compiled stay with the interpreter. */
  compile(header: number): void {
    const start = performance.now();
    const region = this.#discover(header);
    if (region) this.#compile(region);
    this.counts.milliseconds += performance.now() - start;
  }

  #discover(header: number): Region | undefined {
    const translator = this.#host.translator();
    const key = translator.keyOf(header);
    const host = translator.hostOf(header);
    if (key & ModeKey.STEP || codeSize(key) === 16 || translator.isCrossing(header)) return undefined;
    const runs = Math.max(1, Math.floor(this.#host.heat / WARM));
    const source = {
      bytes: this.#bytes,
      codeSize: codeSize(key),
      describe: (insn: Parameters<Translator['describe']>[0]) => translator.describe(insn, key),
      hostPage: (offset: number) => (offset === 0 ? host - (host % PAGE) : this.#host.hostPage(offset)),
      headerAt: (at: number) => (at === host ? header : translator.warmHeader(at, key, runs)),
      warm: (page: number) => translator.warmBlocks(page, key, runs),
      targetOf: (record: number) => translator.targetOf(record),
      countOf: (block: number) => translator.countOf(block),
      recordSize: Record.size,
    };
    return discover(source, key, host % PAGE);
  }

  #compile(region: Region): void {
    const translator = this.#host.translator();
    const slot = this.#takeSlot();
    const { image, checked, onRegion } = this.#host;
    const result = compileRegion(image, region, slot, { checked, trace: onRegion !== undefined });
    const { bytes, entries } = result;
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: this.#host.env, core: this.#host.core() });
    this.#host.table.set(slot, instance.exports.f);
    for (const { header, page } of entries) translator.setHandler(header, slot, page);
    const compiled = {
      slot,
      headers: entries.map((entry) => entry.header),
      pages: region.pages.map((page) => page.host),
      bytes: bytes.length,
    };
    this.#regions.add(compiled);
    for (const page of compiled.pages) {
      const known = this.#pages.get(page);
      if (known) known.add(compiled);
      else this.#pages.set(page, new Set([compiled]));
    }
    this.#liveBytes += bytes.length;
    this.counts.compiled++;
    this.counts.bytes += bytes.length;
    for (const { instructions } of region.blocks.values()) this.counts.instructions += instructions.length;
    onRegion?.(region, result);
  }

  /** A free handler number; makes room first. */
  #takeSlot(): number {
    for (const oldest of this.#regions) {
      const full = this.#free.length === 0 && this.#nextSlot === FIRST_REGION + REGION_TABLE.entries;
      if (!full && this.#liveBytes <= this.#host.limit) break;
      this.#remove(oldest);
      this.counts.evicted++;
    }
    const slot = this.#free.pop() ?? this.#nextSlot++;
    // What the slot's last region found out about its pages says nothing of the next one's. No tag is 0.
    const place = this.#host.regionTable + (slot - FIRST_REGION) * REGION_TABLE.entryBytes;
    this.#bytes.fill(0, place, place + REGION_TABLE.entryBytes);
    return slot;
  }

  #remove(compiled: Compiled): void {
    const { slot, headers, pages, bytes } = compiled;
    for (const header of headers) {
      // A header may have been given to a later region.
      if (this.#u16[(header + Record.handler) >>> 1] === slot) this.#host.translator().setHandler(header, Handler.Header, 0);
    }
    this.#host.table.set(slot, null);
    this.#free.push(slot);
    this.#regions.delete(compiled);
    this.#liveBytes -= bytes;
    for (const page of pages) {
      const others = this.#pages.get(page);
      others?.delete(compiled);
      if (others?.size === 0) this.#pages.delete(page);
    }
  }

  /** Code of a page changed: the blocks of regions that reach into it are the interpreter's again. */
  drop(page: number): void {
    for (const compiled of [...(this.#pages.get(page) ?? [])]) {
      this.#remove(compiled);
      this.counts.dropped++;
    }
  }

  /** All translations are dropped. */
  dropAll(): void {
    for (const compiled of [...this.#regions]) this.#remove(compiled);
  }
}

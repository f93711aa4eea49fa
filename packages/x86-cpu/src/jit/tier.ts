/** The compiled tier of one processor: has hot regions compiled, and drops them when their code changes or there are too many. */
import { FIRST_REGION, Handler } from '../core/interpreter.ts';
import { codeSize, ModeKey } from '../records/mode-key.ts';
import type { Translator, WatchedCode } from '../records/translator.ts';
import { REGION_TABLE, Record } from '../state.ts';
import { ByHost } from './by-host.ts';
import { fetchedPage } from './fetched-page.ts';
import type { CompiledJob, CompileJob } from './job.ts';
import { holdsCode } from './job.ts';
import { codeHash, type KeptCode, placeRegion, RUNS_BEFORE } from './kept.ts';
import type { Pace } from './pace.ts';
import type { OfferedBlocks } from './service.ts';

/** Runs of a hot block before it is reported again, if it came at a bad time. */
const AGAIN = 1000;
const LONG = 1 << 24;
/** Runs of a block before a region is asked for that is there already: to put it in place takes time, too. */
const SOON = 500;
const MOST_OFFERED = 20_000;
/** How often kept regions are looked through for a block. */
const TRIES = 4;

type Compiled = {
  readonly slot: number;
  readonly key: number;
  readonly entries: CompiledJob['entries'];
  /** What it watches of the translator's pages. */
  readonly code: readonly WatchedCode[];
  readonly bytes: number;
  /** Its module goes with it: others that are kept from earlier runs are many regions', and stay. */
  readonly isAlone: boolean;
};

/** What the tier needs of its processor. */
export type TierHost = {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly env: WebAssembly.ModuleImports;
  readonly core: () => WebAssembly.ModuleImports;
  readonly translator: () => Translator;
  /** Address of the words that say where a region's pages were found in place (state.ts, `REGION_TABLE`). */
  readonly regionTable: number;
  /** Where the block that runs is, for the compilation to find its neighbours. */
  readonly place: () => Pick<CompileJob, 'pageRip' | 'codeBase' | 'tlbFetch'>;
  readonly pace: Pace;
  /** Runs of a block before it is hot. */
  readonly heat: number;
  readonly kept: KeptCode | undefined;
  /** WebAssembly bytes of all regions with modules of their own together before the oldest of them are dropped. */
  readonly limit: number;
  /** Compiles, now or elsewhere, and hands over the result: undefined if there is nothing to compile. */
  readonly compile: (job: CompileJob, done: (compiled: CompiledJob | undefined) => void) => void;
  /** Compiles for later runs, when there is nothing else to do; undefined if nothing is kept for them. */
  readonly compileAhead: ((job: CompileJob) => void) | undefined;
};

export class RegionTier {
  readonly #host: TierHost;
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #i32: Int32Array;
  /** In the order in which they were compiled. */
  readonly #regions = new Set<Compiled>();
  /** Regions by host address of the entries that the interpreter has no record of, so far. */
  readonly #unmet = new ByHost<Compiled>();
  /** Blocks for which there is a region that another vCPU had made: their mode keys by their host addresses. */
  readonly #offered = new Map<number, number>();
  readonly #free: number[] = [];
  #nextSlot = FIRST_REGION;
  #liveBytes = 0;
  /** Those of regions with modules of their own. */
  #aloneBytes = 0;
  /** A region is being compiled. */
  #busy = false;
  /** Headers of blocks for which no kept region was of use, by how often that was looked at. */
  readonly #misfits = new Map<number, number>();
  /** Headers of blocks around which regions for later runs have been asked for. */
  readonly #asked = new Set<number>();
  /** Many regions may be of one module. */
  readonly #instances = new WeakMap<WebAssembly.Module, WebAssembly.Instance>();
  readonly counts = {
    compiled: 0,
    dropped: 0,
    evicted: 0,
    late: 0,
    shared: 0,
    kept: 0,
    bytes: 0,
    instructions: 0,
    milliseconds: 0,
  };

  constructor(host: TierHost) {
    this.#host = host;
    this.#u8 = new Uint8Array(host.memory.buffer);
    this.#u16 = new Uint16Array(host.memory.buffer);
    this.#i32 = new Int32Array(host.memory.buffer);
  }

  /** Regions that exist now, and their bytes. */
  get live(): { readonly regions: number; readonly bytes: number } {
    return { regions: this.#regions.size, bytes: this.#liveBytes };
  }

  /** Has the region around a hot block compiled, which is about to run. Blocks that cannot be compiled stay with the interpreter. */
  compile(header: number): void {
    const start = performance.now();
    const translator = this.#host.translator();
    const key = translator.keyOf(header);
    const host = translator.hostOf(header);
    if (this.#placeKept(header, host, key)) {
      this.counts.milliseconds += performance.now() - start;
      return;
    }
    if (this.#askAhead(header, host, key)) return;
    const { pace } = this.#host;
    const runs = this.#isOffered(host, key) ? 0 : pace.report(header, start);
    if (runs > 0) {
      translator.countDown(header, runs);
      return;
    }
    // While a region is made, others of its blocks get hot that will be in it. They are asked again soon.
    if (this.#busy) {
      translator.countDown(header, AGAIN);
      return;
    }
    pace.forget(header);
    this.#offered.delete(host);
    // What cannot be compiled now is not asked for all the time.
    translator.countDown(header, LONG);
    if (!this.#isCompilable(header, key)) return;
    this.#busy = true;
    this.#host.compile({ key, host, ...this.#host.place() }, (compiled) => {
      this.#busy = false;
      if (!compiled || this.#install(compiled)) return;
      this.counts.late++;
      if (this.#u16[(header + Record.handler) >>> 1] === Handler.Header) translator.countDown(header, AGAIN);
    });
    this.counts.milliseconds += performance.now() - start;
  }

  #isCompilable(header: number, key: number): boolean {
    return (key & (ModeKey.STEP | ModeKey.ALIGNED)) === 0 && codeSize(key) !== 16 && !this.#host.translator().isCrossing(header);
  }

  /** Has a region made for later runs around a block that ran often in an earlier one; false if it was not so, or that has been asked for. */
  #askAhead(header: number, host: number, key: number): boolean {
    const { kept, compileAhead, heat } = this.#host;
    if (!compileAhead || this.#asked.has(header) || !kept?.wasWarm(codeHash(this.#u8, host, key))) return false;
    this.#asked.add(header);
    // It may get hot in this one, too; and its neighbours' compilation is to see how often it ran.
    this.#host.translator().countDown(header, heat - RUNS_BEFORE);
    if (this.#isCompilable(header, key)) compileAhead({ key, host, ...this.#host.place() });
    return true;
  }

  /** Has a region of an earlier run in the place of a block, which ran often enough to be worth that; false if the block is to go the usual way. */
  #placeKept(header: number, host: number, key: number): boolean {
    const { kept, heat } = this.#host;
    if (kept === undefined) return false;
    const hash = codeHash(this.#u8, host, key);
    const tried = this.#misfits.get(header) ?? 0;
    if (tried === TRIES || !kept.has(hash)) return false;
    const translator = this.#host.translator();
    const ground = { key, ...this.#host.place() };
    const hostPage = (distance: number): number => fetchedPage(this.#i32, ground, distance);
    for (const region of kept.find(hash)) {
      const placed = placeRegion(region, { memory: this.#u8, host, key, hostPage });
      if (!placed) continue;
      const loaded = kept.load(region);
      if (!loaded) continue;
      translator.countDown(header, LONG);
      if (this.#install({ ...placed, ...loaded })) return true;
    }
    this.#askAhead(header, host, key);
    // Some of its pages may not have been run from lately.
    this.#misfits.set(header, tried + 1);
    translator.countDown(header, tried + 1 < TRIES ? RUNS_BEFORE << tried : heat);
    return true;
  }

  /** False if its code is another by now. */
  #install(region: CompiledJob): boolean {
    const translator = this.#host.translator();
    const { key, entries, bytes, instructions } = region;
    let isStale = false;
    const changed = (): void => {
      isStale = true;
      this.#drop(compiled);
    };
    const watched = region.code.map(({ host, bytes }): WatchedCode => {
      return { host, end: host + bytes.length, secondPage: 0, secondEnd: 0, changed };
    });
    const isAlone = region.origin !== 'kept';
    const compiled: Compiled = { slot: this.#takeSlot(), key, entries, code: watched, bytes, isAlone };
    // Who writes there from here on says so, at once even, while others are told to ask first; who has written before has left other bytes.
    for (const code of watched) translator.watch(code);
    if (isStale || !holdsCode(this.#u8, region.code)) {
      for (const code of watched) translator.unwatch(code);
      this.#free.push(compiled.slot);
      return false;
    }
    this.#regions.add(compiled);
    this.#start(compiled.slot, region);
    for (const entry of entries) {
      const header = translator.find(entry.host, key);
      if (header !== 0) translator.setHandler(header, compiled.slot, entry.page);
      else this.#unmet.add(entry.host, compiled);
    }
    this.#liveBytes += bytes;
    if (isAlone) this.#aloneBytes += bytes;
    this.counts.compiled++;
    if (region.origin === 'shared') this.counts.shared++;
    if (region.origin === 'kept') this.counts.kept++;
    this.counts.bytes += bytes;
    this.counts.instructions += instructions;
    return true;
  }

  /** Puts a region's function into its slot. */
  #start(slot: number, { module, name, pages }: CompiledJob): void {
    const { table, regionTable } = this.#host;
    const checked = regionTable + (slot - FIRST_REGION) * REGION_TABLE.entryBytes;
    // An earlier region had this slot; what was found out about its pages says nothing of this one's. No page has an odd address.
    this.#i32.fill(-1, checked >>> 2, (checked + REGION_TABLE.pages) >>> 2);
    for (const [n, { host }] of pages.entries()) this.#i32[(checked + REGION_TABLE.pages + 4 * n) >>> 2] = host;
    table.set(slot, this.#instanceOf(module).exports[name]);
  }

  #instanceOf(module: WebAssembly.Module): WebAssembly.Instance {
    const known = this.#instances.get(module);
    if (known) return known;
    const { env, core } = this.#host;
    const instance = new WebAssembly.Instance(module, { env, core: core() });
    this.#instances.set(module, instance);
    return instance;
  }

  /** For these blocks there is a region already: to have it takes no more than to ask. */
  offer({ key, entries }: OfferedBlocks): void {
    const translator = this.#host.translator();
    if (this.#offered.size > MOST_OFFERED) this.#offered.clear();
    for (const { host } of entries) {
      this.#offered.set(host, key);
      const header = translator.find(host, key);
      if (header !== 0 && this.#u16[(header + Record.handler) >>> 1] === Handler.Header) translator.countDownTo(header, SOON);
    }
  }

  #isOffered(host: number, key: number): boolean {
    return this.#offered.get(host) === key;
  }

  /** The interpreter has a record of a block now, which a region may be waiting for. */
  translated(header: number, host: number, key: number): void {
    const translator = this.#host.translator();
    const { kept } = this.#host;
    if (this.#isOffered(host, key)) translator.countDownTo(header, SOON);
    if (kept !== undefined) {
      const hash = codeHash(this.#u8, host, key);
      if (kept.has(hash) || kept.wasWarm(hash)) translator.countDownTo(header, RUNS_BEFORE);
    }
    for (const compiled of this.#unmet.at(host)) {
      const entry = compiled.key === key && compiled.entries.find((one) => one.host === host);
      if (!entry) continue;
      translator.setHandler(header, compiled.slot, entry.page);
      this.#unmet.delete(host, compiled);
    }
  }

  /** A free handler number; makes room first. */
  #takeSlot(): number {
    for (const oldest of this.#regions) {
      const isFull = this.#free.length === 0 && this.#nextSlot === FIRST_REGION + REGION_TABLE.entries;
      if (!isFull && this.#aloneBytes <= this.#host.limit) break;
      if (!isFull && !oldest.isAlone) continue;
      this.#remove(oldest);
      this.counts.evicted++;
    }
    return this.#free.pop() ?? this.#nextSlot++;
  }

  #remove(compiled: Compiled): void {
    const translator = this.#host.translator();
    const { slot, key, entries, code, bytes, isAlone } = compiled;
    for (const { host } of entries) {
      const header = translator.find(host, key);
      // It may have been given to a later region.
      if (header !== 0 && this.#u16[(header + Record.handler) >>> 1] === slot) translator.setHandler(header, Handler.Header, 0);
      this.#unmet.delete(host, compiled);
    }
    for (const one of code) translator.unwatch(one);
    this.#host.table.set(slot, null);
    this.#free.push(slot);
    this.#regions.delete(compiled);
    this.#liveBytes -= bytes;
    if (isAlone) this.#aloneBytes -= bytes;
  }

  /** Its code changed, maybe in several places. */
  #drop(compiled: Compiled): void {
    if (!this.#regions.has(compiled)) return;
    this.#remove(compiled);
    this.counts.dropped++;
  }

  /** Before all translations are forgotten. */
  dropAll(): void {
    this.#host.pace.clear();
    for (const compiled of [...this.#regions]) this.#remove(compiled);
    this.#unmet.clear();
    this.#offered.clear();
    this.#misfits.clear();
    this.#asked.clear();
  }
}

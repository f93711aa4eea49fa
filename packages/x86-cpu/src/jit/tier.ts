/** The compiled tier of one processor: has hot regions compiled, and drops them when their code changes or there are too many. */
import { FIRST_REGION, Handler } from '../core/interpreter.ts';
import { codeSize, ModeKey } from '../records/mode-key.ts';
import type { Translator } from '../records/translator.ts';
import { REGION_TABLE, Record } from '../state.ts';
import type { CompiledJob, CompileJob } from './job.ts';
import type { Pace } from './pace.ts';

const NEVER = -1;
/** Runs of a hot block before it is reported again, if it came at a bad time. */
const AGAIN = 1000;
const LONG = 1 << 24;

type Compiled = {
  readonly slot: number;
  /** Headers that run it. */
  readonly entries: readonly number[];
  /** Headers of all blocks in it. As long as they are current, a write to its code is noticed. */
  readonly headers: ReadonlySet<number>;
  readonly pages: readonly number[];
  readonly bytes: number;
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
  /** WebAssembly bytes of all regions together before the oldest are dropped. */
  readonly limit: number;
  /** Compiles, now or elsewhere, and hands over the result: undefined if there is nothing to compile. */
  readonly compile: (job: CompileJob, done: (compiled: CompiledJob | undefined) => void) => void;
};

export class RegionTier {
  readonly #host: TierHost;
  readonly #u16: Uint16Array;
  readonly #i32: Int32Array;
  /** In the order in which they were compiled. */
  readonly #regions = new Set<Compiled>();
  readonly #pages = new Map<number, Set<Compiled>>();
  readonly #free: number[] = [];
  #nextSlot = FIRST_REGION;
  #liveBytes = 0;
  /** Changes of code so far, and which was the last to concern a page: what was compiled before is void. Page 0 stands for all. */
  #changes = 0;
  readonly #changed = new Map<number, number>();
  /** A region is being compiled. */
  #busy = false;
  readonly counts = { compiled: 0, dropped: 0, evicted: 0, late: 0, bytes: 0, instructions: 0, milliseconds: 0 };

  constructor(host: TierHost) {
    this.#host = host;
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
    const { pace } = this.#host;
    const runs = pace.report(header, start);
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
    // What cannot be compiled now is not asked for all the time.
    translator.countDown(header, LONG);
    if (key & (ModeKey.STEP | ModeKey.ALIGNED) || codeSize(key) === 16 || translator.isCrossing(header)) return;
    const change = this.#changes;
    const slot = this.#takeSlot();
    if (slot === undefined) return;
    const job = { header, key, host, slot, ...this.#host.place() };
    this.#busy = true;
    this.#host.compile(job, (compiled) => {
      this.#busy = false;
      if (compiled && this.#isCurrent(compiled, change)) this.#install(compiled);
      else {
        this.#free.push(slot);
        // Its code is another now, or its neighbours' is.
        if (compiled && this.#u16[(header + Record.handler) >>> 1] === Handler.Header) translator.countDown(header, AGAIN);
      }
    });
    this.counts.milliseconds += performance.now() - start;
  }

  /** Whether no code of the region's pages has changed since it was asked for. */
  #isCurrent({ pages }: CompiledJob, change: number): boolean {
    const current = [0, ...pages].every((page) => (this.#changed.get(page) ?? NEVER) <= change);
    if (!current) this.counts.late++;
    return current;
  }

  #install(region: CompiledJob): void {
    const { slot, module, entries, headers, pages, bytes, instructions } = region;
    const translator = this.#host.translator();
    // An earlier region had this slot; what was found out about its pages says nothing of this one's. No page has an odd address.
    this.#i32.fill(-1, this.#wordsOf(slot), this.#wordsOf(slot + 1));
    const instance = new WebAssembly.Instance(module, { env: this.#host.env, core: this.#host.core() });
    this.#host.table.set(slot, instance.exports.f);
    for (const { header, page } of entries) translator.setHandler(header, slot, page);
    const compiled = { slot, entries: entries.map((entry) => entry.header), headers: new Set(headers), pages, bytes };
    this.#regions.add(compiled);
    for (const page of pages) {
      const known = this.#pages.get(page);
      if (known) known.add(compiled);
      else this.#pages.set(page, new Set([compiled]));
    }
    this.#liveBytes += bytes;
    this.counts.compiled++;
    this.counts.bytes += bytes;
    this.counts.instructions += instructions;
  }

  #wordsOf(slot: number): number {
    return (this.#host.regionTable + (slot - FIRST_REGION) * REGION_TABLE.entryBytes) >>> 2;
  }

  /** A free handler number; makes room first. None, if all are of regions that are being compiled. */
  #takeSlot(): number | undefined {
    const full = (): boolean => this.#free.length === 0 && this.#nextSlot === FIRST_REGION + REGION_TABLE.entries;
    for (const oldest of this.#regions) {
      if (!full() && this.#liveBytes <= this.#host.limit) break;
      this.#remove(oldest);
      this.counts.evicted++;
    }
    return full() ? undefined : (this.#free.pop() ?? this.#nextSlot++);
  }

  #remove(compiled: Compiled): void {
    const { slot, entries, pages, bytes } = compiled;
    for (const header of entries) {
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

  /** What is being compiled now must not be installed if it has to do with a page; 0: with any. */
  #change(page: number): void {
    if (this.#busy) this.#changed.set(page, ++this.#changes);
    else if (this.#changed.size > 0) this.#changed.clear();
  }

  /** Code of a page changed, and with it these blocks: what regions hold of them is the interpreter's again. */
  drop(page: number, headers: readonly number[]): void {
    this.#change(page);
    for (const compiled of [...(this.#pages.get(page) ?? [])]) {
      if (!headers.some((header) => compiled.headers.has(header))) continue;
      this.#remove(compiled);
      this.counts.dropped++;
    }
  }

  /** All translations are dropped. */
  dropAll(): void {
    this.#change(0);
    this.#host.pace.clear();
    for (const compiled of [...this.#regions]) this.#remove(compiled);
  }
}

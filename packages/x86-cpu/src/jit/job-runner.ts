/**
 * One compilation: from a hot block to a WebAssembly module. All that it needs of its vCPU is in linear memory, so it can be done by another
 * thread while the vCPU runs on. What changes meanwhile does no harm: whoever asked throws the result away if its code has changed,
 * and a region that was found through other mappings is not entered (`#checkPages` in compile.ts).
 */
import { FIRST_REGION, Handler } from '../core/interpreter.ts';
import { BlockTable } from '../records/block-table.ts';
import { pageOf } from '../records/code-pages.ts';
import type { FormFinder } from '../records/form-finder.ts';
import { codeSize, hasLimitNumber } from '../records/mode-key.ts';
import { Record } from '../state.ts';
import { type CompiledRegion, compileRegion, REGION_EXPORT, type RegionImage } from './compile.ts';
import { fetchedPage } from './fetched-page.ts';
import type { CompiledJob, CompileJob } from './job.ts';
import { holdsCode } from './job.ts';
import { type BlockRuns, codeHash, type KeptRegion, keptOf, type RegionInPlace, RUNS_BEFORE } from './kept.ts';
import { MOST_RUNS } from './pace.ts';
import { discover, pageOfOffset, type Region, type RegionSource } from './region.ts';
import type { RegionPool } from './region-pool.ts';

const PAGE = 4096;
/** A block belongs to a region if it ran at least a quarter as often as the one that was hot. */
const WARM = 4;
/** Runs of a block from which on it might be of use to have it compiled in a later run. */
const REPEATED = 400;
/** Instructions of a function's first block: to call it otherwise would take more. */
const SMALL = 8;

/** Takes what may be of use in later runs. `wasm`: a module that can be linked. */
export type OnMade = (region: KeptRegion, wasm: Uint8Array<ArrayBuffer>) => void;
export type OnRegion = (region: Region, compiled: CompiledRegion) => void;

/** What compiles the regions of one vCPU. */
export class JobRunner {
  readonly #bytes: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #i32: Int32Array;
  readonly #table: BlockTable;
  readonly #forms: FormFinder;
  readonly #image: RegionImage;
  readonly #heat: number;
  readonly #checked: boolean;
  readonly #onRegion: OnRegion | undefined;
  readonly #pool: RegionPool | undefined;
  readonly #keep: OnMade | undefined;
  /** See `RegionPool`. */
  readonly #covered: Set<number>;
  /** Host addresses of the blocks that `ahead` was told of. */
  readonly #asked = new Set<number>();

  constructor(config: {
    readonly memory: WebAssembly.Memory;
    readonly blockTable: number;
    readonly forms: FormFinder;
    readonly image: RegionImage;
    readonly heat: number;
    readonly checked?: boolean;
    readonly onRegion?: OnRegion;
    readonly pool?: RegionPool;
    readonly keep?: OnMade;
  }) {
    const { buffer } = config.memory;
    this.#bytes = new Uint8Array(buffer);
    this.#u16 = new Uint16Array(buffer);
    this.#i32 = new Int32Array(buffer);
    this.#table = new BlockTable(config.memory, config.blockTable);
    this.#forms = config.forms;
    this.#image = config.image;
    this.#heat = config.heat;
    this.#checked = config.checked ?? false;
    this.#onRegion = config.onRegion;
    this.#pool = config.pool;
    this.#covered = config.pool?.covered ?? new Set();
    this.#keep = config.keep;
  }

  /** Compiles; undefined if there is nothing to compile. */
  run(job: CompileJob): CompiledJob | undefined {
    const known = this.#pool?.find(job.host, job.key, {
      holds: (code) => holdsCode(this.#bytes, code),
      hostPage: (distance) => (distance === 0 ? pageOf(job.host) : fetchedPage(this.#i32, job, distance)),
    });
    if (known) return { ...known, origin: 'shared' };
    const compiled = this.#compile(job, this.#source(job, this.#heat));
    if (!compiled) return undefined;
    const { region, wasm } = compiled;
    const made: CompiledJob = { ...region, module: new WebAssembly.Module(wasm), name: REGION_EXPORT };
    this.#pool?.add(made);
    return made;
  }

  /**
   * A block that runs often in each run, but never gets hot, is to be in a region that later runs have. What it returns compiles that, unless it has come to
   * pass by then: the later that is called, the more is known of what else is asked for.
   */
  ahead(job: CompileJob): () => void {
    this.#asked.add(job.host);
    return () => {
      if (this.#covered.has(job.host)) return;
      const source = this.#source(job, RUNS_BEFORE);
      this.#compile(job, {
        ...source,
        // Something else than the rest of its region leads there, too; or else the next run would ask again.
        isEntry: (host) => this.#asked.has(host),
        // A function that many call would be in many regions, of which none runs so often that it would be worth that.
        callee: (callee) => {
          if (!this.#covered.has(callee)) return 'entry';
          return source.countOf(this.#table.find(callee, job.key)) <= SMALL ? 'inside' : 'outside';
        },
      });
    };
  }

  /** Compiles, and says what there is to keep. */
  #compile(job: CompileJob, source: RegionSource): { region: RegionInPlace; wasm: Uint8Array<ArrayBuffer> } | undefined {
    const region = discover(source, job.key, job.host % PAGE);
    if (!region) return undefined;
    const options = { checked: this.#checked, trace: this.#onRegion !== undefined, linkable: this.#keep !== undefined };
    const compiled = compileRegion(this.#image, region, options);
    const { bytes: wasm } = compiled;
    const { key, pages, code } = region;
    const hosts = new Map(pages.map(({ offset, host }) => [offset, host]));
    const place = (offset: number): { host: number; page: number } => {
      const page = pageOfOffset(offset);
      return { host: (hosts.get(page) as number) + (offset - page), page };
    };
    const entries = compiled.entries.map(place);
    for (const offset of region.blocks.keys()) this.#covered.add(place(offset).host);
    this.#onRegion?.(region, compiled);
    let instructions = 0;
    for (const block of region.blocks.values()) instructions += block.instructions.length;
    const placed: RegionInPlace = { key, pages, code, entries, bytes: wasm.length, instructions, origin: 'made' };
    const kept = this.#keep && keptOf(placed, this.#bytes);
    // Bytes behind the end of a block may have changed meanwhile, which its hash then tells of: a region that is found by nobody.
    if (kept) this.#keep?.(kept, wasm);
    return { region: placed, wasm };
  }

  /** `heat`: how often its block ran at least. */
  #source(job: CompileJob, heat: number): RegionSource {
    const { key, host } = job;
    const runs = Math.max(1, Math.floor(heat / WARM));
    return {
      bytes: this.#bytes,
      codeSize: codeSize(key),
      describe: (insn) => this.#forms.describe(insn, key),
      hostPage: (offset) => (offset === 0 ? pageOf(host) : fetchedPage(this.#i32, job, offset)),
      headerAt: (at) => (at === host ? this.#table.find(host, key) : this.#warmHeader(at, key, runs)),
      runsOf: (at) => this.#runsOf(at),
      callee: () => 'inside',
      isEntry: () => false,
      warm: (page) => this.#warmBlocks(page, key, runs),
      targetOf: (record) => this.#i32[(record + Record.imm) >>> 2],
      countOf: (block) => this.#i32[(block + Record.b) >>> 2],
      recordSize: Record.size,
    };
  }

  /**
   * Blocks that the interpreter ran repeatedly and still runs, and that are in no region that was made. `before`: after how many runs one with a hash was to be
   * reported, if not when it is hot. May be called when the vCPU is gone.
   */
  *blockRuns(before: (hash: number) => number | undefined): Iterable<BlockRuns> {
    for (const { host, key, header } of this.#table.all()) {
      if (this.#u16[(header + Record.handler) >>> 1] !== Handler.Header || hasLimitNumber(key) || this.#covered.has(host))
        continue;
      const hash = codeHash(this.#bytes, host, key);
      const left = this.#i32[(header + Record.disp) >>> 2];
      const start = before(hash) ?? this.#heat;
      // Beyond, it was to be reported later again: no region was of use, it is waiting for its pace, or cannot be compiled.
      const runs = left <= start ? start - left : left <= this.#heat ? this.#heat - left : left <= MOST_RUNS ? this.#heat : 0;
      if (runs >= REPEATED) yield { hash, runs };
    }
  }

  /** Runs of a block in the interpreter. One that was hot, is an entry of a region or crosses pages does not count any more, or never did. */
  #runsOf(header: number): number {
    const left = this.#i32[(header + Record.disp) >>> 2];
    const counts = this.#u16[(header + Record.handler) >>> 1] === Handler.Header && left <= this.#heat;
    return counts ? this.#heat - left : this.#heat;
  }

  #isWarm(header: number, runs: number): boolean {
    return this.#u16[(header + Record.handler) >>> 1] === Handler.Header && this.#runsOf(header) >= runs;
  }

  /**
   * Header of a block that ran at least `runs` times since it was translated, or is compiled; else 0. One that crosses into another page does
   * not count its runs: it is there because it ran.
   */
  #warmHeader(host: number, key: number, runs: number): number {
    const header = this.#table.find(host, key);
    if (header === 0) return 0;
    const handler = this.#u16[(header + Record.handler) >>> 1];
    return handler >= FIRST_REGION || handler === Handler.CrossingHeader || this.#isWarm(header, runs) ? header : 0;
  }

  /** Host addresses of a page's blocks that the interpreter ran at least `runs` times and still runs. */
  #warmBlocks(page: number, key: number, runs: number): number[] {
    const found: number[] = [];
    for (let host = page; host < page + PAGE; host++) {
      const header = this.#table.find(host, key);
      if (header !== 0 && this.#isWarm(header, runs)) found.push(host);
    }
    return found;
  }
}

/**
 * One compilation: from a hot block to a WebAssembly module. All that it needs of its vCPU is in linear memory, so it can be done by another
 * thread while the vCPU runs on. What changes meanwhile does no harm: whoever asked throws the result away if its code has changed,
 * and a region that was found through other mappings is not entered (`#checkPages` in compile.ts).
 */
import { FIRST_REGION, Handler } from '../core/interpreter.ts';
import { BlockTable } from '../records/block-table.ts';
import { pageOf } from '../records/code-pages.ts';
import type { FormFinder } from '../records/form-finder.ts';
import { codeSize } from '../records/mode-key.ts';
import { Record } from '../state.ts';
import { type CompiledRegion, compileRegion, type RegionImage } from './compile.ts';
import { fetchedPage } from './fetched-page.ts';
import type { CompiledJob, CompileJob } from './job.ts';
import { holdsCode } from './job.ts';
import { type KeptRegion, keptOf } from './kept.ts';
import { discover, pageOfOffset, type Region, type RegionSource } from './region.ts';
import type { RegionPool } from './region-pool.ts';

const PAGE = 4096;
/** A block belongs to a region if it ran at least a quarter as often as the one that was hot. */
const WARM = 4;

/** Takes what may be of use in later runs. */
export type OnMade = (region: KeptRegion, module: WebAssembly.Module) => void;
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
    this.#keep = config.keep;
  }

  /** Compiles; undefined if there is nothing to compile. */
  run(job: CompileJob): CompiledJob | undefined {
    const known = this.#pool?.find(job.host, job.key, {
      holds: (code) => holdsCode(this.#bytes, code),
      hostPage: (distance) => (distance === 0 ? pageOf(job.host) : fetchedPage(this.#i32, job, distance)),
    });
    if (known) return { ...known, origin: 'shared' };
    const region = discover(this.#source(job), job.key, job.host % PAGE);
    if (!region) return undefined;
    const options = { checked: this.#checked, trace: this.#onRegion !== undefined };
    const compiled = compileRegion(this.#image, region, options);
    const { bytes } = compiled;
    const { key, pages, code } = region;
    const hosts = new Map(pages.map(({ offset, host }) => [offset, host]));
    const entries = compiled.entries.map((offset) => {
      const page = pageOfOffset(offset);
      return { host: (hosts.get(page) as number) + (offset - page), page };
    });
    this.#onRegion?.(region, compiled);
    let instructions = 0;
    for (const block of region.blocks.values()) instructions += block.instructions.length;
    const module = new WebAssembly.Module(bytes);
    const made: CompiledJob = { key, pages, code, module, entries, bytes: bytes.length, instructions, origin: 'made' };
    this.#pool?.add(made);
    const kept = this.#keep && keptOf(made, bytes, this.#bytes);
    // Bytes behind the end of a block may have changed meanwhile, which its hash then tells of: a region that is found by nobody.
    if (kept) this.#keep?.(kept, module);
    return made;
  }

  #source(job: CompileJob): RegionSource {
    const { key, host } = job;
    const runs = Math.max(1, Math.floor(this.#heat / WARM));
    return {
      bytes: this.#bytes,
      codeSize: codeSize(key),
      describe: (insn) => this.#forms.describe(insn, key),
      hostPage: (offset) => (offset === 0 ? pageOf(host) : fetchedPage(this.#i32, job, offset)),
      headerAt: (at) => (at === host ? this.#table.find(host, key) : this.#warmHeader(at, key, runs)),
      runsOf: (at) => this.#runsOf(at),
      warm: (page) => this.#warmBlocks(page, key, runs),
      targetOf: (record) => this.#i32[(record + Record.imm) >>> 2],
      countOf: (block) => this.#i32[(block + Record.b) >>> 2],
      recordSize: Record.size,
    };
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

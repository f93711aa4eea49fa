/** The compiled tier of one processor: compiles hot regions, and drops them when their code changes. */
import type { CoreImage } from '../core/build.ts';
import { FIRST_REGION, Handler } from '../core/interpreter.ts';
import { codeSize, ModeKey } from '../records/mode-key.ts';
import type { Translator } from '../records/translator.ts';
import { Record } from '../state.ts';
import { compileRegion } from './compile.ts';
import { discover } from './region.ts';

const PAGE = 4096;
const LAST_REGION = 0xffff;

/** Runs of a block by the interpreter that make it part of its page's next region. */
const WARM = 64;

type Compiled = { readonly slot: number; readonly headers: readonly number[] };

/** What the tier needs of its processor. */
export type TierHost = {
  readonly image: CoreImage;
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly env: WebAssembly.ModuleImports;
  readonly core: () => WebAssembly.ModuleImports;
  readonly translator: () => Translator;
  /** Interpreter header of the block at a host address of the page that is running, or 0. */
  readonly headerAt: (host: number, key: number) => number;
  /** Build with the checks of the module builder. */
  readonly checked: boolean;
};

export class RegionTier {
  readonly #host: TierHost;
  readonly #bytes: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #pages = new Map<number, Compiled[]>();
  readonly #free: number[] = [];
  #nextSlot = FIRST_REGION;
  compiled = 0;
  bytes = 0;
  milliseconds = 0;

  constructor(host: TierHost) {
    this.#host = host;
    this.#bytes = new Uint8Array(host.memory.buffer);
    this.#u16 = new Uint16Array(host.memory.buffer);
  }

  /** Regions that exist now. */
  get live(): number {
    return this.#nextSlot - FIRST_REGION - this.#free.length;
  }

  /** Compiles the region around a hot block. Blocks that cannot be compiled stay with the interpreter. */
  compile(header: number): void {
    const start = performance.now();
    const translator = this.#host.translator();
    const host = translator.hostOf(header);
    const key = translator.keyOf(header);
    if (key & ModeKey.STEP || codeSize(key) === 16 || (this.#free.length === 0 && this.#nextSlot > LAST_REGION)) return;
    const page = host - (host % PAGE);
    const region = discover(
      {
        bytes: this.#bytes,
        codeSize: codeSize(key),
        describe: (insn) => translator.describe(insn, key),
        headerAt: (offset) => this.#host.headerAt(page + offset, key),
        warm: () => translator.warmBlocks(page, key, WARM).map((block) => block - page),
        countOf: (block) => translator.countOf(block),
        recordSize: Record.size,
      },
      page,
      key,
      host - page,
    );
    if (!region) return;
    const slot = this.#free.pop() ?? this.#nextSlot++;
    const { bytes, entries } = compileRegion(this.#host.image, region, slot, { checked: this.#host.checked });
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: this.#host.env, core: this.#host.core() });
    this.#host.table.set(slot, instance.exports.f);
    for (const entry of entries) translator.setHandler(entry.header, slot, entry.number);
    const list = this.#pages.get(page);
    const compiled = { slot, headers: entries.map((entry) => entry.header) };
    if (list) list.push(compiled);
    else this.#pages.set(page, [compiled]);
    this.compiled++;
    this.bytes += bytes.length;
    this.milliseconds += performance.now() - start;
  }

  /** Code of a page changed: its regions' blocks are the interpreter's again. */
  drop(page: number): void {
    for (const { slot, headers } of this.#pages.get(page) ?? []) {
      for (const header of headers) {
        const at = (header + Record.handler) >> 1;
        // A header may have been given to a later region.
        if (this.#u16[at] === slot) this.#host.translator().setHandler(header, Handler.Header, 0);
      }
      this.#host.table.set(slot, null);
      this.#free.push(slot);
    }
    this.#pages.delete(page);
  }

  /** All translations are dropped. */
  dropAll(): void {
    for (const page of [...this.#pages.keys()]) this.drop(page);
  }
}

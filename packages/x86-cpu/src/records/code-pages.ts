/** Which pages hold translated code, and where in them: so that a write finds the blocks it voids, and data beside code stays cheap. */

export const PAGE = 4096;

/** Page of a host address; these reach beyond 2 GiB, so no signed mask. */
export const pageOf = (host: number): number => host - (host & (PAGE - 1));

/** A translated block. */
export type Block = {
  readonly header: number;
  readonly key: number;
  readonly host: number;
  /** Exclusive end in the first page, and bytes in a second one. */
  readonly end: number;
  readonly secondPage: number;
  readonly secondEnd: number;
};

/** Addresses of one i64 per host page: a bit for each 64-byte granule that holds translated code. */
export type CodeMaps = {
  readonly memory: WebAssembly.Memory;
  readonly codeMap: number;
  /** The union of several processors' maps. */
  readonly sharedMap: number | undefined;
};

export type CodePagesHost = {
  readonly protectCode: (hostPage: number) => void;
  readonly unprotectCode: (hostPage: number) => void;
};

const pagesOf = (block: Block): number[] => (block.secondPage ? [pageOf(block.host), block.secondPage] : [pageOf(block.host)]);

function covers(block: Block, page: number, host: number, length: number): boolean {
  const start = page === block.secondPage ? page : block.host;
  const end = page === block.secondPage ? page + block.secondEnd : block.end;
  return start < host + length && host < end;
}

export class CodePages {
  readonly #host: CodePagesHost;
  readonly #i32: Int32Array;
  readonly #codeMap: number;
  readonly #sharedMap: number | undefined;
  readonly #pages = new Map<number, Block[]>();

  constructor({ memory, codeMap, sharedMap }: CodeMaps, host: CodePagesHost) {
    this.#i32 = new Int32Array(memory.buffer);
    this.#codeMap = codeMap;
    this.#sharedMap = sharedMap;
    this.#host = host;
  }

  blocks(page: number): readonly Block[] {
    return this.#pages.get(page) ?? [];
  }

  add(block: Block): void {
    for (const page of pagesOf(block)) {
      const known = this.#pages.get(page);
      if (known) known.push(block);
      else this.#pages.set(page, [block]);
      // Another processor that finds no code in the page may be about to end its protection: the marks come first.
      this.#mark(page, block);
      if (!known) this.#host.protectCode(page);
    }
  }

  /** Takes out the blocks of a page that cover any of `length` bytes at `host`, and returns them. */
  take(page: number, host: number, length: number): readonly Block[] {
    const blocks = this.#pages.get(page);
    if (!blocks) return [];
    const taken = blocks.filter((block) => covers(block, page, host, length));
    for (const block of taken) for (const of of pagesOf(block)) this.#remove(of, block);
    return taken;
  }

  #remove(page: number, block: Block): void {
    const kept = this.#pages.get(page)?.filter((other) => other !== block) ?? [];
    this.#setMap(page, 0, 0);
    if (kept.length === 0) {
      this.#pages.delete(page);
      this.#host.unprotectCode(page);
      return;
    }
    this.#pages.set(page, kept);
    for (const other of kept) this.#mark(page, other);
  }

  clear(): void {
    for (const page of this.#pages.keys()) {
      this.#setMap(page, 0, 0);
      this.#host.unprotectCode(page);
    }
    this.#pages.clear();
  }

  #mapAt(page: number, map = this.#codeMap): number {
    return (map + (page >>> 12) * 8) >>> 2;
  }

  #mark(page: number, block: Block): void {
    const first = page === block.secondPage ? 0 : block.host - page;
    const end = page === block.secondPage ? block.secondEnd : block.end - page;
    const at = this.#mapAt(page);
    const shared = this.#sharedMap === undefined ? 0 : this.#mapAt(page, this.#sharedMap);
    for (let granule = first >> 6; granule <= (end - 1) >> 6; granule++) {
      const word = granule >> 5;
      const bit = 1 << (granule & 31);
      this.#i32[at + word] |= bit;
      if (shared) Atomics.or(this.#i32, shared + word, bit);
    }
  }

  #setMap(page: number, lo: number, hi: number): void {
    const at = this.#mapAt(page);
    this.#i32[at] = lo;
    this.#i32[at + 1] = hi;
  }
}

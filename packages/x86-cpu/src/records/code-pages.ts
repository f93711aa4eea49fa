/** Which pages hold translated code, and where in them: so that a write finds the blocks it voids, and data beside code stays cheap. */

export const PAGE = 4096;

/** Page of a host address; these reach beyond 2 GiB, so no signed mask. */
export const pageOf = (host: number): number => host - (host & (PAGE - 1));

/** Code that lies in one page, or reaches into a second one. */
export type CodeSpan = {
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

const pagesOf = (span: CodeSpan): number[] => (span.secondPage ? [pageOf(span.host), span.secondPage] : [pageOf(span.host)]);

function covers(span: CodeSpan, page: number, host: number, length: number): boolean {
  const start = page === span.secondPage ? page : span.host;
  const end = page === span.secondPage ? page + span.secondEnd : span.end;
  return start < host + length && host < end;
}

export class CodePages<Span extends CodeSpan> {
  readonly #host: CodePagesHost;
  readonly #i32: Int32Array;
  readonly #codeMap: number;
  readonly #sharedMap: number | undefined;
  readonly #pages = new Map<number, Span[]>();

  constructor({ memory, codeMap, sharedMap }: CodeMaps, host: CodePagesHost) {
    this.#i32 = new Int32Array(memory.buffer);
    this.#codeMap = codeMap;
    this.#sharedMap = sharedMap;
    this.#host = host;
  }

  add(span: Span): void {
    for (const page of pagesOf(span)) {
      const known = this.#pages.get(page);
      if (known) known.push(span);
      else this.#pages.set(page, [span]);
      // Another processor that finds no code in the page may be about to end its protection: the marks come first.
      this.#mark(page, span);
      if (!known) this.#host.protectCode(page);
    }
  }

  /** Takes out what covers any of `length` bytes at `host` in a page, and returns it. */
  take(page: number, host: number, length: number): readonly Span[] {
    const spans = this.#pages.get(page);
    if (!spans) return [];
    const taken = spans.filter((span) => covers(span, page, host, length));
    for (const span of taken) this.remove(span);
    return taken;
  }

  /** Takes a span out, if it is there. */
  remove(span: Span): void {
    for (const page of pagesOf(span)) this.#remove(page, span);
  }

  #remove(page: number, span: Span): void {
    const spans = this.#pages.get(page);
    if (!spans?.includes(span)) return;
    const kept = spans.filter((other) => other !== span);
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

  #mark(page: number, span: Span): void {
    const first = page === span.secondPage ? 0 : span.host - page;
    const end = page === span.secondPage ? span.secondEnd : span.end - page;
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

/** Which pages hold translated code, and where in them: so that a write finds the blocks it voids, and data beside code stays cheap. */

export const PAGE = 4096;
/** Log 2 of a granule's 64 bytes. */
const GRANULE_SHIFT = 6;
const NOTHING: readonly never[] = [];

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

function covers(span: CodeSpan, page: number, host: number, length: number): boolean {
  const start = page === span.secondPage ? page : span.host;
  const end = page === span.secondPage ? page + span.secondEnd : span.end;
  return start < host + length && host < end;
}

/** Bits for the 32 granules from a number on of a page: which of them a span lies in. */
function granules(page: number, span: CodeSpan, from: number): number {
  const isSecond = page === span.secondPage;
  const first = Math.max(0, ((isSecond ? 0 : span.host - page) >> GRANULE_SHIFT) - from);
  const last = Math.min(31, (((isSecond ? span.secondEnd : span.end - page) - 1) >> GRANULE_SHIFT) - from);
  return first > last ? 0 : (-1 << first) & (-1 >>> (31 - last));
}

export class CodePages<Span extends CodeSpan> {
  readonly #host: CodePagesHost;
  readonly #i32: Int32Array;
  readonly #codeMap: number;
  readonly #sharedMap: number | undefined;
  readonly #pages = new Map<number, Set<Span>>();

  constructor({ memory, codeMap, sharedMap }: CodeMaps, host: CodePagesHost) {
    this.#i32 = new Int32Array(memory.buffer);
    this.#codeMap = codeMap;
    this.#sharedMap = sharedMap;
    this.#host = host;
  }

  add(span: Span): void {
    this.#add(pageOf(span.host), span);
    if (span.secondPage !== 0) this.#add(span.secondPage, span);
  }

  #add(page: number, span: Span): void {
    const known = this.#pages.get(page);
    if (known) known.add(span);
    else this.#pages.set(page, new Set([span]));
    // Another processor that finds no code in the page may be about to end its protection: the marks come first.
    const at = this.#mapAt(page);
    const lo = granules(page, span, 0);
    const hi = granules(page, span, 32);
    this.#i32[at] |= lo;
    this.#i32[at + 1] |= hi;
    if (this.#sharedMap !== undefined) {
      const shared = this.#mapAt(page, this.#sharedMap);
      if (lo !== 0) Atomics.or(this.#i32, shared, lo);
      if (hi !== 0) Atomics.or(this.#i32, shared + 1, hi);
    }
    if (!known) this.#host.protectCode(page);
  }

  /** Takes out what covers any of `length` bytes at `host` in a page, and returns it. */
  take(page: number, host: number, length: number): readonly Span[] {
    const spans = this.#pages.get(page);
    if (!spans) return NOTHING;
    const taken: Span[] = [];
    for (const span of spans) if (covers(span, page, host, length)) taken.push(span);
    if (taken.length === 0) return taken;
    for (const span of taken) spans.delete(span);
    this.#shrunk(page, spans);
    for (const span of taken) {
      const other = page === span.secondPage ? pageOf(span.host) : span.secondPage;
      if (other !== 0) this.#remove(other, span);
    }
    return taken;
  }

  /** Takes a span out, if it is there. */
  remove(span: Span): void {
    this.#remove(pageOf(span.host), span);
    if (span.secondPage !== 0) this.#remove(span.secondPage, span);
  }

  #remove(page: number, span: Span): void {
    const spans = this.#pages.get(page);
    if (spans?.delete(span)) this.#shrunk(page, spans);
  }

  /** Some of a page's spans are gone. */
  #shrunk(page: number, left: ReadonlySet<Span>): void {
    let lo = 0;
    let hi = 0;
    for (const span of left) {
      lo |= granules(page, span, 0);
      hi |= granules(page, span, 32);
    }
    this.#setMap(page, lo, hi);
    if (left.size > 0) return;
    this.#pages.delete(page);
    this.#host.unprotectCode(page);
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

  #setMap(page: number, lo: number, hi: number): void {
    const at = this.#mapAt(page);
    this.#i32[at] = lo;
    this.#i32[at + 1] = hi;
  }
}

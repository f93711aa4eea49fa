/**
 * LZMA: a range coder with adaptive bit models over an LZ77 stream. Written after the format's public description
 * (LZMA specification, "LZMA decoding"); the output array is its own dictionary, so nothing is copied twice.
 *
 * A library exists for .xz, but without the x86 branch filter that every x86 kernel's payload uses.
 */
const STATES = 12;
const POS_STATES = 16;
const PROB_INIT = 1 << 10;
const MIN_MATCH = 2;

// Offsets into the one array of bit models.
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POS_STATES;
const IS_REP0 = IS_REP + STATES;
const IS_REP1 = IS_REP0 + STATES;
const IS_REP2 = IS_REP1 + STATES;
const IS_REP0_LONG = IS_REP2 + STATES;
const DIST_SLOT = IS_REP0_LONG + STATES * POS_STATES;
const DIST_SPECIAL = DIST_SLOT + 4 * 64;
const DIST_ALIGN = DIST_SPECIAL + 128;
const MATCH_LEN = DIST_ALIGN + 16;
const REP_LEN = MATCH_LEN + 2 + POS_STATES * 16 + 256;
const LITERAL = REP_LEN + 2 + POS_STATES * 16 + 256;

/** Thrown for damaged data; callers turn it into their own coded error. */
export class LzmaError extends Error {}

export class LzmaDecoder {
  readonly #out: Uint8Array;
  /** Bytes written so far. */
  position = 0;
  #probs = new Uint16Array(LITERAL);
  /** `[range, code]`; an unsigned typed array keeps both as plain 32-bit words in compiled code. */
  readonly #rc = new Uint32Array(2);
  #src: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #lc = 0;
  #literalPosMask = 0;
  #posMask = 0;
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;
  #dictStart = 0;

  constructor(out: Uint8Array) {
    this.#out = out;
  }

  /** Sets lc, lp and pb from the properties byte `(pb * 5 + lp) * 9 + lc`. */
  setProperties(byte: number): void {
    if (byte >= 9 * 5 * 5) throw new LzmaError('bad LZMA properties');
    const lc = byte % 9;
    const rest = Math.floor(byte / 9);
    const lp = rest % 5;
    this.#lc = lc;
    this.#literalPosMask = (1 << lp) - 1;
    this.#posMask = (1 << Math.floor(rest / 5)) - 1;
    this.#probs = new Uint16Array(LITERAL + (0x300 << (lc + lp)));
  }

  resetDictionary(): void {
    this.#dictStart = this.position;
  }

  resetState(): void {
    this.#probs.fill(PROB_INIT);
    this.#state = 0;
    this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
  }

  /** Copies bytes that are stored as they are (LZMA2 chunks 1 and 2). */
  store(bytes: Uint8Array): void {
    if (this.position + bytes.length > this.#out.length) throw new LzmaError('more data than the image says');
    this.#out.set(bytes, this.position);
    this.position += bytes.length;
  }

  /**
   * Decodes from `src[from, end)` until `limit` bytes are in the output or the end marker comes.
   * @returns where reading stopped
   */
  decode(src: Uint8Array, from: number, end: number, limit: number): number {
    if (limit > this.#out.length) throw new LzmaError('more data than the image says');
    if (end - from < 5 || src[from] !== 0) throw new LzmaError('bad range coder start');
    this.#src = src;
    this.#at = from + 5;
    this.#end = end;
    this.#rc[0] = 0xffff_ffff;
    this.#rc[1] = (src[from + 1] << 24) | (src[from + 2] << 16) | (src[from + 3] << 8) | src[from + 4];
    const probs = this.#probs;
    while (this.position < limit) {
      const posState = this.position & this.#posMask;
      const state = this.#state;
      if (this.#bit(probs, IS_MATCH + state * POS_STATES + posState) === 0) {
        this.#literal(probs);
        continue;
      }
      let length: number;
      if (this.#bit(probs, IS_REP + state) !== 0) {
        if (this.#bit(probs, IS_REP0 + state) === 0) {
          if (this.#bit(probs, IS_REP0_LONG + state * POS_STATES + posState) === 0) {
            this.#state = state < 7 ? 9 : 11;
            this.#copy(1, limit);
            continue;
          }
        } else {
          this.#rotateRep(probs, state);
        }
        length = this.#length(probs, REP_LEN, posState);
        this.#state = state < 7 ? 8 : 11;
      } else {
        this.#rep3 = this.#rep2;
        this.#rep2 = this.#rep1;
        this.#rep1 = this.#rep0;
        length = this.#length(probs, MATCH_LEN, posState);
        this.#state = state < 7 ? 7 : 10;
        this.#rep0 = this.#distance(probs, length);
        if (this.#rep0 === 0xffff_ffff) break;
      }
      this.#copy(length + MIN_MATCH, limit);
    }
    // A normalisation that is due belongs to this stream; a decoder that stops without it would misjudge where it ends.
    if (this.#rc[0] < 0x0100_0000) this.#normalize();
    if (this.#at > end) throw new LzmaError('compressed data is cut off');
    return this.#at;
  }

  #normalize(): void {
    const rc = this.#rc;
    rc[0] <<= 8;
    rc[1] = (rc[1] << 8) | (this.#at < this.#end ? this.#src[this.#at] : 0);
    this.#at++;
    if (this.#at > this.#end + 8) throw new LzmaError('compressed data is cut off');
  }

  #bit(probs: Uint16Array, index: number): 0 | 1 {
    const rc = this.#rc;
    if (rc[0] < 0x0100_0000) this.#normalize();
    const p = probs[index];
    const bound = Math.imul(rc[0] >>> 11, p) >>> 0;
    if (rc[1] < bound) {
      rc[0] = bound;
      probs[index] = p + ((2048 - p) >> 5);
      return 0;
    }
    rc[0] -= bound;
    rc[1] -= bound;
    probs[index] = p - (p >> 5);
    return 1;
  }

  #tree(probs: Uint16Array, base: number, bits: number): number {
    let m = 1;
    for (let i = 0; i < bits; i++) m = (m << 1) | this.#bit(probs, base + m);
    return m - (1 << bits);
  }

  #reverseTree(probs: Uint16Array, base: number, bits: number): number {
    let m = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(probs, base + m);
      m = (m << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  #literal(probs: Uint16Array): void {
    const out = this.#out;
    const at = this.position;
    const previous = at > this.#dictStart ? out[at - 1] : 0;
    const context = ((at & this.#literalPosMask) << this.#lc) + (previous >> (8 - this.#lc));
    const base = LITERAL + 0x300 * context;
    let symbol = 1;
    if (this.#state >= 7) {
      // After a match, the byte that the match would have continued with predicts this one.
      let match = out[at - this.#rep0 - 1];
      do {
        const matchBit = (match >> 7) & 1;
        match <<= 1;
        const bit = this.#bit(probs, base + ((1 + matchBit) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (matchBit !== bit) break;
      } while (symbol < 0x100);
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(probs, base + symbol);
    out[at] = symbol;
    this.position = at + 1;
    const state = this.#state;
    this.#state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
  }

  #rotateRep(probs: Uint16Array, state: number): void {
    let distance: number;
    if (this.#bit(probs, IS_REP1 + state) === 0) {
      distance = this.#rep1;
    } else {
      if (this.#bit(probs, IS_REP2 + state) === 0) {
        distance = this.#rep2;
      } else {
        distance = this.#rep3;
        this.#rep3 = this.#rep2;
      }
      this.#rep2 = this.#rep1;
    }
    this.#rep1 = this.#rep0;
    this.#rep0 = distance;
  }

  #length(probs: Uint16Array, base: number, posState: number): number {
    if (this.#bit(probs, base) === 0) return this.#tree(probs, base + 2 + posState * 8, 3);
    if (this.#bit(probs, base + 1) === 0) return 8 + this.#tree(probs, base + 2 + POS_STATES * 8 + posState * 8, 3);
    return 16 + this.#tree(probs, base + 2 + POS_STATES * 16, 8);
  }

  #distance(probs: Uint16Array, length: number): number {
    const slot = this.#tree(probs, DIST_SLOT + Math.min(length, 3) * 64, 6);
    if (slot < 4) return slot;
    const directBits = (slot >> 1) - 1;
    const high = (2 | (slot & 1)) << directBits;
    if (slot < 14) return high + this.#reverseTree(probs, DIST_SPECIAL + high - slot, directBits);
    let middle = 0;
    const rc = this.#rc;
    for (let i = directBits - 4; i > 0; i--) {
      if (rc[0] < 0x0100_0000) this.#normalize();
      rc[0] >>>= 1;
      const bit = rc[1] >= rc[0] ? 1 : 0;
      if (bit === 1) rc[1] -= rc[0];
      middle = (middle << 1) | bit;
    }
    return (high + (middle << 4) + this.#reverseTree(probs, DIST_ALIGN, 4)) >>> 0;
  }

  #copy(length: number, limit: number): void {
    const out = this.#out;
    let o = this.position;
    let m = o - this.#rep0 - 1;
    if (m < this.#dictStart) throw new LzmaError('a match points before the data');
    if (o + length > limit) throw new LzmaError('a match runs past the end');
    for (const stop = o + length; o < stop; ) out[o++] = out[m++];
    this.position = o;
  }
}

/**
 * Decodes the old `.lzma` container: properties, dictionary size, 64-bit size (or all ones with an end marker), data.
 * @param size exact size of the result, bytes
 */
export function decodeLzmaAlone(file: Uint8Array, size: number): Uint8Array {
  if (file.length < 18) throw new LzmaError('compressed data is cut off');
  const out = new Uint8Array(size);
  const decoder = new LzmaDecoder(out);
  decoder.setProperties(file[0]);
  decoder.resetState();
  decoder.decode(file, 13, file.length, size);
  return out.subarray(0, decoder.position);
}

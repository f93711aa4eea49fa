const PAGE = 4096;
const WORD = 8;

/** A processor: the address of its map, 0 while it has none. */
export type CodeMapOwner = { readonly codeMap: number };

/**
 * Which bytes some processors may have translated: the union of their maps (ports.ts, `CodeSharing`). The processors set bits in it; here they are
 * cleared, by making words anew from the maps, while none of the processors runs.
 */
export class CodeMapUnion {
  readonly #words: BigUint64Array;
  readonly #address: number;
  readonly #owners: readonly CodeMapOwner[];

  /** @param owners all that there are now, whenever it is asked */
  constructor(memory: WebAssembly.Memory, address: number, owners: readonly CodeMapOwner[]) {
    this.#words = new BigUint64Array(memory.buffer);
    this.#address = address;
    this.#owners = owners;
  }

  /** Bytes of a map of all the memory. */
  static bytes(memory: WebAssembly.Memory): number {
    return (memory.buffer.byteLength / PAGE) * WORD;
  }

  /** The bits of a page in one map. */
  bitsIn({ codeMap }: CodeMapOwner, page: number): bigint {
    return codeMap === 0 ? 0n : Atomics.load(this.#words, codeMap / WORD + page);
  }

  /** Those that any map has. */
  bits(page: number): bigint {
    let union = 0n;
    for (const owner of this.#owners) union |= this.bitsIn(owner, page);
    return union;
  }

  /** Makes the word of a page anew; whether it is empty. */
  renew(page: number): boolean {
    const union = this.bits(page);
    Atomics.store(this.#words, this.#address / WORD + page, union);
    return union === 0n;
  }

  renewAll(hostAddress: number, length: number): void {
    for (let page = Math.floor(hostAddress / PAGE); page * PAGE < hostAddress + length; page++) this.renew(page);
  }
}

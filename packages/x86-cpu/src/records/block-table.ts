/** The block table: (host address, mode key) → header, open addressing in linear memory, where generated code looks blocks up itself. */
import { HASH_MULTIPLIER } from '../core/lookup.ts';
import { BLOCK_TABLE } from '../state.ts';

const MASK = BLOCK_TABLE.entries - 1;
/** Stands where a block was removed: the search goes on, an insertion may take the place. No block starts at address 1. */
const TOMBSTONE = 1;

const hashOf = (host: number, key: number): number => (Math.imul(host ^ (key << 20), HASH_MULTIPLIER) >>> 10) & MASK;

export class BlockTable {
  readonly #i32: Int32Array;
  readonly #address: number;

  constructor(memory: WebAssembly.Memory, address: number) {
    this.#i32 = new Int32Array(memory.buffer);
    this.#address = address;
  }

  #entry(n: number): number {
    return (this.#address + n * BLOCK_TABLE.entryBytes) >>> 2;
  }

  /** The entry of a block, or -1. */
  #search(host: number, key: number): number {
    for (let n = hashOf(host, key); ; n = (n + 1) & MASK) {
      const at = this.#entry(n);
      if (this.#i32[at] === 0) return -1;
      if (this.#i32[at] === (host | 0) && this.#i32[at + 1] === key) return at;
    }
  }

  /** The block's header, or 0. */
  find(host: number, key: number): number {
    const at = this.#search(host, key);
    return at < 0 ? 0 : this.#i32[at + 2];
  }

  /** Host addresses, mode keys and headers of all blocks. */
  *all(): Iterable<{ readonly host: number; readonly key: number; readonly header: number }> {
    for (let n = 0; n < BLOCK_TABLE.entries; n++) {
      const at = this.#entry(n);
      const host = this.#i32[at];
      if (host !== 0 && host !== TOMBSTONE) yield { host: host >>> 0, key: this.#i32[at + 1], header: this.#i32[at + 2] };
    }
  }

  insert(host: number, key: number, header: number): void {
    let n = hashOf(host, key);
    while (this.#i32[this.#entry(n)] !== 0 && this.#i32[this.#entry(n)] !== TOMBSTONE) n = (n + 1) & MASK;
    const at = this.#entry(n);
    this.#i32[at + 1] = key;
    this.#i32[at + 2] = header;
    this.#i32[at] = host;
  }

  remove(host: number, key: number): void {
    const at = this.#search(host, key);
    if (at >= 0) this.#i32[at] = TOMBSTONE;
  }

  clear(): void {
    this.#i32.fill(0, this.#entry(0), this.#entry(BLOCK_TABLE.entries));
  }
}

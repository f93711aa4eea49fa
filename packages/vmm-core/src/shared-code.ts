import type { Arena } from './arena.ts';
import type { CodeSharing } from './ports.ts';

const PAGE = 4096;
const WORD = 8;

/** A processor among others that translate code from the same memory. */
export type CodeSharer = {
  readonly addresses: { readonly codeMap: number };
  readonly codeWritten: (hostAddress: number, length: number) => void;
};

/**
 * Code that several processors on one thread have translated. Which bytes any of them may have is a map of their maps' bits, so that a store to
 * data beside code costs no more than with one processor.
 */
export class SharedCode implements CodeSharing {
  readonly mapAddress: number;
  readonly #words: BigUint64Array;
  readonly #sharers: CodeSharer[] = [];

  constructor({ memory, alloc }: Pick<Arena, 'memory' | 'alloc'>) {
    this.mapAddress = alloc((memory.buffer.byteLength / PAGE) * WORD, 64);
    this.#words = new BigUint64Array(memory.buffer);
  }

  join(sharer: CodeSharer): void {
    this.#sharers.push(sharer);
  }

  written = (hostAddress: number, length: number): void => {
    for (const sharer of this.#sharers) sharer.codeWritten(hostAddress, length);
    for (let page = Math.floor(hostAddress / PAGE); page * PAGE < hostAddress + length; page++) this.#renew(page);
  };

  /** A processor has no translation of a page any more: calls `free` if none has. */
  ifFree(hostPage: number, free: () => void): void {
    if (this.#renew(Math.floor(hostPage / PAGE)) === 0n) free();
  }

  #renew(page: number): bigint {
    let union = 0n;
    for (const { addresses } of this.#sharers) union |= this.#words[addresses.codeMap / WORD + page];
    this.#words[this.mapAddress / WORD + page] = union;
    return union;
  }
}

import type { Arena } from './arena.ts';
import { type CodeMapOwner, CodeMapUnion } from './code-map-union.ts';
import type { CodeSharing } from './ports.ts';

const PAGE = 4096;

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
  readonly #union: CodeMapUnion;
  readonly #sharers: CodeSharer[] = [];
  readonly #owners: CodeMapOwner[] = [];

  constructor({ memory, alloc }: Pick<Arena, 'memory' | 'alloc'>) {
    this.mapAddress = alloc(CodeMapUnion.bytes(memory), 64);
    this.#union = new CodeMapUnion(memory, this.mapAddress, this.#owners);
  }

  join(sharer: CodeSharer): void {
    this.#sharers.push(sharer);
    this.#owners.push(sharer.addresses);
  }

  written = (hostAddress: number, length: number): void => {
    for (const sharer of this.#sharers) sharer.codeWritten(hostAddress, length);
    this.#union.renewAll(hostAddress, length);
  };

  /** A processor has no translation of a page any more: calls `free` if none has. */
  ifFree(hostPage: number, free: () => void): void {
    if (this.#union.renew(Math.floor(hostPage / PAGE))) free();
  }
}

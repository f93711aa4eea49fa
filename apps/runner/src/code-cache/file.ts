/**
 * A file of kept regions: a magic number, the regions' bytes, an index of them and where that is. It is never changed, but replaced as a whole: who
 * has it open goes on reading the old one.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import type { KeptRegion } from '@tsvisor/machines/compiler';
import { replaceFile } from './folder.ts';

const MAGIC = 'tsvcode1';
/** Length and CRC-32 of the index, then the magic number again. */
const TRAILER = 16;

/** A region in the index. Its bytes are its WebAssembly, what V8 made of it, if it did, and the pieces of the guest's code. */
export type Stored = Pick<KeptRegion, 'key' | 'pages' | 'entries' | 'instructions'> & {
  readonly pieces: readonly { readonly offset: number; readonly length: number }[];
  readonly wasm: number;
  readonly optimised: number;
  /** The same for the same region, whether V8 has optimised it or not. */
  readonly id: string;
  readonly crc: number;
  readonly at: number;
  /** The last of the runs that wrote the file and had use for it. */
  readonly run: number;
};

/** A region with its bytes. */
export type StoredRegion = { readonly region: KeptRegion; readonly optimised: Uint8Array | undefined };

const sizeOf = ({ wasm, optimised, pieces }: Stored): number =>
  wasm + optimised + pieces.reduce((sum, { length }) => sum + length, 0);

export class CodeFile {
  readonly #fd: number;
  readonly index: readonly Stored[];

  private constructor(fd: number, index: readonly Stored[]) {
    this.#fd = fd;
    this.index = index;
  }

  /** Undefined if there is none, or none that can be read. */
  static open(path: string): CodeFile | undefined {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch {
      return undefined;
    }
    try {
      const { size } = fstatSync(fd);
      const trailer = readAt(fd, size - TRAILER, TRAILER);
      const length = trailer.readUInt32LE(0);
      if (trailer.toString('latin1', 8) !== MAGIC || length + TRAILER + MAGIC.length > size) throw new Error('not such a file');
      const bytes = readAt(fd, size - TRAILER - length, length);
      if (crc32(bytes) !== trailer.readUInt32LE(4)) throw new Error('damaged');
      return new CodeFile(fd, deserialize(bytes) as Stored[]);
    } catch {
      closeSync(fd);
      return undefined;
    }
  }

  /** Undefined if its bytes are damaged. */
  read(stored: Stored): StoredRegion | undefined {
    let bytes: Buffer<ArrayBuffer>;
    try {
      bytes = readAt(this.#fd, stored.at, sizeOf(stored));
    } catch {
      return undefined;
    }
    if (crc32(bytes) !== stored.crc) return undefined;
    let at = 0;
    const take = (length: number): Uint8Array<ArrayBuffer> => bytes.subarray(at, (at += length));
    const wasm = take(stored.wasm);
    const optimised = stored.optimised === 0 ? undefined : take(stored.optimised);
    const code = stored.pieces.map(({ offset, length }) => ({ offset, bytes: take(length) }));
    const { key, pages, entries, instructions } = stored;
    return { region: { key, pages, entries, instructions, code, wasm }, optimised };
  }

  /** The bytes of a region as they are. */
  raw(stored: Stored): Uint8Array {
    return readAt(this.#fd, stored.at, sizeOf(stored));
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function readAt(fd: number, position: number, length: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(Math.max(0, length));
  for (let at = 0; at < length; ) {
    const count = readSync(fd, bytes, at, length - at, position + at);
    if (count === 0) throw new Error('the file ends early');
    at += count;
  }
  return bytes;
}

/** A region as it is to be in the file: its bytes are those given, or where they lie in the file that there is. */
export type Entry = { readonly stored: Stored; readonly bytes: Uint8Array };

export function entryOf({ region, optimised }: StoredRegion, run: number): Entry {
  const { key, pages, entries, instructions, code, wasm } = region;
  const bytes = Buffer.concat([wasm, ...(optimised ? [optimised] : []), ...code.map((piece) => piece.bytes)]);
  const pieces = code.map((piece) => ({ offset: piece.offset, length: piece.bytes.length }));
  const sizes = { wasm: wasm.length, optimised: optimised?.length ?? 0 };
  return {
    stored: { key, pages, entries, instructions, pieces, ...sizes, id: regionId(region), crc: crc32(bytes), at: 0, run },
    bytes,
  };
}

/** A text that tells a region from others, by its code and what that was compiled to. */
export function regionId({ key, code, wasm }: KeptRegion): string {
  const bytes = Buffer.concat(code.map((piece) => piece.bytes));
  return [key, bytes.length, crc32(bytes), wasm.length, crc32(wasm)].map((number) => number.toString(36)).join('.');
}

/** Puts a file in the place of the one there is. @throws what the file system says */
export function writeCodeFile(path: string, entries: readonly Entry[]): void {
  let at = MAGIC.length;
  const index = entries.map(({ stored, bytes }): Stored => {
    const placed = { ...stored, at };
    at += bytes.length;
    return placed;
  });
  const indexBytes = serialize(index);
  const trailer = Buffer.alloc(TRAILER);
  trailer.writeUInt32LE(indexBytes.length, 0);
  trailer.writeUInt32LE(crc32(indexBytes), 4);
  trailer.write(MAGIC, 8, 'latin1');
  replaceFile(path, Buffer.concat([Buffer.from(MAGIC, 'latin1'), ...entries.map(({ bytes }) => bytes), indexBytes, trailer]));
}

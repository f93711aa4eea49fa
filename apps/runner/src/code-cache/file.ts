/**
 * A file of kept regions: a magic number, bundles, an index of them and where that is. It is never changed, but replaced as a whole: who
 * has it open goes on reading the old one.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import type { KeptRegion } from '@tsvisor/machines/compiler';
import { replaceFile } from './folder.ts';

const MAGIC = 'tsvcode2';
/** Length and CRC-32 of the index, then the magic number again. */
const TRAILER = 16;

/** A region in the index. */
export type Stored = Omit<KeptRegion, 'code'> & {
  /** The pieces of its code, whose bytes the bundle has. */
  readonly pieces: readonly { readonly offset: number; readonly length: number }[];
  /** Tells it from others, by its code and what that was compiled to. */
  readonly id: string;
};

/** Regions whose functions are one module. Its bytes are the regions' code, the module and what V8 made of it, if it did. */
export type StoredBundle = {
  /** In the order of their functions, which are exported by their position as text. */
  readonly regions: readonly Stored[];
  readonly wasm: number;
  readonly optimised: number;
  readonly codeCrc: number;
  readonly wasmCrc: number;
  readonly optimisedCrc: number;
  readonly at: number;
  /** The last of the runs that wrote the file and had use for it. */
  readonly run: number;
};

export type Index = {
  readonly bundles: readonly StoredBundle[];
  /** Hashes of blocks that ran often without being compiled, those that did most first. */
  readonly warm: readonly number[];
};

/** A module with what V8 made of it. */
export type StoredModule = { readonly wasm: Uint8Array<ArrayBuffer>; readonly optimised: Uint8Array<ArrayBuffer> | undefined };

const codeSize = ({ regions }: StoredBundle): number =>
  regions.reduce((sum, { pieces }) => pieces.reduce((more, { length }) => more + length, sum), 0);

export class CodeFile {
  readonly #fd: number;
  readonly index: Index;

  private constructor(fd: number, index: Index) {
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
      return new CodeFile(fd, deserialize(bytes) as Index);
    } catch {
      closeSync(fd);
      return undefined;
    }
  }

  #read(position: number, length: number, crc: number): Buffer<ArrayBuffer> | undefined {
    try {
      const bytes = readAt(this.#fd, position, length);
      return crc32(bytes) === crc ? bytes : undefined;
    } catch {
      return undefined;
    }
  }

  /** A bundle's regions; undefined if their bytes are damaged. */
  readRegions(bundle: StoredBundle): KeptRegion[] | undefined {
    const bytes = this.#read(bundle.at, codeSize(bundle), bundle.codeCrc);
    let at = 0;
    return (
      bytes &&
      bundle.regions.map(({ pieces, id: _, ...region }) => ({
        ...region,
        code: pieces.map(({ offset, length }) => ({ offset, bytes: bytes.subarray(at, (at += length)) })),
      }))
    );
  }

  /** The module with a bundle's functions; undefined if its bytes are damaged. */
  readModule(bundle: StoredBundle): StoredModule | undefined {
    const at = bundle.at + codeSize(bundle);
    const wasm = this.#read(at, bundle.wasm, bundle.wasmCrc);
    if (wasm === undefined || bundle.optimised === 0) return wasm && { wasm, optimised: undefined };
    const optimised = this.#read(at + bundle.wasm, bundle.optimised, bundle.optimisedCrc);
    return optimised && { wasm, optimised };
  }

  /** The bytes of a bundle as they are. */
  raw(bundle: StoredBundle): Uint8Array {
    return readAt(this.#fd, bundle.at, codeSize(bundle) + bundle.wasm + bundle.optimised);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** In memory of its own. */
function readAt(fd: number, position: number, length: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.from(new ArrayBuffer(Math.max(0, length)));
  for (let at = 0; at < length; ) {
    const count = readSync(fd, bytes, at, length - at, position + at);
    if (count === 0) throw new Error('the file ends early');
    at += count;
  }
  return bytes;
}

/** A bundle as it is to be in the file. */
export type Entry = { readonly stored: StoredBundle; readonly bytes: Uint8Array };

/** Regions with their ids, and the module that has their functions in this order. */
export function entryOf(
  regions: readonly { readonly region: KeptRegion; readonly id: string }[],
  { wasm, optimised }: StoredModule,
  run: number,
): Entry {
  const code = Buffer.concat(regions.flatMap(({ region }) => region.code.map(({ bytes }) => bytes)));
  const stored: StoredBundle = {
    regions: regions.map(({ region: { code, ...rest }, id }) => ({
      ...rest,
      pieces: code.map(({ offset, bytes }) => ({ offset, length: bytes.length })),
      id,
    })),
    wasm: wasm.length,
    optimised: optimised?.length ?? 0,
    codeCrc: crc32(code),
    wasmCrc: crc32(wasm),
    optimisedCrc: optimised ? crc32(optimised) : 0,
    at: 0,
    run,
  };
  return { stored, bytes: Buffer.concat([code, wasm, ...(optimised ? [optimised] : [])]) };
}

/** A text that tells a region from others; `wasm`: its own module. */
export function regionId({ key, code }: KeptRegion, wasm: Uint8Array): string {
  const bytes = Buffer.concat(code.map((piece) => piece.bytes));
  return [key, bytes.length, crc32(bytes), wasm.length, crc32(wasm)].map((number) => number.toString(36)).join('.');
}

/** Puts a file in the place of the one there is. @throws what the file system says */
export function writeCodeFile(path: string, entries: readonly Entry[], warm: readonly number[]): void {
  let at = MAGIC.length;
  const bundles = entries.map(({ stored, bytes }): StoredBundle => {
    const placed = { ...stored, at };
    at += bytes.length;
    return placed;
  });
  const indexBytes = serialize({ bundles, warm } satisfies Index);
  const trailer = Buffer.alloc(TRAILER);
  trailer.writeUInt32LE(indexBytes.length, 0);
  trailer.writeUInt32LE(crc32(indexBytes), 4);
  trailer.write(MAGIC, 8, 'latin1');
  replaceFile(path, Buffer.concat([Buffer.from(MAGIC, 'latin1'), ...entries.map(({ bytes }) => bytes), indexBytes, trailer]));
}

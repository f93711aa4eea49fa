/** One module, with what V8 made of it in earlier runs: the engine's core, which every guest needs. */
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { crc32 } from 'node:zlib';
import { dropOldFiles, fileOf, replaceFile, touch } from './folder.ts';
import { instanceToAsk, moduleOf, optimisedCode } from './optimised.ts';

/** Kept code is written anew if it has grown by that much. */
const GROWTH = 1.02;
const CRC = 4;

export class KeptModule {
  readonly #folder: string;
  #path = '';
  #known = 0;
  #module: WebAssembly.Module | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  readonly compile = (wasm: Uint8Array<ArrayBuffer>): WebAssembly.Module => {
    this.#path = fileOf(this.#folder, 'core', wasm);
    const optimised = readChecked(this.#path);
    const length = optimised?.length ?? 0;
    const kept = optimised && moduleOf(wasm, optimised);
    if (kept) this.#known = length;
    this.#module = kept ?? new WebAssembly.Module(wasm);
    return this.#module;
  };

  /** Keeps what V8 has made of it by now. `probe`: a function that it exports, which is optimised if any is. @throws what the file system says */
  save(probe: string): void {
    if (this.#module === undefined) return;
    // V8 takes kept code only under the flags that it was written with, and the core is compiled before other threads are.
    setFlagsFromString('--wasm-lazy-compilation');
    try {
      const fn = instanceToAsk(this.#module).exports[probe];
      const optimised = fn && optimisedCode(this.#module, fn);
      if (optimised && optimised.length > this.#known * GROWTH) {
        writeChecked(this.#path, optimised);
        dropOldFiles(this.#path);
      } else if (this.#known > 0) touch(this.#path);
    } finally {
      setFlagsFromString('--no-wasm-lazy-compilation');
    }
  }
}

function readChecked(path: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    const bytes = readFileSync(path);
    const content = bytes.subarray(CRC);
    return crc32(content) === bytes.readUInt32LE(0) ? new Uint8Array(content) : undefined;
  } catch {
    return undefined;
  }
}

function writeChecked(path: string, content: Uint8Array): void {
  const bytes = Buffer.alloc(CRC + content.length);
  bytes.writeUInt32LE(crc32(content), 0);
  bytes.set(content, CRC);
  replaceFile(path, bytes);
}

import { BootError } from './errors.ts';

/** Little-endian reads that name what was cut off instead of running past the end of a file. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly #what: string;
  readonly #view: DataView;

  /** @param what names the file in messages: "kernel", "ELF payload" */
  constructor(bytes: Uint8Array, what: string) {
    this.bytes = bytes;
    this.#what = what;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get length(): number {
    return this.bytes.length;
  }

  u8(offset: number): number {
    this.#need(offset, 1);
    return this.#view.getUint8(offset);
  }

  u16(offset: number): number {
    this.#need(offset, 2);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number): number {
    this.#need(offset, 4);
    return this.#view.getUint32(offset, true);
  }

  /** A 64-bit field as a number; no address or size that a guest can have needs more than 53 bits. */
  u64(offset: number, field: string): number {
    this.#need(offset, 8);
    const value = this.#view.getUint32(offset + 4, true) * 0x1_0000_0000 + this.#view.getUint32(offset, true);
    if (!Number.isSafeInteger(value)) throw new BootError('BOOT_BAD_HEADER', `${this.#what}: ${field} is beyond any address`);
    return value;
  }

  slice(offset: number, length: number): Uint8Array {
    this.#need(offset, length);
    return this.bytes.subarray(offset, offset + length);
  }

  #need(offset: number, length: number): void {
    if (offset + length <= this.bytes.length) return;
    throw new BootError(
      'BOOT_TRUNCATED',
      `${this.#what} is truncated: it has ${this.bytes.length} bytes, its header speaks of ${offset + length}`,
    );
  }
}

/** Little-endian writes into a blob of known size. */
export class Writer {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(offset: number, value: number): void {
    this.#view.setUint8(offset, value);
  }

  u16(offset: number, value: number): void {
    this.#view.setUint16(offset, value, true);
  }

  u32(offset: number, value: number): void {
    this.#view.setUint32(offset, value >>> 0, true);
  }

  u64(offset: number, value: number): void {
    this.#view.setUint32(offset, value >>> 0, true);
    this.#view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  }

  set(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offset);
  }
}

/**
 * Saved state of one part: a 24-byte header and the bytes of its layout. Times inside the bytes are on the clock of the machine
 * that saved them; the header carries that clock's reading, so the restoring side can shift them to its own.
 */
import { IrqChipError } from './errors.ts';

const MAGIC = 0x4d495354; // "TSIM"
const HEADER = 24;

export type ImageKind = { readonly name: string; readonly id: number; readonly version: number; readonly size: number };

export function bytesAt(buffer: ArrayBufferLike, byteOffset: number, size: number): Uint8Array {
  return new Uint8Array(buffer, byteOffset, size);
}

/** Packs `state` with the clock's reading `nowNs`. */
export function saveImage(kind: ImageKind, nowNs: number, state: Uint8Array): Uint8Array {
  const image = new Uint8Array(HEADER + kind.size);
  const header = new DataView(image.buffer);
  header.setUint32(0, MAGIC, true);
  header.setUint32(4, kind.id, true);
  header.setUint32(8, kind.version, true);
  header.setUint32(12, kind.size, true);
  header.setFloat64(16, nowNs, true);
  image.set(state, HEADER);
  return image;
}

/** Checks an image and returns a private copy of its bytes (aligned for any layout) with the clock's reading at the save. */
export function openImage(kind: ImageKind, image: unknown): { bytes: Uint8Array; savedNs: number } {
  if (!(image instanceof Uint8Array)) throw bad(kind, 'is not a byte array');
  if (image.length !== HEADER + kind.size) throw bad(kind, `is ${image.length} bytes, not ${HEADER + kind.size}`);
  const header = new DataView(image.buffer, image.byteOffset, HEADER);
  if (header.getUint32(0, true) !== MAGIC) throw bad(kind, 'does not begin with the image signature');
  if (header.getUint32(4, true) !== kind.id) throw bad(kind, 'belongs to another part');
  if (header.getUint32(8, true) !== kind.version)
    throw bad(kind, `has version ${header.getUint32(8, true)}, not ${kind.version}`);
  if (header.getUint32(12, true) !== kind.size) throw bad(kind, 'declares another size');
  const savedNs = header.getFloat64(16, true);
  if (!Number.isFinite(savedNs)) throw bad(kind, 'has no valid time');
  const bytes = new Uint8Array(kind.size);
  bytes.set(image.subarray(HEADER));
  return { bytes, savedNs };
}

export function bad(kind: ImageKind, what: string): IrqChipError {
  return new IrqChipError('IRQCHIP_BAD_STATE', `saved ${kind.name} state ${what}`);
}

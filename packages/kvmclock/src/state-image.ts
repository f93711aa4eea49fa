/** Saved state: a 24-byte header (signature, part, version, size, the clock's reading) and the bytes. */
import { KvmClockError } from './errors.ts';

const MAGIC = 0x43564b54; // "TKVC"
const HEADER = 24;
const VERSION = 1;

export function saveImage(part: number, nowNs: number, state: Uint8Array): Uint8Array {
  const image = new Uint8Array(HEADER + state.length);
  const header = new DataView(image.buffer);
  for (const [i, word] of [MAGIC, part, VERSION, state.length].entries()) header.setUint32(4 * i, word, true);
  header.setFloat64(16, nowNs, true);
  image.set(state, HEADER);
  return image;
}

/** A private copy of the bytes and the clock's reading when they were saved. */
export function openImage(part: number, size: number, image: unknown): { bytes: Uint8Array; savedNs: number } {
  if (!(image instanceof Uint8Array)) throw badState('is not a byte array');
  if (image.length !== HEADER + size) throw badState(`is ${image.length} bytes, not ${HEADER + size}`);
  const header = new DataView(image.buffer, image.byteOffset, HEADER);
  for (const [i, word] of [MAGIC, part, VERSION, size].entries())
    if (header.getUint32(4 * i, true) !== word) throw badState('has a header of another kind or version');
  const savedNs = header.getFloat64(16, true);
  if (!(Math.abs(savedNs) <= Number.MAX_SAFE_INTEGER)) throw badState('has no valid time');
  const bytes = new Uint8Array(size);
  bytes.set(image.subarray(HEADER));
  return { bytes, savedNs };
}

export const badState = (what: string): KvmClockError => new KvmClockError('KVMCLOCK_BAD_STATE', `saved time state ${what}`);

import { BootError } from './errors.ts';

/** Multiboot Specification 0.6.96 §3.1.1. */
const HEADER_MAGIC = 0x1bad_b002;
/** §3.1: the header lies within the first 8192 bytes, on a multiple of 4. */
const SEARCHED = 8192;

/**
 * Offset of a file's Multiboot header; undefined if it has none.
 * @throws BootError BOOT_BAD_HEADER for one whose checksum is wrong, when there is no other
 */
export function findMultibootHeader(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let damaged = false;
  for (let at = 0; at + 12 <= Math.min(bytes.length, SEARCHED); at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const sum = HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true);
    if (sum % 0x1_0000_0000 === 0) return at;
    damaged = true;
  }
  if (damaged) throw new BootError('BOOT_BAD_HEADER', "the kernel's multiboot header has a wrong checksum");
  return undefined;
}

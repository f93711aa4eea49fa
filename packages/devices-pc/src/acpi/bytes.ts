/** Growing byte strings, little endian. */

/** Joins parts in order. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

export const u8 = (value: number): Uint8Array => Uint8Array.of(value);
export const u16 = (value: number): Uint8Array => Uint8Array.of(value, value >>> 8);
export const u32 = (value: number): Uint8Array => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
/** Up to 2^53. */
export const u64 = (value: number): Uint8Array => concat([u32(value % 2 ** 32), u32(Math.floor(value / 2 ** 32))]);

/** ASCII, padded with `fill` or cut to `length`. */
export function ascii(text: string, length = text.length, fill = 0): Uint8Array {
  const bytes = new Uint8Array(length).fill(fill);
  for (let i = 0; i < Math.min(text.length, length); i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** What must be added so that all bytes sum to 0 modulo 256. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum += byte;
  return -sum & 0xff;
}

import { BootError } from './errors.ts';

/** Magic of the LZ4 legacy frame, the form `lz4 -l` writes and Linux uses for its payload. */
export const LZ4_LEGACY_MAGIC = 0x184c2102;
const MIN_MATCH = 4;

/**
 * Decodes an LZ4 legacy frame: the magic, then blocks of `u32 compressedSize, data` without checksums.
 * @param frame starts at the magic and ends where the last block ends
 * @param outSize exact size of the result, bytes
 * @throws BootError when the blocks do not give exactly that many bytes
 */
export function decodeLz4Legacy(frame: Uint8Array, outSize: number): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 4 || view.getUint32(0, true) !== LZ4_LEGACY_MAGIC) throw bad('it does not start with the LZ4 legacy magic');
  const out = new Uint8Array(outSize);
  let at = 4;
  let written = 0;
  while (at < frame.length) {
    if (at + 4 > frame.length) throw bad('an LZ4 block header is cut off');
    const size = view.getUint32(at, true);
    at += 4;
    // Concatenated frames repeat the magic where a block size would stand.
    if (size === LZ4_LEGACY_MAGIC) continue;
    if (at + size > frame.length) throw bad('an LZ4 block is cut off');
    written = decodeBlock(frame, at, at + size, out, written);
    at += size;
  }
  if (written !== outSize) throw bad(`LZ4 gave ${written} bytes instead of ${outSize}`);
  return out;
}

/**
 * One LZ4 block: sequences of token, literals, 16-bit match distance, match. Short copies run as byte loops because a
 * `copyWithin` call costs more than the dozen bytes it moves.
 * @returns the new end of the output
 */
function decodeBlock(src: Uint8Array, from: number, end: number, out: Uint8Array, to: number): number {
  const blockStart = to;
  const outEnd = out.length;
  let i = from;
  let o = to;
  while (i < end) {
    const token = src[i++];
    let literals = token >>> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255) {
        if (i >= end) throw bad('an LZ4 literal run is cut off');
        more = src[i++];
        literals += more;
      }
    }
    if (i + literals > end || o + literals > outEnd) throw bad('an LZ4 literal run is too long');
    if (literals > 48) {
      out.set(src.subarray(i, i + literals), o);
      o += literals;
      i += literals;
    } else {
      for (const stop = i + literals; i < stop; ) out[o++] = src[i++];
    }
    // The last sequence of a block has literals only.
    if (i >= end) break;

    if (i + 2 > end) throw bad('an LZ4 match is cut off');
    const distance = src[i] | (src[i + 1] << 8);
    i += 2;
    let length = (token & 15) + MIN_MATCH;
    if (length === 15 + MIN_MATCH) {
      let more = 255;
      while (more === 255) {
        if (i >= end) throw bad('an LZ4 match is cut off');
        more = src[i++];
        length += more;
      }
    }
    let m = o - distance;
    if (distance === 0 || m < blockStart || o + length > outEnd) throw bad('an LZ4 match points outside the data');
    if (length > 64 && distance >= length) {
      out.copyWithin(o, m, m + length);
      o += length;
    } else if (length > 64 && distance === 1) {
      out.fill(out[m], o, o + length);
      o += length;
    } else {
      for (const stop = o + length; o < stop; ) out[o++] = out[m++];
    }
  }
  return o;
}

const bad = (detail: string): BootError =>
  new BootError('BOOT_BAD_PAYLOAD', `the kernel's compressed payload is damaged: ${detail}`);

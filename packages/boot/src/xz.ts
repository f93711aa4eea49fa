import { LzmaDecoder, LzmaError } from './lzma.ts';

/** Filter IDs of the .xz file format, §5.3. */
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
const CHECK_SIZE = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CHECK_CRC32 = 1;

/**
 * Decodes one .xz stream as the kernel's build makes it: LZMA2, optionally behind the x86 branch filter, any number of blocks,
 * CRC32 verified where the stream carries one.
 * @param size exact size of the result, bytes
 * @throws LzmaError
 */
export function decodeXz(file: Uint8Array, size: number): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 24) throw new LzmaError('compressed data is cut off');
  // .xz §2.1.1: magic, two bytes of stream flags (the second is the check type), CRC32 of the flags.
  const check = file[7] & 0x0f;
  if (crc32(file.subarray(6, 8)) !== view.getUint32(8, true)) throw new LzmaError('stream header is damaged');
  const out = new Uint8Array(size);
  const decoder = new LzmaDecoder(out);
  let at = 12;
  // A zero where a block header's size would stand starts the index.
  while (at < file.length && file[at] !== 0) {
    const headerSize = (file[at] + 1) * 4;
    if (at + headerSize > file.length) throw new LzmaError('a block header is cut off');
    if (crc32(file.subarray(at, at + headerSize - 4)) !== view.getUint32(at + headerSize - 4, true))
      throw new LzmaError('a block header is damaged');
    const { x86Start } = blockFilters(file.subarray(at, at + headerSize - 4));
    const dataStart = at + headerSize;
    const blockStart = decoder.position;
    const dataEnd = decodeLzma2(file, dataStart, decoder);
    const block = out.subarray(blockStart, decoder.position);
    if (x86Start !== undefined) x86BranchDecode(block, x86Start);
    at = dataStart + Math.ceil((dataEnd - dataStart) / 4) * 4;
    if (check === CHECK_CRC32) {
      if (at + 4 > file.length) throw new LzmaError('a checksum is cut off');
      if (view.getUint32(at, true) !== crc32(block)) throw new LzmaError('checksum mismatch');
    }
    at += CHECK_SIZE[check];
  }
  return out.subarray(0, decoder.position);
}

/** .xz §3.1: the filter flags of a block header. Sizes that the header may carry are recomputed anyway. */
function blockFilters(header: Uint8Array): { x86Start?: number } {
  const flags = header[1];
  let at = 2;
  const vli = (): number => {
    let value = 0;
    for (let shift = 0; shift < 63; shift += 7) {
      if (at >= header.length) throw new LzmaError('a block header is damaged');
      const byte = header[at++];
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) === 0) return value;
    }
    throw new LzmaError('a block header is damaged');
  };
  if ((flags & 0x40) !== 0) vli();
  if ((flags & 0x80) !== 0) vli();
  const count = (flags & 3) + 1;
  let x86Start: number | undefined;
  for (let i = 0; i < count; i++) {
    const id = vli();
    const propertiesSize = vli();
    if (at + propertiesSize > header.length) throw new LzmaError('a block header is damaged');
    const isLast = i === count - 1;
    if (isLast !== (id === FILTER_LZMA2) || (!isLast && (id !== FILTER_X86 || x86Start !== undefined)))
      throw new LzmaError(`unsupported .xz filter 0x${id.toString(16)}`);
    if (id === FILTER_X86)
      x86Start = propertiesSize < 4 ? 0 : new DataView(header.buffer, header.byteOffset + at, 4).getUint32(0, true);
    at += propertiesSize;
  }
  return x86Start === undefined ? {} : { x86Start };
}

/** LZMA2: chunks, each with a control byte that says what to reset; byte 0 ends. Returns where reading stopped. */
function decodeLzma2(file: Uint8Array, from: number, decoder: LzmaDecoder): number {
  let at = from;
  let needDictionary = true;
  let needProperties = true;
  for (;;) {
    if (at >= file.length) throw new LzmaError('compressed data is cut off');
    const control = file[at++];
    if (control === 0) return at;
    if (control >= 0xe0 || control === 1) {
      decoder.resetDictionary();
      needDictionary = false;
    } else if (needDictionary) throw new LzmaError('no dictionary reset at the start');
    if (control >= 0x80) {
      if (at + 5 > file.length) throw new LzmaError('compressed data is cut off');
      const unpacked = ((control & 0x1f) << 16) + (file[at] << 8) + file[at + 1] + 1;
      const packed = (file[at + 2] << 8) + file[at + 3] + 1;
      at += 4;
      if (control >= 0xc0) {
        decoder.setProperties(file[at++]);
        needProperties = false;
      } else if (needProperties) throw new LzmaError('no properties at the start');
      if (control >= 0xa0) decoder.resetState();
      if (at + packed > file.length) throw new LzmaError('compressed data is cut off');
      decoder.decode(file, at, at + packed, decoder.position + unpacked);
      at += packed;
    } else {
      if (control > 2) throw new LzmaError('bad LZMA2 chunk');
      if (at + 2 > file.length) throw new LzmaError('compressed data is cut off');
      const size = (file[at] << 8) + file[at + 1] + 1;
      at += 2;
      if (at + size > file.length) throw new LzmaError('compressed data is cut off');
      decoder.store(file.subarray(at, at + size));
      at += size;
    }
  }
}

/** By the number of high-looking bytes seen just before an opcode: may this opcode's operand still be an address? */
const MASK_ALLOWED = [true, true, true, false, true, false, false, false];
const MASK_BIT = [0, 1, 2, 2, 3, 3, 3, 3];
const isHigh = (byte: number): boolean => byte === 0x00 || byte === 0xff;

/**
 * Undoes the x86 branch filter in place: the compressor turned the relative operands of CALL (E8) and JMP (E9) into absolute
 * ones, which repeat more often. The mask remembers opcode-like bytes in the previous three positions, because an operand that
 * overlaps another one was left alone.
 */
export function x86BranchDecode(data: Uint8Array, start = 0): void {
  let mask = 0;
  let previous = -1;
  for (let i = 0; i + 4 < data.length; i++) {
    if ((data[i] & 0xfe) !== 0xe8) continue;
    const distance = i - previous;
    previous = i;
    if (distance > 3) {
      mask = 0;
    } else {
      mask = (mask << (distance - 1)) & 7;
      if (mask !== 0) {
        const byte = data[i + 4 - MASK_BIT[mask]];
        if (!MASK_ALLOWED[mask] || isHigh(byte)) {
          mask = ((mask << 1) | 1) & 7;
          continue;
        }
      }
    }
    if (!isHigh(data[i + 4])) {
      mask = ((mask << 1) | 1) & 7;
      continue;
    }
    let value = data[i + 1] | (data[i + 2] << 8) | (data[i + 3] << 16) | (data[i + 4] << 24);
    for (;;) {
      value = (value - (start + i + 5)) | 0;
      if (mask === 0) break;
      const shift = MASK_BIT[mask] * 8;
      if (!isHigh((value >>> (24 - shift)) & 0xff)) break;
      value ^= (1 << (32 - shift)) - 1;
    }
    data[i + 1] = value;
    data[i + 2] = value >>> 8;
    data[i + 3] = value >>> 16;
    // The operand's top byte is the sign of a 25-bit displacement.
    data[i + 4] = ((value >>> 24) & 1) === 0 ? 0 : 0xff;
    i += 4;
  }
}

let crcTable: Uint32Array | undefined;

/** CRC-32 (IEEE 802.3), as an unsigned number. */
export function crc32(bytes: Uint8Array): number {
  if (crcTable === undefined) {
    crcTable = new Uint32Array(256);
    for (let n = 0; n < 256; n++) {
      let c = n;
      for (let k = 0; k < 8; k++) c = (c & 1) === 0 ? c >>> 1 : 0xedb8_8320 ^ (c >>> 1);
      crcTable[n] = c;
    }
  }
  let crc = 0xffff_ffff;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ crcTable[(crc ^ bytes[i]) & 0xff];
  return ~crc >>> 0;
}

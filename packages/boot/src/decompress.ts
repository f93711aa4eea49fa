import { isElf } from './elf.ts';
import { BootError } from './errors.ts';
import { decodeLz4Legacy } from './lz4.ts';

/** How a kernel's payload is stored; `none` is a plain ELF. */
export type Compression = 'none' | 'gzip' | 'bzip2' | 'lzma' | 'xz' | 'lzo' | 'lz4' | 'zstd';

/** Magic bytes as in Documentation/arch/x86/boot.rst, `payload_offset`. */
const MAGIC: readonly (readonly [Exclude<Compression, 'none'>, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['gzip', [0x1f, 0x9e]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lzma', [0x5d, 0x00, 0x00]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['lzo', [0x89, 0x4c, 0x5a, 0x4f, 0x00]],
  ['lz4', [0x02, 0x21, 0x4c, 0x18]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
];

/** Larger than any kernel; a damaged size field must not make the host allocate what it says. */
const MAX_UNPACKED = 512 * 1024 * 1024;

/** Recognises a payload by its first bytes; `undefined` when it is none of the kernel's formats. */
export function detectCompression(payload: Uint8Array): Compression | undefined {
  if (isElf(payload)) return 'none';
  return MAGIC.find(([, magic]) => magic.every((byte, i) => payload[i] === byte))?.[0];
}

/**
 * Unpacks a bzImage payload. Every format but a plain ELF ends in the unpacked size as a 32-bit number: gzip by itself,
 * the others because the kernel's build appends it.
 * @throws BootError
 */
export async function decompressPayload(payload: Uint8Array): Promise<Uint8Array> {
  const format = detectCompression(payload);
  if (format === undefined)
    throw new BootError('BOOT_BAD_PAYLOAD', "the kernel's payload has no known compression format: the file is damaged");
  if (format === 'none') return payload;
  if (format === 'bzip2' || format === 'lzo')
    throw new BootError(
      'BOOT_UNSUPPORTED_COMPRESSION',
      `the kernel's payload is compressed with ${format}, which is not supported (gzip, lzma, xz, lz4 and zstd are): pass its vmlinux instead`,
    );
  const size = unpackedSize(payload);
  const body = format === 'gzip' ? payload : payload.subarray(0, payload.length - 4);
  try {
    const unpacked = await DECODERS[format](body, size);
    if (unpacked.length !== size) throw new Error(`${format} gave ${unpacked.length} bytes instead of ${size}`);
    return unpacked;
  } catch (error) {
    if (error instanceof BootError) throw error;
    const detail = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new BootError('BOOT_BAD_PAYLOAD', `the kernel's ${format} payload is damaged: ${detail}`, { cause: error });
  }
}

function unpackedSize(payload: Uint8Array): number {
  if (payload.length < 12) throw new BootError('BOOT_BAD_PAYLOAD', "the kernel's compressed payload is too short");
  const size = new DataView(payload.buffer, payload.byteOffset + payload.length - 4, 4).getUint32(0, true);
  if (size === 0 || size > MAX_UNPACKED)
    throw new BootError('BOOT_BAD_PAYLOAD', `the kernel's payload claims to unpack to ${size} bytes: the file is damaged`);
  return size;
}

type Decoder = (body: Uint8Array, size: number) => Uint8Array | Promise<Uint8Array>;

/** Decoders are imported when needed: a start from a cached, unpacked kernel loads none of them. */
const DECODERS: Readonly<Record<'gzip' | 'lzma' | 'xz' | 'lz4' | 'zstd', Decoder>> = {
  lz4: decodeLz4Legacy,
  gzip: async (body, size) => {
    const { gunzipSync } = await import('fflate');
    return gunzipSync(body, { out: new Uint8Array(size) });
  },
  zstd: async (body, size) => {
    const { decompress } = await import('fzstd');
    return decompress(body, new Uint8Array(size));
  },
  xz: async (body, size) => (await import('./xz.ts')).decodeXz(body, size),
  lzma: async (body, size) => (await import('./lzma.ts')).decodeLzmaAlone(body, size),
};

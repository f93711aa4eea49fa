import { spawnSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decompressPayload, detectCompression } from './decompress.ts';
import { BootError } from './errors.ts';
import { lz4Literals, makeElf, withSize } from './testing/images.ts';
import { crc32, decodeXz, x86BranchDecode } from './xz.ts';

/** Runs a compressor of the host; `undefined` where it is not installed. */
function host(command: string, args: readonly string[], input: Uint8Array): Uint8Array | undefined {
  const result = spawnSync(command, args, { input, maxBuffer: 1 << 28 });
  return result.error === undefined && result.status === 0 ? new Uint8Array(result.stdout) : undefined;
}

/** Data with matches near and far, code-like bytes for the x86 filter, and stretches that do not compress. */
function sample(size: number): Uint8Array {
  const out = new Uint8Array(size);
  let x = 12345;
  for (let i = 0; i < size; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    const kind = (i >> 9) % 4;
    out[i] =
      kind === 0
        ? x >>> 24
        : kind === 1
          ? i & 31
          : kind === 2
            ? x >>> 30 === 0
              ? 0xe8
              : x >>> 31 === 0
                ? 0
                : 0xff
            : out[(i * 7) >> 3];
  }
  return out;
}

const data = sample(100_000);
const formats: readonly { name: string; pack: () => Uint8Array | undefined }[] = [
  { name: 'gzip', pack: () => new Uint8Array(gzipSync(data)) },
  { name: 'lz4', pack: () => withSize(lz4Literals(data), data.length) },
  ...[
    { name: 'xz', command: 'xz', args: ['--check=crc32', '--x86', '--lzma2=preset=6,dict=32MiB', '-c'] },
    { name: 'xz', command: 'xz', args: ['--check=crc64', '-0', '-c'] },
    { name: 'lzma', command: 'xz', args: ['--format=lzma', '-c'] },
    { name: 'lz4', command: 'lz4', args: ['-l', '-9', '-c'] },
    { name: 'zstd', command: 'zstd', args: ['-12', '-c'] },
  ].map(({ name, command, args }) => ({
    name,
    pack: () => {
      const packed = host(command, args, data);
      return packed && withSize(packed, data.length);
    },
  })),
];

describe('payload decompression (boot.rst, payload_offset)', () => {
  for (const [i, { name, pack }] of formats.entries()) {
    it(`unpacks ${name} as the kernel's build writes it (${i})`, async () => {
      const packed = pack();
      // The host has no such compressor: the synthesized forms above still cover the decoder's container.
      if (packed === undefined) return;
      expect(detectCompression(packed)).toBe(name);
      expect(Buffer.compare(await decompressPayload(packed), data)).toBe(0);
    });

    it(`answers damage in ${name} with BOOT_BAD_PAYLOAD or other bytes, never with another error (${i})`, async () => {
      const packed = pack();
      if (packed === undefined) return;
      let x = 99;
      for (let round = 0; round < 15; round++) {
        const copy = packed.slice(0, round < 5 ? Math.floor((packed.length * round) / 5) + 7 : packed.length);
        x = (Math.imul(x, 1103515245) + 12345) >>> 0;
        if (round >= 5) copy[8 + (x % (copy.length - 12))] ^= 1 << (x >>> 29);
        await decompressPayload(copy).catch((error) => {
          expect(error).toBeInstanceOf(BootError);
          expect(error.message).not.toContain('\n');
        });
      }
    });
  }

  it('takes a plain ELF as it is', async () => {
    const elf = makeElf();
    expect(await decompressPayload(elf)).toBe(elf);
  });

  it('names a format that it cannot unpack', async () => {
    const bzip2 = new Uint8Array([0x42, 0x5a, 0x68, 0x39, ...new Uint8Array(32)]);
    await expect(decompressPayload(bzip2)).rejects.toMatchObject({
      code: 'BOOT_UNSUPPORTED_COMPRESSION',
      message: expect.stringContaining('bzip2'),
    });
    const lzo = new Uint8Array([0x89, 0x4c, 0x5a, 0x4f, 0, ...new Uint8Array(32)]);
    await expect(decompressPayload(lzo)).rejects.toMatchObject({ message: expect.stringContaining('lzo') });
  });

  it('does not allocate what a damaged size field says', async () => {
    const packed = withSize(lz4Literals(data), 0xffff_fff0);
    await expect(decompressPayload(packed)).rejects.toMatchObject({ code: 'BOOT_BAD_PAYLOAD' });
  });

  it('survives arbitrary bytes behind any magic', async () => {
    const magics = [
      [0x1f, 0x8b, 8],
      [0x5d, 0, 0],
      [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 1, 0x69, 0x22, 0xde, 0x36],
      [2, 0x21, 0x4c, 0x18],
      [0x28, 0xb5, 0x2f, 0xfd],
    ];
    const anyBytes = fc.tuple(fc.constantFrom(...magics), fc.uint8Array({ minLength: 16, maxLength: 200 }));
    await fc.assert(
      fc.asyncProperty(anyBytes, async ([magic, rest]) => {
        const payload = withSize(new Uint8Array([...magic, ...rest]), 1000);
        await decompressPayload(payload).catch((error) => expect(error).toBeInstanceOf(BootError));
      }),
      { numRuns: 300 },
    );
  });
});

describe('.xz', () => {
  it('CRC-32 has the check value of its catalogue', () => {
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  });

  it('the x86 filter turns an absolute call operand back into a relative one', () => {
    const code = new Uint8Array([0x90, 0xe8, 0x06 + 0x10, 0, 0, 0, 0x90, 0x90]);
    x86BranchDecode(code);
    expect([...code]).toEqual([0x90, 0xe8, 0x10, 0, 0, 0, 0x90, 0x90]);
  });

  it('notices a flipped bit by its CRC-32', () => {
    const packed = host('xz', ['--check=crc32', '-c'], data);
    if (packed === undefined) return;
    packed[packed.length >> 1] ^= 0x10;
    expect(() => decodeXz(packed, data.length)).toThrow();
  });
});

import { describe, expect, it } from 'vitest';
import { BootError } from './errors.ts';
import { decodeLz4Legacy } from './lz4.ts';

const frame = (...blocks: readonly (readonly number[])[]): Uint8Array => {
  const out = [0x02, 0x21, 0x4c, 0x18];
  for (const block of blocks) out.push(block.length & 0xff, block.length >> 8, 0, 0, ...block);
  return Uint8Array.from(out);
};
const ascii = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));
const decode = (blocks: readonly (readonly number[])[], size: number): string =>
  new TextDecoder().decode(decodeLz4Legacy(frame(...blocks), size));
const damaged = (work: () => unknown): void => {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(BootError);
    expect((error as BootError).code).toBe('BOOT_BAD_PAYLOAD');
    return;
  }
  expect.unreachable('no error');
};

describe('LZ4 legacy frames', () => {
  it('copies literals, and a match that overlaps what it writes', () => {
    expect(decode([[0x35, ...ascii('abc'), 3, 0, 0x10, ...ascii('!')]], 13)).toBe('abcabcabcabc!');
  });

  it('extends run lengths by 255 at a time', () => {
    const literals = ascii('x'.repeat(15 + 255 + 2));
    expect(decode([[0xf0, 255, 2, ...literals]], 272)).toBe('x'.repeat(272));
    expect(decode([[0x1f, ...ascii('y'), 1, 0, 255, 1, 0x00]], 1 + 4 + 15 + 256)).toBe('y'.repeat(276));
  });

  it('joins blocks, and passes over the magic of a concatenated frame', () => {
    const joined = new Uint8Array([...frame([0x10, ...ascii('a')]), ...frame([0x10, ...ascii('b')])]);
    expect(new TextDecoder().decode(decodeLz4Legacy(joined, 2))).toBe('ab');
  });

  it('refuses matches before the block, at distance 0 and past the end', () => {
    damaged(() => decode([[0x10, ...ascii('a'), 2, 0]], 5));
    damaged(() => decode([[0x10, ...ascii('a'), 0, 0]], 5));
    damaged(() => decode([[0x10, ...ascii('a'), 1, 0]], 4));
    damaged(() =>
      decode(
        [
          [0x10, ...ascii('a')],
          [0x00, 1, 0],
        ],
        5,
      ),
    );
  });

  it('refuses blocks that are cut off or give another size', () => {
    const whole = frame([0x35, ...ascii('abc'), 3, 0, 0x10, ...ascii('!')]);
    for (let n = 0; n < whole.length; n++) damaged(() => decodeLz4Legacy(whole.subarray(0, n), 13));
    damaged(() => decodeLz4Legacy(whole, 12));
    damaged(() => decodeLz4Legacy(whole, 14));
  });
});

import { describe, expect, it } from 'vitest';
import { MARKER, markedKernel } from './marker-kernel.ts';

/** An ELF64 executable: one segment of 64 bytes at 1 MiB, entered in its middle. */
function smallKernel(): Uint8Array {
  const file = new Uint8Array(0x140);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setBigUint64(24, 0x10_0020n, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // PT_LOAD
  for (const [at, value] of [
    [72, 0x100],
    [80, 0x10_0000],
    [88, 0x10_0000],
    [96, 64],
    [104, 64],
    [112, 0x10],
  ] as const)
    view.setBigUint64(at, BigInt(value), true);
  return file;
}

describe('a marked kernel', () => {
  it('writes the marker to the first serial port at its entry point; the original stays as it is', async () => {
    const original = smallKernel();
    const marked = await markedKernel(original);
    expect(original[0x120]).toBe(0);
    // mov dx, 0x3f8; mov al, marker; out dx, al
    expect([...marked.subarray(0x120, 0x127)]).toEqual([0x66, 0xba, 0xf8, 0x03, 0xb0, MARKER.charCodeAt(0), 0xee]);
    expect(marked.subarray(0, 0x120)).toEqual(original.subarray(0, 0x120));
  });

  it('needs an entry point inside the file', async () => {
    const kernel = smallKernel();
    new DataView(kernel.buffer).setBigUint64(24, 0x20_0000n, true);
    await expect(markedKernel(kernel)).rejects.toMatchObject({ code: expect.stringMatching(/^BENCH_HOST|^BOOT_/) });
  });
});

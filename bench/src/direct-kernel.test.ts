import { describe, expect, it } from 'vitest';
import { directKernel } from './direct-kernel.ts';

const SETUP = 1024;
const CODE = [0xde, 0xad, 0xbe, 0xef];

/** An ELF32 executable: one segment with CODE at 16 MiB, entered there. */
function smallElf(): Uint8Array {
  const file = new Uint8Array(0x64);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 3, true); // EM_386
  view.setUint32(24, 0x100_0000, true);
  view.setUint32(28, 52, true);
  view.setUint16(42, 32, true);
  view.setUint16(44, 1, true);
  for (const [at, value] of [
    [52, 1], // PT_LOAD
    [56, 0x60],
    [64, 0x100_0000],
    [68, 4],
    [72, 4],
  ])
    view.setUint32(at, value, true);
  file.set(CODE, 0x60);
  return file;
}

/** A bzImage with one sector of setup code, around an unpacked payload. */
function bzImage(payload: Uint8Array): Uint8Array {
  const out = new Uint8Array(SETUP + 0x70);
  const view = new DataView(out.buffer);
  out[0x1f1] = 1;
  view.setUint32(0x1f4, 7, true);
  view.setUint16(0x1fe, 0xaa55, true);
  out.set([0xeb, 0x6a, 0x48, 0x64, 0x72, 0x53], 0x200);
  view.setUint16(0x206, 0x020f, true);
  out[0x211] = 1;
  for (const [at, value] of [
    [0x22c, 0x7fff_ffff],
    [0x230, 0x20_0000],
    [0x24c, payload.length],
    [0x258, 0x100_0000],
    [0x260, 0x10_0000],
  ])
    view.setUint32(at, value, true);
  out.set(payload, SETUP);
  return out;
}

describe('a kernel for those who load nothing but a bzImage', () => {
  it('lies where it is to run once the part after the setup code is at 1 MiB', async () => {
    const original = bzImage(smallElf());
    const direct = await directKernel(original);
    expect([...direct.subarray(SETUP + 0xf0_0000, SETUP + 0xf0_0004)]).toEqual(CODE);
    // mov $0x1000000, %eax; jmp *%eax
    expect([...direct.subarray(SETUP, SETUP + 7)]).toEqual([0xb8, 0, 0, 0, 1, 0xff, 0xe0]);
    expect(new DataView(direct.buffer).getUint32(0x1f4, true) * 16).toBe(direct.length - SETUP);
    expect(direct.subarray(0, 0x1f4)).toEqual(original.subarray(0, 0x1f4));
    expect(direct.subarray(0x1f8, SETUP)).toEqual(original.subarray(0x1f8, SETUP));
  });

  it('cannot be made without setup code', async () => {
    await expect(directKernel(smallElf())).rejects.toMatchObject({ code: 'BENCH_HOST' });
  });
});

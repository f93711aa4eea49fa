/** Synthesized kernels for tests: small, but with every field a real one has. */
import { type ElfKernelOptions, writeElfKernel } from '../elf-writer.ts';

const text = new Uint8Array(256).map((_, i) => i);

/** An ELF kernel with, unless others are given, one segment whose end is not in the file. */
export const makeElf = (options: Partial<ElfKernelOptions> = {}): Uint8Array =>
  writeElfKernel({ segments: [{ gpa: 0x100_0000, bytes: text, memSize: 0x2000 }], ...options });

export type BzImageOptions = {
  readonly version?: number;
  readonly loadflags?: number;
  readonly xloadflags?: number;
  readonly cmdlineSize?: number;
  readonly initSize?: number;
  readonly initrdAddrMax?: number;
};

/** A bzImage around a payload as it stands in the file. */
export function makeBzImage(payload: Uint8Array, options: BzImageOptions = {}): Uint8Array {
  const setupSects = 3;
  const setup = (setupSects + 1) * 512;
  const payloadOffset = 64;
  const paragraphs = Math.ceil((payloadOffset + payload.length) / 16);
  const out = new Uint8Array(setup + paragraphs * 16);
  const view = new DataView(out.buffer);
  out[0x1f1] = setupSects;
  view.setUint32(0x1f4, paragraphs, true);
  view.setUint16(0x1fe, 0xaa55, true);
  out.set([0xeb, 0x6a], 0x200);
  out.set([0x48, 0x64, 0x72, 0x53], 0x202);
  view.setUint16(0x206, options.version ?? 0x020f, true);
  view.setUint16(0x20e, 0x100, true);
  out.set(new TextEncoder().encode('6.1.0-test #1'), 0x300);
  out[0x211] = options.loadflags ?? 1;
  view.setUint32(0x22c, options.initrdAddrMax ?? 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  out[0x234] = 1;
  view.setUint16(0x236, options.xloadflags ?? 1, true);
  view.setUint32(0x238, options.cmdlineSize ?? 2047, true);
  view.setUint32(0x248, payloadOffset, true);
  view.setUint32(0x24c, payload.length, true);
  view.setUint32(0x258, 0x100_0000, true);
  view.setUint32(0x260, options.initSize ?? 0x10_0000, true);
  out.set(payload, setup + payloadOffset);
  return out;
}

/** Appends the size that the kernel's build appends to every payload but gzip's. */
export function withSize(body: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(body.length + 4);
  out.set(body);
  new DataView(out.buffer).setUint32(body.length, size, true);
  return out;
}

/** An LZ4 legacy frame with literals only. */
export function lz4Literals(data: Uint8Array): Uint8Array {
  const block: number[] = [];
  const length = data.length;
  block.push(Math.min(length, 15) << 4);
  if (length >= 15) {
    let rest = length - 15;
    for (; rest >= 255; rest -= 255) block.push(255);
    block.push(rest);
  }
  const out = new Uint8Array(8 + block.length + length);
  const view = new DataView(out.buffer);
  view.setUint32(0, 0x184c_2102, true);
  view.setUint32(4, block.length + length, true);
  out.set(block, 8);
  out.set(data, 8 + block.length);
  return out;
}

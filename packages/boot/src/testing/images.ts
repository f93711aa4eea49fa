/** Synthesized kernels for tests: small, but with every field a real one has. */

export type ElfOptions = {
  readonly width?: 32 | 64;
  readonly segments?: readonly { readonly gpa: number; readonly bytes: Uint8Array; readonly memSize?: number }[];
  readonly entry?: number;
  readonly pvhEntry?: number;
};

const text = new Uint8Array(256).map((_, i) => i);

/** Behind the segments: a kernel without another entry has to be Linux. */
const banner = new TextEncoder().encode('Linux version 0');

/** An ELF executable with the given segments and, if asked for, a Xen PVH note. */
export function makeElf(options: ElfOptions = {}): Uint8Array {
  const { width = 64, pvhEntry } = options;
  const segments = options.segments ?? [{ gpa: 0x100_0000, bytes: text, memSize: 0x2000 }];
  const is64 = width === 64;
  const ehsize = is64 ? 64 : 52;
  const phentsize = is64 ? 56 : 32;
  const count = segments.length + (pvhEntry === undefined ? 0 : 1);
  const noteAt = ehsize + count * phentsize;
  const noteSize = pvhEntry === undefined ? 0 : 12 + 4 + 8;
  let at = noteAt + noteSize;
  const size = at + segments.reduce((n, s) => n + s.bytes.length, 0);
  const out = new Uint8Array(size + banner.length);
  out.set(banner, size);
  const view = new DataView(out.buffer);
  const word = (offset: number, value: number): void => {
    view.setUint32(offset, value, true);
    if (is64) view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  };
  out.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, is64 ? 62 : 3, true);
  view.setUint32(20, 1, true);
  word(24, options.entry ?? segments[0].gpa);
  word(is64 ? 32 : 28, ehsize);
  view.setUint16(is64 ? 54 : 42, phentsize, true);
  view.setUint16(is64 ? 56 : 44, count, true);
  const programHeader = (index: number, type: number, offset: number, gpa: number, size: number, memSize: number): void => {
    const ph = ehsize + index * phentsize;
    view.setUint32(ph, type, true);
    word(ph + (is64 ? 8 : 4), offset);
    word(ph + (is64 ? 24 : 12), gpa);
    word(ph + (is64 ? 32 : 16), size);
    word(ph + (is64 ? 40 : 20), memSize);
    word(ph + (is64 ? 48 : 28), 4);
  };
  segments.forEach((segment, i) => {
    out.set(segment.bytes, at);
    programHeader(i, 1, at, segment.gpa, segment.bytes.length, segment.memSize ?? segment.bytes.length);
    at += segment.bytes.length;
  });
  if (pvhEntry !== undefined) {
    programHeader(count - 1, 4, noteAt, 0, noteSize, noteSize);
    view.setUint32(noteAt, 4, true);
    view.setUint32(noteAt + 4, 8, true);
    view.setUint32(noteAt + 8, 18, true);
    out.set([0x58, 0x65, 0x6e, 0], noteAt + 12);
    view.setUint32(noteAt + 16, pvhEntry, true);
  }
  return out;
}

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

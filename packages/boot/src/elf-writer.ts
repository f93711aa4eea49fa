/** What a loader takes from an ELF kernel's segment. */
export type ElfKernelSegment = {
  /** Where it is loaded: `p_paddr`. */
  readonly gpa: number;
  readonly bytes: Uint8Array;
  /** `p_memsz` in bytes, from `bytes.length` up; what is beyond the bytes is zeroed. Default: `bytes.length`. */
  readonly memSize?: number;
};

export type ElfKernelOptions = {
  /** The class, which is that of the mode the kernel is entered in. Default: 64. */
  readonly width?: 32 | 64;
  /** At least one. */
  readonly segments: readonly ElfKernelSegment[];
  /** `e_entry`, a GPA. Default: the first segment's. */
  readonly entry?: number;
  /** The GPA in a Xen note of type 18, `XEN_ELFNOTE_PHYS32_ENTRY`: where a PVH kernel is entered. Default: no note. */
  readonly pvhEntry?: number;
};

/** Behind the segments: a kernel without another entry has to be Linux. */
const banner = new TextEncoder().encode('Linux version 0');

/** An ELF executable that `loadLinux` takes, with the given segments: for kernels made in memory. TIS ELF 1.2, Book I; ELF-64 1.5. */
export function writeElfKernel(options: ElfKernelOptions): Uint8Array {
  const { width = 64, segments, pvhEntry } = options;
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

import { Reader } from './bytes.ts';
import { BootError } from './errors.ts';

/** A PT_LOAD program header: file bytes that belong at a physical address. */
export type ElfSegment = {
  /** Guest physical address (`p_paddr`), bytes. */
  readonly gpa: number;
  /** The file's part of the segment; the rest up to `memSize` is zero. */
  readonly bytes: Uint8Array;
  /** Size in memory, bytes, at least `bytes.length`. */
  readonly memSize: number;
};

export type ElfImage = {
  /** 64 for ELFCLASS64 + EM_X86_64, 32 for ELFCLASS32 + EM_386. */
  readonly width: 32 | 64;
  /** `e_entry`; a Linux vmlinux keeps a physical address there. */
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  /** Physical address of the PVH entry (XEN_ELFNOTE_PHYS32_ENTRY), if the image has that note. */
  readonly pvhEntry?: number;
};

const ELFCLASS32 = 1;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;
/** xen/include/public/elfnote.h: the 32-bit protected-mode entry of the PVH boot protocol. */
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const MAX_PROGRAM_HEADERS = 128;

export const isElf = (bytes: Uint8Array): boolean =>
  bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;

/**
 * Reads an x86 ELF executable's loadable part. Section headers are not looked at: a kernel's payload is stripped of them.
 * @param what names the image in messages
 * @throws BootError
 */
export function parseElf(bytes: Uint8Array, what = 'kernel'): ElfImage {
  const file = new Reader(bytes, what);
  if (!isElf(bytes)) throw new BootError('BOOT_NOT_A_KERNEL', `${what} is not an ELF file`);
  const elfClass = file.u8(4);
  if (file.u8(5) !== ELFDATA2LSB || (elfClass !== ELFCLASS32 && elfClass !== ELFCLASS64))
    throw new BootError('BOOT_UNSUPPORTED', `${what} is an ELF file, but not a little-endian 32- or 64-bit one`);
  const type = file.u16(16);
  const machine = file.u16(18);
  if (machine !== (elfClass === ELFCLASS64 ? EM_X86_64 : EM_386))
    throw new BootError('BOOT_UNSUPPORTED', `${what} is an ELF file for another processor (e_machine ${machine})`);
  if (type !== ET_EXEC && type !== ET_DYN)
    throw new BootError('BOOT_NOT_A_KERNEL', `${what} is an ELF file, but not an executable (e_type ${type})`);

  const is64 = elfClass === ELFCLASS64;
  const header = is64
    ? { entry: file.u64(24, 'e_entry'), phoff: file.u64(32, 'e_phoff'), phentsize: file.u16(54), phnum: file.u16(56) }
    : { entry: file.u32(24), phoff: file.u32(28), phentsize: file.u16(42), phnum: file.u16(44) };
  if (header.phnum === 0 || header.phnum > MAX_PROGRAM_HEADERS || header.phentsize < (is64 ? 56 : 32))
    throw new BootError('BOOT_BAD_HEADER', `${what} has an unusable ELF program header table`);

  const segments: ElfSegment[] = [];
  let pvhEntry: number | undefined;
  for (let i = 0; i < header.phnum; i++) {
    const ph = programHeader(file, header.phoff + i * header.phentsize, is64);
    if (ph.type === PT_NOTE) pvhEntry ??= findPvhEntry(file.slice(ph.offset, ph.fileSize));
    if (ph.type !== PT_LOAD || ph.memSize === 0) continue;
    if (ph.fileSize > ph.memSize)
      throw new BootError('BOOT_BAD_HEADER', `${what} has an ELF segment with more bytes in the file than in memory`);
    segments.push({ gpa: ph.paddr, bytes: file.slice(ph.offset, ph.fileSize), memSize: ph.memSize });
  }
  if (segments.length === 0) throw new BootError('BOOT_NOT_A_KERNEL', `${what} is an ELF file with nothing to load`);
  checkOverlap(segments, what);
  return { width: is64 ? 64 : 32, entry: header.entry, segments, ...(pvhEntry === undefined ? {} : { pvhEntry }) };
}

function programHeader(file: Reader, at: number, is64: boolean) {
  return is64
    ? {
        type: file.u32(at),
        offset: file.u64(at + 8, 'p_offset'),
        paddr: file.u64(at + 24, 'p_paddr'),
        fileSize: file.u64(at + 32, 'p_filesz'),
        memSize: file.u64(at + 40, 'p_memsz'),
      }
    : {
        type: file.u32(at),
        offset: file.u32(at + 4),
        paddr: file.u32(at + 12),
        fileSize: file.u32(at + 16),
        memSize: file.u32(at + 20),
      };
}

/** The bytes of one segment must not depend on the order in which the segments are written. */
function checkOverlap(segments: readonly ElfSegment[], what: string): void {
  const sorted = [...segments].sort((a, b) => a.gpa - b.gpa);
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i - 1].gpa + sorted[i - 1].bytes.length > sorted[i].gpa && sorted[i].bytes.length > 0)
      throw new BootError('BOOT_BAD_HEADER', `${what} has overlapping ELF segments`);
  }
}

/** Walks a note segment; a damaged note ends the walk, because only the Xen note matters and it may come first. */
function findPvhEntry(notes: Uint8Array): number | undefined {
  const view = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
  let at = 0;
  while (at + 12 <= notes.length) {
    const nameSize = view.getUint32(at, true);
    const descSize = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const desc = at + 12 + align4(nameSize);
    const next = desc + align4(descSize);
    if (desc + descSize > notes.length) return undefined;
    const isXen = nameSize === 4 && view.getUint32(at + 12, true) === 0x006e6558;
    if (isXen && type === XEN_ELFNOTE_PHYS32_ENTRY && descSize >= 4) return view.getUint32(desc, true);
    at = next;
  }
  return undefined;
}

const align4 = (n: number): number => Math.ceil(n / 4) * 4;

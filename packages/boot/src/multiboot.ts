/** Kernels of the Multiboot Specification, version 0.6.96: what test kernels and hobby systems are. */
import { Reader, Writer } from './bytes.ts';
import { buildE820, E820_RESERVED, type E820Entry, HIGH_RAM_START, highestRam, isRam, lowRamEnd } from './e820.ts';
import { type ElfSegment, isElf, parseElf } from './elf.ts';
import { protectedModeEntry } from './entry.ts';
import { BootError } from './errors.ts';
import { GDT_GPA, MULTIBOOT_INFO_END, MULTIBOOT_INFO_GPA } from './layout.ts';
import type { LinuxBootConfig, LinuxBootPlan, LoadSegment } from './load-linux.ts';

/** §3.2: in EAX at the kernel's entry. */
const LOADER_MAGIC = 0x2bad_b002;
/** §3.1.2, header flags: what a loader that does not understand it must refuse, and the addresses of §3.1.3. */
const REQUIRED = 0xffff;
const PAGE_ALIGN = 1 << 0;
const MEMORY_INFO = 1 << 1;
const HAS_ADDRESSES = 1 << 16;
/** §3.3, information flags. */
const Info = { MEMORY: 1 << 0, CMDLINE: 1 << 2, MODULES: 1 << 3, MEMORY_MAP: 1 << 6, LOADER_NAME: 1 << 9 } as const;
const INFO_BYTES = 116;
const MODULE_BYTES = 16;
const MAP_ENTRY_BYTES = 24;
const LOADER_NAME = 'tsvisor';
const KiB = 1024;
const MiB = 1024 * KiB;
/** Where the entry's GDT and the TSS that TR names are. */
const TABLES = { gpa: GDT_GPA, size: 0x1000 } as const;

type Image = { readonly entry: number; readonly segments: readonly ElfSegment[] };

/**
 * Plans the boot of a Multiboot kernel: an ELF file, or any file whose header says where it goes. It is entered in 32-bit protected mode with
 * flat segments and without paging (§3.2). `config.initrd` becomes its only module, whose string is empty. What the loader hands over lies in
 * memory that the memory map reserves.
 * @throws BootError for everything that can be wrong with the input
 */
export function loadMultiboot(config: LinuxBootConfig, headerAt: number): LinuxBootPlan {
  const { kernel, memory, initrd } = config;
  const file = new Reader(kernel, 'kernel');
  const flags = file.u32(headerAt + 4);
  const unknown = flags & REQUIRED & ~(PAGE_ALIGN | MEMORY_INFO);
  if (unknown !== 0)
    throw new BootError(
      'BOOT_UNSUPPORTED',
      `the kernel's multiboot header asks for something that is not there (flags 0x${unknown.toString(16)})`,
    );
  const image = flags & HAS_ADDRESSES ? byAddresses(file, headerAt) : byElf(kernel);
  const reserved = { gpa: MULTIBOOT_INFO_GPA, size: MULTIBOOT_INFO_END - MULTIBOOT_INFO_GPA, type: E820_RESERVED };
  const map = buildE820(memory.size, [...(memory.extra ?? []), reserved]);
  const end = checkPlace(image, map, memory.size);
  const module = initrd === undefined || initrd.length === 0 ? undefined : placeModule(initrd, map, end, memory.size);
  const e820 =
    module === undefined
      ? map
      : buildE820(memory.size, [
          ...(memory.extra ?? []),
          reserved,
          { gpa: module.gpa, size: Math.ceil(module.bytes.length / 4096) * 4096, type: E820_RESERVED },
        ]);
  const info: LoadSegment = { gpa: MULTIBOOT_INFO_GPA, bytes: buildInfo(config.cmdline, e820, module) };
  const { entry, segments } = protectedModeEntry(image.entry, { rax: LOADER_MAGIC, rbx: info.gpa });
  const loaded = image.segments.filter(({ bytes }) => bytes.length > 0).map(({ gpa, bytes }) => ({ gpa, bytes }));
  return {
    segments: [...segments, info, ...loaded, ...(module === undefined ? [] : [module])],
    entry,
    protocol: 'multiboot',
    e820,
    width: 32,
  };
}

function byElf(kernel: Uint8Array): Image {
  if (!isElf(kernel))
    throw new BootError('BOOT_BAD_HEADER', 'the kernel is no ELF file, and its multiboot header does not say where it goes');
  return parseElf(kernel);
}

/** §3.1.3: the file from so far before the header on, up to `load_end_addr`, or its end if that is 0; then zeros up to `bss_end_addr`. */
function byAddresses(file: Reader, headerAt: number): Image {
  const [headerAddr, loadAddr, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((offset) => file.u32(headerAt + offset));
  const start = headerAt - (headerAddr - loadAddr);
  const wrong = loadAddr > headerAddr || start < 0 || (loadEnd !== 0 && loadEnd < loadAddr);
  if (wrong) throw new BootError('BOOT_BAD_HEADER', "the addresses in the kernel's multiboot header contradict each other");
  const bytes = file.slice(start, loadEnd === 0 ? file.length - start : loadEnd - loadAddr);
  const fileEnd = loadAddr + bytes.length;
  if (bssEnd !== 0 && bssEnd < fileEnd)
    throw new BootError('BOOT_BAD_HEADER', "the addresses in the kernel's multiboot header contradict each other");
  return { entry, segments: [{ gpa: loadAddr, bytes, memSize: Math.max(bssEnd, fileEnd) - loadAddr }] };
}

/** Returns the end of the highest segment. */
function checkPlace({ entry, segments }: Image, map: readonly E820Entry[], memorySize: number): number {
  for (const { gpa, memSize } of segments) {
    const end = gpa + memSize;
    const where = `0x${gpa.toString(16)} to 0x${end.toString(16)}`;
    if (end > HIGH_RAM_START) throw new BootError('BOOT_UNSUPPORTED', `the kernel wants to be loaded above 4 GiB (${where})`);
    if (end > lowRamEnd(memorySize))
      throw new BootError(
        'BOOT_OUT_OF_MEMORY',
        `the kernel needs at least ${Math.ceil(end / MiB)} MiB of memory, the guest has ${Math.floor(memorySize / MiB)} MiB`,
      );
    if (!isRam(map, gpa, memSize))
      throw new BootError('BOOT_BAD_MEMORY_MAP', `the kernel wants to be loaded where there is no free memory (${where})`);
    if (gpa < TABLES.gpa + TABLES.size && end > TABLES.gpa)
      throw new BootError('BOOT_UNSUPPORTED', `the kernel wants to be loaded over the loader's descriptor table (${where})`);
  }
  if (!segments.some(({ gpa, bytes }) => entry >= gpa && entry < gpa + bytes.length))
    throw new BootError('BOOT_BAD_HEADER', "the kernel's entry point lies outside of what is loaded");
  return Math.max(...segments.map(({ gpa, memSize }) => gpa + memSize));
}

/** As high as it goes: kernels take the memory behind themselves first. Page-aligned, as header flag 0 asks. */
function placeModule(bytes: Uint8Array, map: readonly E820Entry[], floor: number, memorySize: number): LoadSegment {
  const gpa = highestRam(map, bytes.length, Math.max(floor, MiB), lowRamEnd(memorySize));
  if (gpa !== undefined) return { gpa, bytes };
  throw new BootError(
    'BOOT_INITRD_TOO_LARGE',
    `there is no room for the module (${Math.ceil(bytes.length / MiB)} MiB) behind the kernel`,
  );
}

/** §3.3. The map's entries give their size without the field itself. */
function buildInfo(text: string, map: readonly E820Entry[], module: LoadSegment | undefined): Uint8Array {
  if (text.includes('\0')) throw new BootError('BOOT_CMDLINE', 'the kernel command line holds a NUL character');
  const cmdline = new TextEncoder().encode(text);
  const modulesAt = INFO_BYTES;
  const mapAt = modulesAt + MODULE_BYTES;
  const nameAt = mapAt + map.length * MAP_ENTRY_BYTES;
  const cmdlineAt = nameAt + LOADER_NAME.length + 1;
  const size = cmdlineAt + cmdline.length + 1;
  const room = MULTIBOOT_INFO_END - MULTIBOOT_INFO_GPA;
  if (size > room)
    throw new BootError(
      'BOOT_CMDLINE',
      `the kernel command line has ${cmdline.length} bytes; there is room for ${room - cmdlineAt - 1}`,
    );
  const at = (offset: number): number => MULTIBOOT_INFO_GPA + offset;
  const info = new Writer(size);
  const modules = module === undefined ? 0 : Info.MODULES;
  info.u32(0, Info.MEMORY | Info.CMDLINE | Info.MEMORY_MAP | Info.LOADER_NAME | modules);
  info.u32(4, ramFrom(map, 0) / KiB);
  info.u32(8, ramFrom(map, MiB) / KiB);
  info.u32(16, at(cmdlineAt));
  if (module !== undefined) {
    info.u32(20, 1);
    info.u32(24, at(modulesAt));
    info.u32(modulesAt, module.gpa);
    info.u32(modulesAt + 4, module.gpa + module.bytes.length);
    info.u32(modulesAt + 8, at(size - 1));
  }
  info.u32(44, map.length * MAP_ENTRY_BYTES);
  info.u32(48, at(mapAt));
  info.u32(64, at(nameAt));
  map.forEach(({ gpa, size: bytes, type }, n) => {
    const entry = mapAt + n * MAP_ENTRY_BYTES;
    info.u32(entry, MAP_ENTRY_BYTES - 4);
    info.u64(entry + 4, gpa);
    info.u64(entry + 12, bytes);
    info.u32(entry + 20, type);
  });
  info.set(nameAt, new TextEncoder().encode(LOADER_NAME));
  info.set(cmdlineAt, cmdline);
  return info.bytes;
}

/** Bytes of RAM from an address to the first hole. */
function ramFrom(map: readonly E820Entry[], start: number): number {
  let end = start;
  for (const entry of map) if (entry.gpa === end && isRam(map, entry.gpa, entry.size)) end += entry.size;
  return end - start;
}

import { buildBootParams } from './boot-params.ts';
import { XLF_KERNEL_64 } from './bzimage.ts';
import { buildE820, type E820Entry, highestRam, isRam, lowRamEnd } from './e820.ts';
import { type EntryState, longModeEntry, protectedModeEntry } from './entry.ts';
import { BootError } from './errors.ts';
import { type KernelImage, openKernel } from './image.ts';
import { BOOT_PARAMS_GPA, CMDLINE_GPA, CMDLINE_ROOM, START_INFO_GPA } from './layout.ts';
import { buildStartInfo } from './pvh.ts';

/** How to enter the kernel. `auto`: a bzImage by the Linux protocol, a bare vmlinux by PVH if it has that entry, else as a bzImage. */
export type EntryProtocol = 'auto' | 'linux64' | 'linux32' | 'pvh';

export type LinuxBootConfig = {
  /** bzImage or ELF vmlinux; recognised by content. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly cmdline: string;
  /** RAM in bytes, and what the memory map says beyond a plain PC's. */
  readonly memory: { readonly size: number; readonly extra?: readonly E820Entry[] };
  /** GPA of the ACPI root pointer. Without one, the kernel searches the BIOS area for it. */
  readonly acpiRsdp?: number;
  readonly entryProtocol?: EntryProtocol;
};

/** Bytes for guest memory; memory that no segment names is expected to be zero. */
export type LoadSegment = { readonly gpa: number; readonly bytes: Uint8Array };

export type LinuxBootPlan = {
  /** Disjoint, all inside RAM. Kernel and initrd are views of the given bytes where those were not compressed. */
  readonly segments: readonly LoadSegment[];
  readonly entry: EntryState;
  readonly protocol: Exclude<EntryProtocol, 'auto'> | 'multiboot';
  readonly e820: readonly E820Entry[];
  /** 64: the processor must have long mode. */
  readonly width: 32 | 64;
  /** The version text of a bzImage's header. */
  readonly kernelVersion?: string;
};

const MiB = 1024 * 1024;
/** initrd_addr_max of a kernel that does not say (boot.rst, protocol 2.03). */
const DEFAULT_INITRD_MAX = 0x7fff_ffff;
const DEFAULT_CMDLINE_SIZE = 2047;

/**
 * Plans a Linux boot: which bytes go where in guest memory and how the first CPU starts. The kernel's own decompressor is not
 * run: the payload is unpacked here and loaded at its link address, so no relocation applies (boot.rst; the decompressor applies
 * them only when it moves the kernel).
 * @throws BootError for everything that can be wrong with the input
 */
export async function loadLinux(config: LinuxBootConfig): Promise<LinuxBootPlan> {
  const e820 = buildE820(config.memory.size, config.memory.extra);
  const image = await openKernel(config.kernel);
  const protocol = chooseProtocol(image, config.entryProtocol ?? 'auto');
  const cmdline = encodeCmdline(config.cmdline, Math.min(image.header?.cmdlineSize ?? DEFAULT_CMDLINE_SIZE, CMDLINE_ROOM - 1));
  const kernel = placeKernel(image, config.memory.size, e820);
  const initrd = placeInitrd(config, image, kernel, e820);

  const shared = {
    cmdlineGpa: CMDLINE_GPA,
    e820,
    ...(initrd === undefined ? {} : { initrd: { gpa: initrd.gpa, size: initrd.bytes.length } }),
    ...(config.acpiRsdp === undefined ? {} : { acpiRsdp: config.acpiRsdp }),
  };
  const info: LoadSegment =
    protocol === 'pvh'
      ? { gpa: START_INFO_GPA, bytes: buildStartInfo({ ...shared, gpa: START_INFO_GPA }) }
      : {
          gpa: BOOT_PARAMS_GPA,
          bytes: buildBootParams({
            ...shared,
            ...(image.header === undefined ? {} : { header: image.header }),
            kernelGpa: kernel.start,
            lowRamEnd: lowRamEnd(config.memory.size),
          }),
        };
  const { entry, segments } = enter(image, protocol, info.gpa);
  return {
    segments: [
      ...segments,
      info,
      { gpa: CMDLINE_GPA, bytes: cmdline },
      ...kernel.segments,
      ...(initrd === undefined ? [] : [initrd]),
    ],
    entry,
    protocol,
    e820,
    width: image.elf.width,
    ...(image.header?.kernelVersion === undefined ? {} : { kernelVersion: image.header.kernelVersion }),
  };
}

/** Every Linux kernel holds `linux_banner` (init/version-timestamp.c), which begins so. */
const BANNER = new TextEncoder().encode('Linux version ');

/** Whether an ELF file that does not say how it is entered is Linux after all: anything else would run into the unknown. */
function holdsBanner(bytes: Uint8Array): boolean {
  for (let at = bytes.indexOf(BANNER[0]); at >= 0; at = bytes.indexOf(BANNER[0], at + 1))
    if (BANNER.every((byte, n) => bytes[at + n] === byte)) return true;
  return false;
}

function chooseProtocol(image: KernelImage, wanted: EntryProtocol): Exclude<EntryProtocol, 'auto'> {
  const { elf, header } = image;
  const linux = elf.width === 64 ? 'linux64' : 'linux32';
  // A 64-bit payload under a header that offers no 64-bit entry is a mixed-up file (the flag exists since protocol 2.12).
  if (header !== undefined && header.version >= 0x020c && elf.width === 64 && (header.xloadflags & XLF_KERNEL_64) === 0)
    throw new BootError('BOOT_BAD_HEADER', 'the kernel is a 64-bit one, but its setup header offers no 64-bit entry');
  if (header === undefined && elf.pvhEntry === undefined && !holdsBanner(image.elfBytes))
    throw new BootError('BOOT_NOT_A_KERNEL', 'an ELF file with neither a Multiboot header, a PVH entry nor Linux in it');
  if (wanted === 'auto') return header === undefined && elf.pvhEntry !== undefined ? 'pvh' : linux;
  if (wanted === 'pvh' && elf.pvhEntry === undefined)
    throw new BootError('BOOT_NO_ENTRY', 'the kernel has no PVH entry (built without CONFIG_PVH)');
  if (wanted !== 'pvh' && wanted !== linux)
    throw new BootError('BOOT_NO_ENTRY', `the kernel is a ${elf.width}-bit one: it has no ${wanted} entry`);
  return wanted;
}

function enter(image: KernelImage, protocol: Exclude<EntryProtocol, 'auto'>, info: number) {
  const { elf } = image;
  if (protocol === 'pvh') return protectedModeEntry(elf.pvhEntry ?? 0, { rbx: info });
  // startup_64 / startup_32 of the kernel proper: boot_params in (R/E)SI, exactly as its decompressor hands over.
  return protocol === 'linux64' ? longModeEntry(elf.entry, info) : protectedModeEntry(elf.entry, { rsi: info });
}

type PlacedKernel = { readonly start: number; readonly end: number; readonly segments: readonly LoadSegment[] };

function placeKernel(image: KernelImage, memorySize: number, e820: readonly E820Entry[]): PlacedKernel {
  const { elf, header } = image;
  const start = Math.min(...elf.segments.map((s) => s.gpa));
  const loadEnd = Math.max(...elf.segments.map((s) => s.gpa + s.memSize));
  // init_size counts from where the kernel runs: it covers what it uses before it reads the memory map.
  const end = Math.max(loadEnd, header === undefined ? 0 : start + header.initSize);
  if (start < MiB)
    throw new BootError('BOOT_UNSUPPORTED', 'the kernel wants to be loaded below 1 MiB, which Linux kernels never do');
  if (end > 0xffff_ffff) throw new BootError('BOOT_UNSUPPORTED', 'the kernel wants to be loaded above 4 GiB');
  if (end > lowRamEnd(memorySize)) throw tooSmall('kernel', end, memorySize);
  if (!isRam(e820, start, end - start))
    throw new BootError('BOOT_BAD_MEMORY_MAP', 'the memory map reserves a range that the kernel is loaded to');
  const entryPoints = [elf.entry, ...(elf.pvhEntry === undefined ? [] : [elf.pvhEntry])];
  if (!entryPoints.every((gpa) => elf.segments.some((s) => gpa >= s.gpa && gpa < s.gpa + s.bytes.length)))
    throw new BootError('BOOT_BAD_HEADER', "the kernel's entry point lies outside of what is loaded");
  return { start, end, segments: elf.segments.filter((s) => s.bytes.length > 0).map(({ gpa, bytes }) => ({ gpa, bytes })) };
}

function tooSmall(what: string, need: number, have: number): BootError {
  const rounded = Math.ceil(need / MiB);
  return new BootError(
    'BOOT_OUT_OF_MEMORY',
    `the ${what} needs at least ${rounded} MiB of memory, the guest has ${Math.floor(have / MiB)} MiB`,
  );
}

/** As high as the kernel allows: the kernel grows upwards from below, and boot loaders have always done so. */
function placeInitrd(
  config: LinuxBootConfig,
  image: KernelImage,
  kernel: PlacedKernel,
  e820: readonly E820Entry[],
): LoadSegment | undefined {
  const bytes = config.initrd;
  if (bytes === undefined || bytes.length === 0) return undefined;
  const limit = Math.min((image.header?.initrdAddrMax ?? DEFAULT_INITRD_MAX) + 1, lowRamEnd(config.memory.size));
  const gpa = highestRam(e820, bytes.length, kernel.end, limit);
  if (gpa !== undefined) return { gpa, bytes };
  const need = Math.ceil((kernel.end + bytes.length) / MiB) + 1;
  throw new BootError(
    'BOOT_INITRD_TOO_LARGE',
    `kernel and initrd (${Math.ceil(bytes.length / MiB)} MiB) need at least ${need} MiB of memory` +
      ` in one piece below ${Math.floor(limit / MiB)} MiB`,
  );
}

function encodeCmdline(text: string, maximum: number): Uint8Array {
  if (text.includes('\0')) throw new BootError('BOOT_CMDLINE', 'the kernel command line holds a NUL character');
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > maximum)
    throw new BootError(
      'BOOT_CMDLINE',
      `the kernel command line has ${bytes.length} bytes; this kernel takes at most ${maximum}`,
    );
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}

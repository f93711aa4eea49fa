import { Reader } from './bytes.ts';
import { BootError } from './errors.ts';

/** Offsets of the setup header, the same in the file and in boot_params (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"). */
export const HDR = {
  setup_sects: 0x1f1,
  syssize: 0x1f4,
  vid_mode: 0x1fa,
  boot_flag: 0x1fe,
  jump: 0x200,
  header: 0x202,
  version: 0x206,
  kernel_version: 0x20e,
  type_of_loader: 0x210,
  loadflags: 0x211,
  code32_start: 0x214,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  heap_end_ptr: 0x224,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  relocatable_kernel: 0x234,
  min_alignment: 0x235,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  payload_offset: 0x248,
  payload_length: 0x24c,
  setup_data: 0x250,
  pref_address: 0x258,
  init_size: 0x260,
  handover_offset: 0x264,
} as const;

const BOOT_FLAG = 0xaa55;
export const HEADER_MAGIC = 0x53726448;
/** `loadflags`: the protected-mode part belongs at 1 MiB and above (a bzImage, not a zImage). */
export const LOADED_HIGH = 1 << 0;
/** `loadflags`: heap_end_ptr is valid. */
export const CAN_USE_HEAP = 1 << 7;
export const XLF_KERNEL_64 = 1 << 0;
/** boot.rst, "64-bit Boot Protocol": the entry point is so far behind the load address. */
export const ENTRY_64_OFFSET = 0x200;
export const XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1;
const XLF_EFI_HANDOVER_32 = 1 << 2;
const XLF_EFI_HANDOVER_64 = 1 << 3;
/** boot_params ends the header at 0x290: edd_mbr_sig_buffer follows. */
export const HEADER_END = 0x290;
const SECTOR = 512;

/** The fields of a setup header that decide how the kernel is loaded. Addresses and sizes in bytes. */
export type SetupHeader = {
  /** Boot protocol, major in the high byte: 0x020f is 2.15. */
  readonly version: number;
  /** Size of boot sector and setup code: the protected-mode part starts there in the file. */
  readonly setupBytes: number;
  readonly payloadOffset: number;
  readonly payloadLength: number;
  /** Longest command line without its terminating NUL. */
  readonly cmdlineSize: number;
  /** Highest address that the initrd's last byte may have. */
  readonly initrdAddrMax: number;
  readonly xloadflags: number;
  readonly relocatable: boolean;
  readonly kernelAlignment: number;
  readonly prefAddress: number;
  /** Memory that the kernel needs from its load address on, before it knows the memory map. */
  readonly initSize: number;
  /** Offset of the EFI handover entry, 0 without one. */
  readonly handoverOffset: number;
  /** The bytes 0x1f1 … end of header, as they go into boot_params. */
  readonly raw: Uint8Array;
  /** "6.1.0-56-cloud-amd64 (…) #1 SMP …", if the image has it. */
  readonly kernelVersion?: string;
};

export const isBzImage = (bytes: Uint8Array): boolean =>
  bytes.length >= HDR.version &&
  bytes[HDR.boot_flag] === 0x55 &&
  bytes[HDR.boot_flag + 1] === 0xaa &&
  String.fromCharCode(...bytes.subarray(HDR.header, HDR.header + 4)) === 'HdrS';

/**
 * Reads and checks the setup header of a bzImage.
 * @throws BootError
 */
export function parseSetupHeader(bytes: Uint8Array): SetupHeader {
  const file = new Reader(bytes, 'kernel');
  if (bytes.length < HDR.version || file.u16(HDR.boot_flag) !== BOOT_FLAG || file.u32(HDR.header) !== HEADER_MAGIC)
    throw new BootError('BOOT_NOT_A_KERNEL', 'not a Linux kernel: no setup header');
  const version = file.u16(HDR.version);
  const versionText = `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
  // 2.08 brought payload_offset, without which the kernel proper cannot be found; 2.10 init_size and pref_address.
  if (version < 0x0208)
    throw new BootError(
      'BOOT_UNSUPPORTED',
      `the kernel speaks boot protocol ${versionText}; 2.08 (Linux 2.6.26) or later is needed`,
    );
  if ((file.u8(HDR.loadflags) & LOADED_HIGH) === 0)
    throw new BootError('BOOT_UNSUPPORTED', 'the kernel is a zImage that loads below 1 MiB; only bzImages can be started');

  // boot.rst: "for backwards compatibility, if setup_sects contains 0, the real value is 4"; the boot sector is not counted.
  const setupBytes = ((file.u8(HDR.setup_sects) || 4) + 1) * SECTOR;
  // The byte of the jump at 0x200 says where the header ends.
  const headerEnd = HDR.header + file.u8(HDR.jump + 1);
  const minimalEnd = version >= 0x020a ? HDR.handover_offset : HDR.setup_data;
  if (file.u8(HDR.jump) !== 0xeb || headerEnd < minimalEnd || headerEnd > HEADER_END)
    throw new BootError('BOOT_BAD_HEADER', "the kernel's setup header has an impossible length");
  if (setupBytes > bytes.length) file.slice(0, setupBytes);

  const has = (field: number, size: number): boolean => headerEnd >= field + size;
  const xloadflags = version >= 0x020c ? file.u16(HDR.xloadflags) : 0;
  const handoverOffset = version >= 0x020b && has(HDR.handover_offset, 4) ? file.u32(HDR.handover_offset) : 0;
  if (handoverOffset === 0 && (xloadflags & (XLF_EFI_HANDOVER_32 | XLF_EFI_HANDOVER_64)) !== 0)
    throw new BootError('BOOT_BAD_HEADER', 'the kernel announces an EFI handover entry but does not say where it is');
  const header: SetupHeader = {
    version,
    setupBytes,
    payloadOffset: file.u32(HDR.payload_offset),
    payloadLength: file.u32(HDR.payload_length),
    cmdlineSize: file.u32(HDR.cmdline_size) || 255,
    initrdAddrMax: file.u32(HDR.initrd_addr_max),
    xloadflags,
    relocatable: file.u8(HDR.relocatable_kernel) !== 0,
    kernelAlignment: file.u32(HDR.kernel_alignment),
    prefAddress: version >= 0x020a ? file.u64(HDR.pref_address, 'pref_address') : 0x10_0000,
    initSize: version >= 0x020a ? file.u32(HDR.init_size) : 0,
    handoverOffset,
    raw: file.slice(HDR.setup_sects, headerEnd - HDR.setup_sects),
    ...kernelVersion(bytes, file.u16(HDR.kernel_version)),
  };
  checkHeader(header);
  // The protected-mode part must hold the payload; syssize counts 16-byte paragraphs and is 4 bytes wide since 2.04.
  file.slice(setupBytes + header.payloadOffset, header.payloadLength);
  const syssize = file.u32(HDR.syssize) * 16;
  if (header.payloadOffset + header.payloadLength > syssize)
    throw new BootError('BOOT_BAD_HEADER', "the kernel's payload does not fit in its protected-mode part");
  return header;
}

/**
 * Whether the protected-mode part is the program itself, with the entry points of boot.rst, rather than a decompressor and its payload:
 * what others than Linux make that have themselves loaded as if they were it (memtest86+).
 */
export const isProgram = (header: Pick<SetupHeader, 'payloadOffset' | 'payloadLength'>): boolean =>
  header.payloadOffset === 0 && header.payloadLength === 0;

function checkHeader(header: SetupHeader): void {
  const bad = (what: string): BootError => new BootError('BOOT_BAD_HEADER', `the kernel's setup header is damaged: ${what}`);
  if (header.payloadLength < 16 && !isProgram(header)) throw bad('its payload is too short');
  if (header.relocatable) {
    const alignment = header.kernelAlignment;
    if (alignment === 0 || (alignment & (alignment - 1)) !== 0) throw bad(`kernel_alignment ${alignment} is not a power of two`);
  }
  if (header.prefAddress < 0x10_0000 || header.prefAddress > 0xffff_ffff)
    throw bad('pref_address is not above 1 MiB and below 4 GiB');
  if (header.initrdAddrMax < 0x100_0000) throw bad('initrd_addr_max is below 16 MiB');
}

function kernelVersion(bytes: Uint8Array, pointer: number): { kernelVersion?: string } {
  if (pointer === 0) return {};
  const start = pointer + 0x200;
  const end = bytes.subarray(start, start + 256).indexOf(0);
  if (end <= 0) return {};
  return { kernelVersion: new TextDecoder('latin1').decode(bytes.subarray(start, start + end)).replace(/[^\x20-\x7e]/g, '?') };
}

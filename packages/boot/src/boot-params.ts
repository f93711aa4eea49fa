import { Writer } from './bytes.ts';
import { CAN_USE_HEAP, HDR, HEADER_END, HEADER_MAGIC, LOADED_HIGH, type SetupHeader } from './bzimage.ts';
import type { E820Entry } from './e820.ts';

/** Offsets in `struct boot_params` (Documentation/arch/x86/zero-page.rst). */
const ZP = {
  acpi_rsdp_addr: 0x070,
  ext_ramdisk_image: 0x0c0,
  ext_ramdisk_size: 0x0c4,
  ext_cmd_line_ptr: 0x0c8,
  alt_mem_k: 0x1e0,
  e820_entries: 0x1e8,
  e820_table: 0x2d0,
} as const;
const ZERO_PAGE_SIZE = 4096;
/** boot.rst: "Undefined" boot loader; 0 would mean one too old to pass an initrd. */
const LOADER_UNDEFINED = 0xff;
const VID_MODE_NORMAL = 0xffff;

export type BootParamsInput = {
  /** Absent for a bare vmlinux: a minimal header of protocol 2.15 is made up. */
  readonly header?: SetupHeader;
  readonly kernelGpa: number;
  readonly cmdlineGpa: number;
  readonly initrd?: { readonly gpa: number; readonly size: number };
  readonly e820: readonly E820Entry[];
  readonly acpiRsdp?: number;
  /** End of RAM below 4 GiB, bytes. */
  readonly lowRamEnd: number;
};

/**
 * The zero page. `sentinel` at 0x1ef stays 0: a kernel that finds it set distrusts and clears most of the page. `screen_info`
 * stays 0 as well, which means a machine without a display.
 */
export function buildBootParams(input: BootParamsInput): Uint8Array {
  const page = new Writer(ZERO_PAGE_SIZE);
  if (input.header === undefined) {
    page.u16(HDR.boot_flag, 0xaa55);
    page.u32(HDR.header, HEADER_MAGIC);
    page.u16(HDR.version, 0x020f);
    page.u8(HDR.loadflags, LOADED_HIGH);
    page.u32(HDR.kernel_alignment, 0x20_0000);
  } else {
    page.set(HDR.setup_sects, input.header.raw.subarray(0, HEADER_END - HDR.setup_sects));
    // The real-mode heap does not exist when real mode is skipped.
    page.u8(HDR.loadflags, page.bytes[HDR.loadflags] & ~CAN_USE_HEAP);
  }
  page.u8(HDR.type_of_loader, LOADER_UNDEFINED);
  page.u16(HDR.vid_mode, VID_MODE_NORMAL);
  page.u32(HDR.code32_start, input.kernelGpa);
  page.u32(HDR.cmd_line_ptr, input.cmdlineGpa);
  page.u32(ZP.ext_cmd_line_ptr, Math.floor(input.cmdlineGpa / 0x1_0000_0000));
  if (input.initrd !== undefined) {
    page.u32(HDR.ramdisk_image, input.initrd.gpa);
    page.u32(HDR.ramdisk_size, input.initrd.size);
    page.u32(ZP.ext_ramdisk_image, Math.floor(input.initrd.gpa / 0x1_0000_0000));
    page.u32(ZP.ext_ramdisk_size, Math.floor(input.initrd.size / 0x1_0000_0000));
  }
  page.u64(ZP.acpi_rsdp_addr, input.acpiRsdp ?? 0);
  page.u32(ZP.alt_mem_k, (input.lowRamEnd - 0x10_0000) / 1024);
  page.u8(ZP.e820_entries, input.e820.length);
  input.e820.forEach((entry, i) => {
    const at = ZP.e820_table + i * 20;
    page.u64(at, entry.gpa);
    page.u64(at + 8, entry.size);
    page.u32(at + 16, entry.type);
  });
  return page.bytes;
}

/**
 * Where the boot structures lie in conventional memory. A kernel reads them before it owns its memory map and copies what it
 * keeps, so they may lie in RAM; page 0 stays empty because kernels distrust it.
 */
export const GDT_GPA = 0x1000;
/** The task state segment that TR must point at; never used for a switch. */
export const TSS_GPA = 0x1100;
/** Six pages: PML4, PDPT, four page directories. */
export const PAGE_TABLES_GPA = 0x2000;
export const BOOT_PARAMS_GPA = 0x1_0000;
export const START_INFO_GPA = 0x1_1000;
/** Up to 64 KiB: `cmdline_size` of a hostile header is cut there. */
export const CMDLINE_GPA = 0x2_0000;
export const CMDLINE_ROOM = 0x1_0000;
/**
 * What a Multiboot kernel is told, up to the extended BIOS data area. Such a kernel may look at it at any time, so the memory map reserves
 * it.
 */
export const MULTIBOOT_INFO_GPA = 0x9_0000;
export const MULTIBOOT_INFO_END = 0x9_f000;

import { BootError } from './errors.ts';

/** E820 types (ACPI 6.5 §15, table 15.4). */
export const E820_RAM = 1;
export const E820_RESERVED = 2;
export const E820_ACPI = 3;
export const E820_NVS = 4;

/** A range of the physical address map; `gpa` and `size` in bytes. */
export type E820Entry = { readonly gpa: number; readonly size: number; readonly type: number };

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** RAM below 4 GiB ends here; above lie PCI windows, the chips and the firmware. */
export const LOW_RAM_LIMIT = 3 * GiB;
export const HIGH_RAM_START = 4 * GiB;
/** Conventional memory ends where a PC's BIOS keeps its extended data area: 639 KiB. */
export const EBDA_START = 0x9_fc00;
const VGA_HOLE = 0xa_0000;
const BIOS_AREA = 0xe_0000;
const MIN_MEMORY = 2 * MiB;
/** Zero page: `e820_table` has room for 128 entries. */
export const E820_MAX = 128;

/** End of the RAM that lies below 4 GiB, for a guest with `memoryBytes` of it. */
export const lowRamEnd = (memoryBytes: number): number => Math.min(memoryBytes, LOW_RAM_LIMIT);

/**
 * The memory map of a PC with `memoryBytes` of RAM: a hole at 640 KiB … 1 MiB, RAM up to 3 GiB, the rest from 4 GiB on. The
 * BIOS area is reserved: a guest looks for the RSDP there, so it must not be RAM it can allocate.
 * @param extra more ranges (ACPI tables, a framebuffer); where they lie on RAM they replace it
 * @throws BootError BOOT_BAD_MEMORY_MAP
 */
export function buildE820(memoryBytes: number, extra: readonly E820Entry[] = []): E820Entry[] {
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes < MIN_MEMORY)
    throw new BootError('BOOT_BAD_MEMORY_MAP', `a guest needs at least 2 MiB of memory, not ${memoryBytes} bytes`);
  let map: E820Entry[] = [
    { gpa: 0, size: EBDA_START, type: E820_RAM },
    { gpa: EBDA_START, size: VGA_HOLE - EBDA_START, type: E820_RESERVED },
    { gpa: BIOS_AREA, size: MiB - BIOS_AREA, type: E820_RESERVED },
    { gpa: MiB, size: lowRamEnd(memoryBytes) - MiB, type: E820_RAM },
  ];
  if (memoryBytes > LOW_RAM_LIMIT) map.push({ gpa: HIGH_RAM_START, size: memoryBytes - LOW_RAM_LIMIT, type: E820_RAM });
  for (const entry of extra) {
    if (!Number.isSafeInteger(entry.gpa) || !Number.isSafeInteger(entry.size) || entry.gpa < 0 || entry.size <= 0)
      throw new BootError('BOOT_BAD_MEMORY_MAP', 'a memory map entry has no usable range');
    map = [...map.flatMap((old) => cut(old, entry)), entry];
  }
  map.sort((a, b) => a.gpa - b.gpa);
  if (map.length > E820_MAX) throw new BootError('BOOT_BAD_MEMORY_MAP', `the memory map has more than ${E820_MAX} entries`);
  return map;
}

/** What is left of `old` when `by` takes its range. */
function cut(old: E820Entry, by: E820Entry): E820Entry[] {
  const oldEnd = old.gpa + old.size;
  const byEnd = by.gpa + by.size;
  if (byEnd <= old.gpa || by.gpa >= oldEnd) return [old];
  const rest: E820Entry[] = [];
  if (by.gpa > old.gpa) rest.push({ ...old, size: by.gpa - old.gpa });
  if (byEnd < oldEnd) rest.push({ ...old, gpa: byEnd, size: oldEnd - byEnd });
  return rest;
}

/** Does `[gpa, gpa + size)` lie in RAM entirely? The map is sorted; neighbouring RAM entries count as one. */
export function isRam(map: readonly E820Entry[], gpa: number, size: number): boolean {
  let at = gpa;
  for (const entry of map) {
    if (entry.type !== E820_RAM || entry.gpa > at || entry.gpa + entry.size <= at) continue;
    at = entry.gpa + entry.size;
    if (at >= gpa + size) return true;
  }
  return size === 0;
}

/** The highest page-aligned address at which `size` bytes of RAM end at or below `limit`, or `undefined`. */
export function highestRam(map: readonly E820Entry[], size: number, floor: number, limit: number): number | undefined {
  for (let i = map.length - 1; i >= 0; i--) {
    const entry = map[i];
    if (entry.type !== E820_RAM) continue;
    const gpa = Math.floor((Math.min(limit, entry.gpa + entry.size) - size) / 4096) * 4096;
    if (gpa >= Math.max(floor, entry.gpa)) return gpa;
  }
  return undefined;
}

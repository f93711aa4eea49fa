/** Guest memory and the x86 page walks that fill a software TLB, in generated WebAssembly. */
export type { GpaRange, MemoryErrorCode } from './errors.ts';
export { MemoryError } from './errors.ts';
export type { GuestMemoryAddresses, GuestMemoryOptions } from './guest-memory.ts';
export { GuestMemory } from './guest-memory.ts';
export type { Mmu, MmuOptions } from './mmu.ts';
export { createMmu } from './mmu.ts';
export type { MmuExports } from './mmu-module.ts';
export { adoptMmuModule, mmuModule } from './mmu-module.ts';
export { GPA_BITS, PAGE_BYTES, PHYS_LEAF_ENTRIES, PHYS_ROOT_ENTRIES, PhysPage } from './phys-map.ts';
export type { GuestMap, GuestMemoryEvents, LinearMemory } from './ports.ts';
export type { SlotInfo, SlotOptions } from './slots.ts';
export type { MmuState } from './state.ts';
export { Access, AccessKind, MMU, MmuFlag, PageFault, PagingMode, resetMmuState } from './state.ts';
export {
  TLB_ARRAY_BYTES,
  TLB_ARRAYS_BYTES,
  TLB_BYTES,
  TLB_EMPTY_TAG_0,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  TLB_SET_BYTES,
  TLB_SETS,
  TlbArray,
  TlbEntry,
  TlbFlag,
  TlbSet,
  tlbArrayOffset,
} from './tlb.ts';

import { createMmu, GPA_BITS, type GuestMap, MMU, type MmuState, resetMmuState, TLB_BYTES } from '@tsvisor/mmu-ept-npt';
import type { Arena } from './arena.ts';
import type { ProcessorMmu } from './ports.ts';

/** What keeps the code pages of several vCPUs in step. */
export type CodePageSharing = {
  /** A page came under protection: no other vCPU may store to it any more without asking. */
  readonly shootdown: (hostPage: number) => void;
  /** The vCPU has no translation of a page any more. Calls `free` if none has, and none can begin to meanwhile. */
  readonly ifFree: (hostPage: number, free: () => void) => void;
};

export type SharedProcessorMmu = ProcessorMmu & {
  readonly state: MmuState;
  /** Another vCPU protected the page. */
  readonly dropWrites: (hostPage: number) => void;
  /** `unprotectCode` for whoever knows that no vCPU has a translation of the page. */
  readonly unprotectNow: (hostPage: number) => void;
};

/** Where its state has what processors look at. */
export const PROCESSOR_MMU_OFFSETS: ProcessorMmu['offsets'] = MMU.offset;

/** A vCPU's paging unit with its state in the arena. */
export function createProcessorMmu(
  arena: Pick<Arena, 'memory' | 'alloc'>,
  guest: GuestMap,
  sharing?: CodePageSharing,
): SharedProcessorMmu {
  const stateAddress = arena.alloc(MMU.size, 64);
  const tlbAddress = arena.alloc(TLB_BYTES, 64);
  const mmu = createMmu({
    memory: arena.memory,
    stateAddress,
    tlbAddress,
    guest,
    ...(sharing && { shootdown: sharing.shootdown }),
  });
  resetMmuState(mmu.state, GPA_BITS);
  return {
    state: mmu.state,
    exports: mmu.exports,
    stateAddress,
    tlbAddress,
    offsets: PROCESSOR_MMU_OFFSETS,
    flushAll: mmu.flushAll,
    flushNonGlobal: mmu.flushNonGlobal,
    flushPage: mmu.flushPage,
    loadPdptes: mmu.loadPdptes,
    protectCode: (hostPage) => void mmu.protectCode(hostPage),
    unprotectCode: (hostPage) => {
      if (sharing) sharing.ifFree(hostPage, () => mmu.unprotectCode(hostPage));
      else mmu.unprotectCode(hostPage);
    },
    dropWrites: mmu.dropWrites,
    unprotectNow: mmu.unprotectCode,
  };
}

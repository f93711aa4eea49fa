import { createMmu, GPA_BITS, type GuestMemory, MMU, type MmuState, resetMmuState, TLB_BYTES } from '@tsvisor/mmu-ept-npt';
import type { Arena } from './arena.ts';
import type { ProcessorMmu } from './ports.ts';

/** A vCPU's paging unit with its state in the arena. */
export function createProcessorMmu(arena: Arena, guest: GuestMemory): ProcessorMmu & { readonly state: MmuState } {
  const stateAddress = arena.alloc(MMU.size, 64);
  const tlbAddress = arena.alloc(TLB_BYTES, 64);
  const mmu = createMmu({ memory: arena.memory, stateAddress, tlbAddress, guest });
  resetMmuState(mmu.state, GPA_BITS);
  const { cr3, mode, flags, pkru, faultError, gpaLo, gpaHi, kind, host, misses } = MMU.offset;
  return {
    state: mmu.state,
    exports: mmu.exports,
    stateAddress,
    tlbAddress,
    offsets: { cr3, mode, flags, pkru, faultError, gpaLo, gpaHi, kind, host, misses },
    flushAll: mmu.flushAll,
    flushNonGlobal: mmu.flushNonGlobal,
    flushPage: mmu.flushPage,
    loadPdptes: mmu.loadPdptes,
    protectCode: (hostPage) => void mmu.protectCode(hostPage),
    unprotectCode: mmu.unprotectCode,
  };
}

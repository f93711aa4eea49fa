import type { MmuExports } from './mmu-module.ts';
import { mmuModule } from './mmu-module.ts';
import { PAGE_BYTES } from './phys-map.ts';
import type { GuestMap } from './ports.ts';
import type { MmuState } from './state.ts';
import { MMU } from './state.ts';

export type MmuOptions = {
  readonly memory: WebAssembly.Memory;
  /** Address of `MMU.size` bytes, aligned to 8: the vCPU's paging state. Kept as found. */
  readonly stateAddress: number;
  /** Address of `TLB_BYTES` bytes, aligned to 16. Emptied. */
  readonly tlbAddress: number;
  readonly guest: GuestMap;
  /** A page came under code protection: tell the other vCPUs to `dropWrites` it, and wait until they have, before translating. */
  readonly shootdown?: (hostPage: number) => void;
};

/** The MMU of one vCPU. Linear addresses are given in halves; `access` is made of `Access` bits. */
export type Mmu = {
  readonly state: MmuState;
  /** For other WebAssembly modules to import: `fill`, `probe` and `flushPage` take the linear address as an i64. */
  readonly exports: MmuExports;
  /**
   * Translates, sets A and D bits, and enters the TLB when the address is plain RAM for this access. Returns the host address (an i32:
   * addresses from 2 GiB on are negative); 0 when permitted but not plain RAM (see `kind`, `gpa` and `host` in the state); -1 for a page
   * fault (see `faultError`). Addresses are canonical: the caller has checked.
   */
  readonly fill: (vaLo: number, vaHi: number, access: number) => number;
  /** The answer that `fill` would give, without any effect on A and D bits or the TLB. */
  readonly probe: (vaLo: number, vaHi: number, access: number) => number;
  /** Drops every translation: CR0.PG, CR4.PGE, EFER.NXE, … changed, or the slots did. */
  readonly flushAll: () => void;
  /** Drops all but global translations: a CR3 write with CR4.PGE = 1. */
  readonly flushNonGlobal: () => void;
  /** INVLPG. */
  readonly flushPage: (vaLo: number, vaHi: number) => void;
  /** Keeps the page of a host address out of the write TLBs; true when it was not protected before. */
  readonly protectCode: (hostAddress: number) => boolean;
  readonly unprotectCode: (hostAddress: number) => void;
  /** Another vCPU protected this page: asks again before the next write to it. */
  readonly dropWrites: (hostAddress: number) => void;
  /** Loads the PDPTE registers through CR3; false (then #GP) when a present one has reserved bits set. */
  readonly loadPdptes: () => boolean;
};

/** An MMU for one vCPU: an instance of the one compiled module, at the given addresses. */
export function createMmu({ memory, stateAddress, tlbAddress, guest, shootdown }: MmuOptions): Mmu {
  const state = MMU.view(memory.buffer, stateAddress);
  const address = (value: number) => new WebAssembly.Global({ value: 'i32', mutable: false }, value | 0);
  const instance = new WebAssembly.Instance(mmuModule(), {
    env: {
      memory,
      state: address(stateAddress),
      tlb: address(tlbAddress),
      physRoot: address(guest.physRoot),
      slotTable: address(guest.slotTable),
      walkWrote: (hostAddress: number, gpaPage: number) => guest.noteWrite((gpaPage >>> 0) * PAGE_BYTES, hostAddress >>> 0, 8),
      shootdown: (hostPage: number) => shootdown?.(hostPage >>> 0),
    },
  });
  const exports = instance.exports as unknown as MmuExports;
  exports.resetTlb();
  return {
    state,
    exports,
    fill: exports.fillHalves,
    probe: exports.probeHalves,
    flushAll: exports.flushAll,
    flushNonGlobal: exports.flushNonGlobal,
    flushPage: exports.flushPageHalves,
    protectCode: (hostAddress) => exports.protectCode(hostAddress) !== 0,
    unprotectCode: exports.unprotectCode,
    dropWrites: exports.dropWrites,
    loadPdptes: () => exports.loadPdptes() === 0,
  };
}

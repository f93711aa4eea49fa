import type { View } from '@tsvisor/state-layout';
import { array, defineLayout } from '@tsvisor/state-layout';

/**
 * Everything the walk of one vCPU depends on, and what it reports. The processor writes the inputs whenever the control registers
 * behind them change, and then flushes (which flush, the manual says at each register: SDM vol. 3 §4.10.4.1).
 */
export const MMU = defineLayout('mmu', {
  /** CR3 as loaded; low bits (PCD, PWT, PCID) are masked by the walk. */
  cr3: 'u64',
  /** The PDPTE registers of PAE paging (SDM vol. 3 §4.4.1), loaded by `loadPdptes`. */
  pdpte: array('u64', 4),
  /** Address lines that reach memory: all ones, or all but bit 20 while A20M# is asserted. */
  a20Mask: 'u64',
  /** Bits 51:MAXPHYADDR, reserved in every paging-structure entry; one 64-bit mask in two halves. */
  reservedMaskLo: 'u32',
  reservedMaskHi: 'u32',
  /** One of `PagingMode`. */
  mode: 'u32',
  /** Bits of `MmuFlag`. */
  flags: 'u32',
  pkru: 'u32',
  /** Output: the #PF error code of the last walk that failed (bits of `PageFault`). */
  faultError: 'u32',
  /** Output: guest-physical address of the last successful translation, page offset included. */
  gpaLo: 'u32',
  gpaHi: 'u32',
  /** Output: one of `AccessKind`, for the last successful translation. */
  kind: 'u32',
  /** Output: where the bytes are in linear memory, 0 when nothing backs them; also valid when `fill` answers 0. */
  host: 'u32',
  /** Counters, modulo 2^32: fills asked for, walks done (fills and probes), flushes of more than a page. */
  misses: 'u32',
  walks: 'u32',
  flushes: 'u32',
});

export type MmuState = View<typeof MMU.schema>;

/** SDM vol. 3 §4.1.1. */
export const PagingMode = { off: 0, twoLevel: 1, pae: 2, fourLevel: 3, fiveLevel: 4 } as const;

/** Control-register and CPUID bits that modify a walk. */
export const MmuFlag = {
  /** CR0.WP */
  WP: 1 << 0,
  /** CR4.SMEP */
  SMEP: 1 << 1,
  /** CR4.SMAP */
  SMAP: 1 << 2,
  /** IA32_EFER.NXE; no effect in modes `off` and `twoLevel` */
  NXE: 1 << 3,
  /** CR4.PSE: 4-MByte pages in mode `twoLevel` */
  PSE: 1 << 4,
  /** CPUID.01H:EDX.PSE-36 */
  PSE36: 1 << 5,
  /** CR4.PGE */
  PGE: 1 << 6,
  /** CR4.PKE; no effect below four levels */
  PKE: 1 << 7,
  /** CPUID.80000001H:EDX.Page1GB */
  PAGE1GB: 1 << 8,
} as const;

/** The `access` argument of `fill` and `probe`: one of the first three, or-ed with the others. */
export const Access = {
  read: 0,
  write: 1,
  fetch: 2,
  /** A user-mode access: CPL 3, and not an implicit supervisor access (descriptor tables, TSS). */
  user: 4,
  /** A supervisor access that CR4.SMAP, when set, keeps off user pages: RFLAGS.AC = 0, or an implicit access. Selects TLB set 2. */
  smap: 8,
} as const;

/** Why a permitted access is not plain RAM. */
export const AccessKind = { ram: 0, unbacked: 1, readOnly: 2, code: 3, dirtyLog: 4 } as const;

/** Page-fault error code, SDM vol. 3 §4.7, figure 4-12. */
export const PageFault = { P: 1 << 0, WR: 1 << 1, US: 1 << 2, RSVD: 1 << 3, ID: 1 << 4, PK: 1 << 5 } as const;

/** The reset state: paging off, all address lines through, reserved bits for a processor with `maxPhyAddr` address bits (32–52). */
export function resetMmuState(state: MmuState, maxPhyAddr: number): void {
  if (!Number.isInteger(maxPhyAddr) || maxPhyAddr < 32 || maxPhyAddr > 52)
    throw new RangeError(`MAXPHYADDR is 32 to 52 bits, not ${maxPhyAddr}`);
  state.cr3 = 0n;
  state.pdpte.fill(0n);
  state.a20Mask = 0xffff_ffff_ffff_ffffn;
  state.reservedMaskLo = 0;
  state.reservedMaskHi = 0xf_ffff & ~(2 ** (maxPhyAddr - 32) - 1);
  state.mode = PagingMode.off;
  state.flags = 0;
  state.pkru = 0;
  state.faultError = 0;
  state.gpaLo = 0;
  state.gpaHi = 0;
  state.kind = AccessKind.ram;
  state.host = 0;
  state.misses = 0;
  state.walks = 0;
  state.flushes = 0;
}

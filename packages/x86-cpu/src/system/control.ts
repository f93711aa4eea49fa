/** Control, debug and model-specific registers (SDM vol. 3 ch. 2, vol. 4). */

import { Vector } from '../core/memory.ts';
import type { MsrDevice } from '../ports.ts';
import { is64Bit } from '../records/mode-key.ts';
import { Seg } from '../state.ts';
import type { SystemContext } from './context.ts';
import { Attr, Cr0, Cr4, Efer, fault, generalProtection, Xcr0 } from './context.ts';

const CR0_BITS = Cr0.PE | Cr0.MP | Cr0.EM | Cr0.TS | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM | Cr0.NW | Cr0.CD | Cr0.PG;

export function writeCr0(c: SystemContext, value: bigint): void {
  const { state } = c;
  if (value >> 32n !== 0n) generalProtection();
  const next = (Number(value) & CR0_BITS) | Cr0.ET;
  const old = c.lo('cr0');
  if (next & Cr0.PG && !(next & Cr0.PE)) generalProtection();
  if (next & Cr0.NW && !(next & Cr0.CD)) generalProtection();
  const efer = c.lo('efer');
  const cs = state.segAttr[Seg.CS];
  if (!(old & Cr0.PG) && next & Cr0.PG && efer & Efer.LME) {
    // Entering IA-32e mode needs PAE and a CS that is not already 64-bit (SDM vol. 3 §10.8.5).
    if (!(c.lo('cr4') & Cr4.PAE) || cs & Attr.L) generalProtection();
  }
  if (old & Cr0.PG && !(next & Cr0.PG) && is64Bit(state.modeKey)) generalProtection();
  if (!(next & Cr0.PG) && c.lo('cr4') & Cr4.PCIDE) generalProtection();
  const saved = { cr0: state.cr0, efer: state.efer };
  state.cr0 = BigInt(next >>> 0);
  if (efer & Efer.LME) state.efer = next & Cr0.PG ? state.efer | BigInt(Efer.LMA) : state.efer & ~BigInt(Efer.LMA);
  c.updateMmu();
  const paging = (old ^ next) & (Cr0.PG | Cr0.WP | Cr0.PE | Cr0.CD | Cr0.NW);
  const pae = next & Cr0.PG && c.lo('cr4') & Cr4.PAE && !(state.efer & BigInt(Efer.LMA));
  if (pae && paging && !c.mmu.loadPdptes()) {
    state.cr0 = saved.cr0;
    state.efer = saved.efer;
    c.updateMmu();
    generalProtection();
  }
  if (paging) c.flushTlb();
  c.updateMode();
}

export function writeCr3(c: SystemContext, value: bigint): void {
  const { state } = c;
  const long = c.longMode;
  // PCIDs are not used to keep translations: bit 63 asks for nothing, and flushing more than asked is allowed (SDM vol. 3 §4.10.4.1).
  const next = long ? value & 0x7fff_ffff_ffff_ffffn : value & 0xffff_ffffn;
  if (long && next >> BigInt(c.physicalBits) !== 0n) generalProtection();
  const old = state.cr3;
  state.cr3 = next;
  c.updateMmu();
  if (c.lo('cr0') & Cr0.PG && c.lo('cr4') & Cr4.PAE && !long && !c.mmu.loadPdptes()) {
    state.cr3 = old;
    c.updateMmu();
    generalProtection();
  }
  c.mmu.flushNonGlobal();
  c.flushJumps();
}

export function writeCr4(c: SystemContext, value: bigint): void {
  const { state } = c;
  if (value & ~BigInt(c.cr4Bits)) generalProtection();
  const next = Number(value);
  const old = c.lo('cr4');
  const long = c.longMode;
  if (long && (!(next & Cr4.PAE) || (old ^ next) & Cr4.LA57)) generalProtection();
  if (next & Cr4.PCIDE && !(old & Cr4.PCIDE) && (!long || state.cr3 & 0xfffn)) generalProtection();
  state.cr4 = BigInt(next >>> 0);
  c.updateMmu();
  const mapping = (old ^ next) & (Cr4.PSE | Cr4.PAE | Cr4.PGE | Cr4.PCIDE | Cr4.SMEP | Cr4.SMAP | Cr4.PKE);
  if (mapping && c.lo('cr0') & Cr0.PG && next & Cr4.PAE && !long && !c.mmu.loadPdptes()) {
    state.cr4 = BigInt(old >>> 0);
    c.updateMmu();
    generalProtection();
  }
  if (mapping) c.flushTlb();
  c.updateMode();
  c.updatePkru();
  if ((old ^ next) & Cr4.DE) c.breakpoints.update();
}

/** XSETBV of XCR0: x87 always, AVX only with SSE, and nothing that the processor has not (SDM vol. 1 §13.3). */
export function writeXcr(c: SystemContext, index: number, value: bigint): void {
  const allowed = BigInt(c.xcr0Bits);
  if (index !== 0 || value & ~allowed || !(value & BigInt(Xcr0.X87))) generalProtection();
  if (value & BigInt(Xcr0.AVX) && !(value & BigInt(Xcr0.SSE))) generalProtection();
  c.state.xcr0 = value;
  c.updateMode();
}

/** XGETBV: XCR0, and with ECX = 1 the components that are in use (SDM vol. 2D, XGETBV). */
export function readXcr(c: SystemContext, index: number): bigint {
  if (index === 0) return c.state.xcr0;
  if (index !== 1 || !c.xinuse) generalProtection();
  const avx = c.state.ymmHigh.some((half) => half !== 0n) ? Xcr0.AVX : 0;
  const pkru = c.state.pkru ? Xcr0.PKRU : 0;
  return c.state.xcr0 & BigInt(Xcr0.X87 | Xcr0.SSE | avx | pkru);
}

/** DR0–3 addresses, DR4/5 alias 6/7 unless CR4.DE (SDM vol. 3 §17.2). */
export function debugRegister(c: SystemContext, n: number): number {
  if (n < 4 || n > 5) return n;
  if (c.lo('cr4') & Cr4.DE) fault(Vector.UD);
  return n + 2;
}

export function writeDr(c: SystemContext, n: number, value: bigint): void {
  const reg = debugRegister(c, n);
  if (reg >= 6 && value >> 32n !== 0n) generalProtection();
  if (reg === 6) c.state.dr[6] = (value & 0xe00fn) | 0xffff0ff0n;
  else if (reg === 7) c.state.dr[7] = (value & 0xffff_2fffn) | 0x400n;
  else c.state.dr[reg] = value;
  if (reg !== 6) c.breakpoints.update();
}

// --- MSRs ------------------------------------------------------------------------------------------------------------------------

// biome-ignore format: table
export const Msr = {
  TSC: 0x10, APIC_BASE: 0x1b, FEATURE_CONTROL: 0x3a, TSC_ADJUST: 0x3b, UCODE_REV: 0x8b, MTRRCAP: 0xfe, SYSENTER_CS: 0x174, SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176, MCG_CAP: 0x179, MCG_STATUS: 0x17a, MISC_ENABLE: 0x1a0, MTRR_PHYS: 0x200, MTRR_FIX64K: 0x250, MTRR_FIX16K: 0x258,
  MTRR_FIX4K: 0x268, PAT: 0x277, MTRR_DEF_TYPE: 0x2ff, EFER: 0xc000_0080, STAR: 0xc000_0081, LSTAR: 0xc000_0082, CSTAR: 0xc000_0083,
  SFMASK: 0xc000_0084, XSS: 0xda0, FS_BASE: 0xc000_0100, GS_BASE: 0xc000_0101, KERNEL_GS_BASE: 0xc000_0102, TSC_AUX: 0xc000_0103,
} as const;

const MTRR_FIXED = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

/** Reads as zero, writes are accepted: registers that Linux touches on an AMD processor without asking CPUID. */
const IGNORED = new Set([
  Msr.UCODE_REV as number,
  0xc001_0015,
  0xc001_001f,
  0xc001_0010,
  0xc001_1020,
  0xc001_1022,
  0xc001_1023,
  0xc001_1029,
  0xc001_102a,
  0xc001_0055,
]);

const halves = new Uint32Array(2);

export function readMsr(c: SystemContext, index: number, device: MsrDevice): bigint {
  const { state } = c;
  halves[0] = halves[1] = 0;
  if (device.read(index, halves)) return (BigInt(halves[1]) << 32n) | BigInt(halves[0]);
  switch (index) {
    case Msr.SYSENTER_CS:
      return state.sysenterCs;
    case Msr.SYSENTER_ESP:
      return state.sysenterEsp;
    case Msr.SYSENTER_EIP:
      return state.sysenterEip;
    case Msr.MISC_ENABLE:
      return state.miscEnable;
    case Msr.PAT:
      return state.pat;
    case Msr.MTRRCAP:
      return 0x508n; // 8 variable ranges, fixed ranges, WC
    case Msr.MTRR_DEF_TYPE:
      return state.mtrrDefType;
    case Msr.EFER:
      return state.efer;
    case Msr.STAR:
      return state.star;
    case Msr.LSTAR:
      return state.lstar;
    case Msr.CSTAR:
      return state.cstar;
    case Msr.SFMASK:
      return state.sfmask;
    case Msr.FS_BASE:
      return state.segBase[Seg.FS];
    case Msr.GS_BASE:
      return state.segBase[Seg.GS];
    case Msr.KERNEL_GS_BASE:
      return state.kernelGsBase;
    case Msr.TSC_AUX:
      return state.tscAux;
    case Msr.MCG_CAP:
    case Msr.MCG_STATUS:
      return 0n;
    case Msr.XSS:
      return c.xsaves ? 0n : generalProtection();
    default:
      break;
  }
  if (index >= Msr.MTRR_PHYS && index < Msr.MTRR_PHYS + 16) return state.mtrrPhys[index - Msr.MTRR_PHYS];
  const fixed = MTRR_FIXED.indexOf(index);
  if (fixed >= 0) return state.mtrrFixed[fixed];
  if (IGNORED.has(index)) return 0n;
  return generalProtection();
}

const MEMORY_TYPES = new Set([0n, 1n, 4n, 5n, 6n]);

export function writeMsr(c: SystemContext, index: number, value: bigint, device: MsrDevice): void {
  const { state } = c;
  const lo = Number(value & 0xffff_ffffn);
  const hi = Number(value >> 32n);
  if (device.write(index, lo, hi)) return;
  const canonical = (): bigint => (c.canonical(value) ? value : generalProtection());
  switch (index) {
    case Msr.SYSENTER_CS:
      state.sysenterCs = BigInt(lo);
      return;
    case Msr.SYSENTER_ESP:
      state.sysenterEsp = canonical();
      return;
    case Msr.SYSENTER_EIP:
      state.sysenterEip = canonical();
      return;
    case Msr.MISC_ENABLE:
      state.miscEnable = value;
      return;
    case Msr.PAT:
      writePat(c, value);
      return;
    case Msr.MTRR_DEF_TYPE:
      state.mtrrDefType = value & 0xcffn;
      return;
    case Msr.EFER:
      writeEfer(c, value);
      return;
    case Msr.STAR:
      state.star = value;
      return;
    case Msr.LSTAR:
      state.lstar = canonical();
      return;
    case Msr.CSTAR:
      state.cstar = canonical();
      return;
    case Msr.SFMASK:
      state.sfmask = BigInt(lo);
      return;
    case Msr.FS_BASE:
      state.segBase[Seg.FS] = canonical();
      return;
    case Msr.GS_BASE:
      state.segBase[Seg.GS] = canonical();
      return;
    case Msr.KERNEL_GS_BASE:
      state.kernelGsBase = canonical();
      return;
    case Msr.TSC_AUX:
      state.tscAux = BigInt(lo);
      return;
    case Msr.MCG_STATUS:
      return;
    case Msr.XSS:
      // There is no supervisor state component.
      if (!c.xsaves || value !== 0n) generalProtection();
      return;
    default:
      break;
  }
  const fixed = MTRR_FIXED.indexOf(index);
  if (index >= Msr.MTRR_PHYS && index < Msr.MTRR_PHYS + 16) state.mtrrPhys[index - Msr.MTRR_PHYS] = value;
  else if (fixed >= 0) state.mtrrFixed[fixed] = value;
  else if (!IGNORED.has(index)) generalProtection();
}

/** IA32_PAT: each byte one of the memory types UC, WC, WT, WP, WB, UC- (SDM vol. 3 §12.12.2). */
function writePat(c: SystemContext, value: bigint): void {
  for (let n = 0n; n < 64n; n += 8n) {
    const type = (value >> n) & 0xffn;
    if (!MEMORY_TYPES.has(type) && type !== 7n) generalProtection();
  }
  c.state.pat = value;
}

function writeEfer(c: SystemContext, value: bigint): void {
  const { state } = c;
  if (value & ~BigInt(c.eferBits | Efer.LMA)) generalProtection();
  const old = c.lo('efer');
  const next = Number(value);
  // LME cannot change while paging is on (SDM vol. 3 §10.8.5.1).
  if ((old ^ next) & Efer.LME && c.lo('cr0') & Cr0.PG) generalProtection();
  state.efer = BigInt((next & ~Efer.LMA) | (old & Efer.LMA));
  c.updateMmu();
  if ((old ^ next) & Efer.NXE) c.flushTlb();
  c.updateMode();
}

/** What RESET and INIT leave (SDM vol. 3 §10.1.1, table 10-1). */
import { Seg } from './state.ts';
import type { SystemContext } from './system/context.ts';
import { Attr } from './system/context.ts';
import { setSegment } from './system/segments.ts';
import { SMBASE_RESET } from './system/smm.ts';

/** Default PAT: WB WT UC- UC, twice (SDM vol. 3 §12.12.4). */
const PAT_RESET = 0x0007_0406_0007_0406n;

/** CR0.CD and CR0.NW, which INIT leaves as they are. */
const CACHE_CONTROL = 0x6000_0000n;

/** The state after power-up or RESET. */
export function resetState(c: SystemContext): void {
  const { state } = c;
  state.zero = 0n;
  state.twoPages = 8192n;
  state.cr0 = CACHE_CONTROL;
  state.xcr0 = 1n;
  state.pat = PAT_RESET;
  state.miscEnable = 1n;
  state.mtrrDefType = 0n;
  state.star = state.lstar = state.cstar = state.sfmask = state.kernelGsBase = 0n;
  state.sysenterCs = state.sysenterEsp = state.sysenterEip = state.tscAux = 0n;
  state.mxcsr = 0x1f80;
  state.pkru = 0;
  state.fcw = 0x40;
  state.fsw = state.ftop = 0;
  state.fempty = 0;
  state.fpr.fill(0n);
  state.xmm.fill(0n);
  state.ymmHigh.fill(0n);
  state.smm = 0;
  state.smbase = SMBASE_RESET;
  state.exitRequest = state.interruptPending = 0;
  initState(c);
}

/**
 * What INIT does: the x87, SSE and AVX state, XCR0, PKRU, SMBASE and all MSRs stay, but for IA32_EFER, without which the processor would not start
 * in real mode (table 10-1; AMD APM vol. 2 §14.1.3).
 */
export function initState(c: SystemContext): void {
  const { state } = c;
  state.gpr.fill(0n);
  state.gpr[2] = BigInt(c.signature); // RDX: family, model, stepping
  state.rip = 0xfff0n;
  state.cr0 = (state.cr0 & CACHE_CONTROL) | 0x10n;
  state.cr2 = state.cr3 = state.cr4 = state.efer = 0n;
  state.dr.fill(0n);
  state.dr[6] = 0xffff_0ff0n;
  state.dr[7] = 0x400n;
  c.breakpoints.update();
  state.gdtrBase = state.idtrBase = 0n;
  state.gdtrLimit = state.idtrLimit = 0xffff;
  state.cpl = 0;
  c.updatePkru();
  state.halted = state.nmiBlocked = state.interruptShadow = 0;
  const data = Attr.P | Attr.S | 3;
  for (const seg of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS]) setSegment(c, seg, 0, 0n, 0xffff, data);
  setSegment(c, Seg.CS, 0xf000, 0xffff_0000n, 0xffff, Attr.P | Attr.S | 0xb);
  setSegment(c, Seg.LDTR, 0, 0n, 0xffff, Attr.P | 2);
  setSegment(c, Seg.TR, 0, 0n, 0xffff, Attr.P | 11);
  c.rflags = 2;
  c.updateMmu();
  c.flushTlb();
  c.updateMode();
}

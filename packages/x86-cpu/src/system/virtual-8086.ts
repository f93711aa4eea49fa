/**
 * What is special about interrupt flags and software interrupts in virtual-8086 mode, and with protected-mode virtual interrupts (SDM vol. 3
 * §21.2–21.4): IOPL decides, and below it CR4.VME or CR4.PVI give software a flag of its own, VIF.
 */

import { Rflags, Seg, Shadow } from '../state.ts';
import type { SystemContext } from './context.ts';
import { Cr4, generalProtection } from './context.ts';
import { deliver } from './events.ts';
import type { RecordOperands } from './operands.ts';
import { StackCursor } from './operands.ts';

/** Offset of the I/O map's base in a TSS; the interrupt redirection map is the 32 bytes before it (figure 21-5). */
const IO_MAP_BASE = 0x66;
const REDIRECTION_BYTES = 32;

const ioplOf = (c: SystemContext): number => (c.state.rflags >> 12) & 3;
/** Virtual-8086 mode with VME, for 16-bit operands only; or CPL 3 in protected mode with PVI. */
const hasVirtualFlag = (c: SystemContext): boolean =>
  c.virtual8086 ? (c.lo('cr4') & Cr4.VME) !== 0 : c.state.cpl === 3 && (c.lo('cr4') & Cr4.PVI) !== 0;

/** CLI where CPL is above IOPL, or in virtual-8086 mode (SDM vol. 2A, table 3-6). */
export function clearInterruptFlag(c: SystemContext): void {
  const { state } = c;
  if (state.cpl <= ioplOf(c)) state.rflags &= ~Rflags.IF;
  else if (hasVirtualFlag(c)) state.rflags &= ~Rflags.VIF;
  else generalProtection();
}

/** STI likewise; with an interrupt pending for the virtual flag, whoever keeps that has to be told (SDM vol. 2B, table 4-19). */
export function setInterruptFlag(c: SystemContext, nextRip: bigint): void {
  const { state } = c;
  if (state.cpl > ioplOf(c)) {
    if (!hasVirtualFlag(c) || state.rflags & Rflags.VIP) generalProtection();
    state.rflags |= Rflags.VIF;
    return;
  }
  if (state.rflags & Rflags.IF) return;
  state.rflags |= Rflags.IF;
  state.interruptShadow = Shadow.STI;
  state.shadowRip = nextRip;
  c.announceWaiting();
}

/** Whether PUSHF, POPF and IRET use VIF in IF's place; #GP(0) where they may not be used at all. */
function usesVirtualFlag(c: SystemContext, size: number): boolean {
  if (ioplOf(c) === 3) return false;
  if (size !== 2 || !hasVirtualFlag(c)) generalProtection();
  return true;
}

/** The image of FLAGS with VIF for IF, and IOPL 3. */
const virtualImage = (c: SystemContext): number => {
  const flags = c.rflags & ~Rflags.IF;
  return flags | Rflags.IOPL | (flags & Rflags.VIF ? Rflags.IF : 0);
};

export function pushFlags(c: SystemContext, size: number): void {
  const image = usesVirtualFlag(c, size) ? virtualImage(c) : c.rflags & ~(Rflags.RF | Rflags.VM);
  const stack = new StackCursor(c, size);
  stack.push(BigInt(image >>> 0));
  stack.commit();
}

/**
 * Whether an image for FLAGS sets VIF instead of IF; then it has been set. #GP(0) for what VME does not do by itself: single steps, and
 * letting in an interrupt that is pending.
 */
export function takesVirtualImage(c: SystemContext, image: number, size: number): boolean {
  if (!usesVirtualFlag(c, size)) return false;
  const { state } = c;
  if (image & Rflags.TF || (image & Rflags.IF && state.rflags & Rflags.VIP)) generalProtection();
  const set = Rflags.CF | Rflags.PF | Rflags.AF | Rflags.ZF | Rflags.SF | Rflags.TF | Rflags.DF | Rflags.OF | Rflags.NT;
  const virtual = image & Rflags.IF ? Rflags.VIF : 0;
  c.rflags = ((c.rflags & ~(set | Rflags.VIF)) | (image & set) | virtual) >>> 0;
  return true;
}

/** The bit of the redirection map: set, the monitor's handler; a map that is not there is as good as set. */
function isRedirected(c: SystemContext, vector: number): boolean {
  const { state } = c;
  if (!(c.lo('cr4') & Cr4.VME) || state.segLimit[Seg.TR] < IO_MAP_BASE + 1) return false;
  return c.asSystem(() => {
    const byte = (n: number, size: number): number => Number(c.read((state.segBase[Seg.TR] + BigInt(n)) & 0xffff_ffffn, size));
    const at = byte(IO_MAP_BASE, 2) - REDIRECTION_BYTES + (vector >> 3);
    return at >= 0 && at <= state.segLimit[Seg.TR] && !((byte(at, 1) >> (vector & 7)) & 1);
  });
}

/** INT n in virtual-8086 mode (table 21-2): by the program's own vector table, to the monitor by the IDT, or #GP(0). */
export function virtualInterrupt(c: SystemContext, o: RecordOperands, vector: number): void {
  const { state } = c;
  const privileged = ioplOf(c) === 3;
  if (!isRedirected(c, vector)) {
    if (!privileged) generalProtection();
    state.rip = o.nextRip;
    deliver(c, vector, 'software');
    return;
  }
  const entry = c.read(BigInt(4 * vector), 4);
  const stack = new StackCursor(c, 2);
  stack.push(BigInt((privileged ? c.rflags : virtualImage(c)) & 0xffff));
  stack.push(BigInt(state.segSel[Seg.CS]));
  stack.push(o.nextRip);
  stack.commit();
  state.rflags &= ~(Rflags.TF | (privileged ? Rflags.IF : Rflags.VIF));
  state.segSel[Seg.CS] = Number(entry >> 16n);
  state.segBase[Seg.CS] = (entry >> 16n) << 4n;
  state.rip = entry & 0xffffn;
  c.updateMode();
}

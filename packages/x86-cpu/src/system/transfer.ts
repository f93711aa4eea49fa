/** Far transfers and system calls (SDM vol. 1 ch. 6, vol. 3 §5.8). Each returns with RIP, CS and the mode in place. */

import { Vector } from '../core/memory.ts';
import { is64Bit } from '../records/mode-key.ts';
import { Rflags, Seg } from '../state.ts';
import type { GuestFault, SystemContext } from './context.ts';
import { Attr, Efer, fault, generalProtection } from './context.ts';
import { deliver, deliverException, innerStack } from './events.ts';
import type { RecordOperands } from './operands.ts';
import { StackCursor } from './operands.ts';
import {
  checkCodeSegment,
  dplOf,
  dropInnerSegments,
  isConforming,
  isNull,
  loadStackSegment,
  longBase,
  readDescriptor,
  SystemType,
  setCodeSegment,
  setNull,
  setSegment,
} from './segments.ts';
import { switchTask } from './tasks.ts';
import { takesVirtualImage, virtualInterrupt } from './virtual-8086.ts';

const CODE = Attr.P | Attr.S | 0xb;
const DATA = Attr.P | Attr.S | 3;
const dpl = (n: number): number => n << Attr.DPL_SHIFT;
const mode64 = (c: SystemContext): boolean => is64Bit(c.state.modeKey);
const cutRip = (c: SystemContext, rip: bigint, size: number): bigint =>
  mode64(c) && size === 8 ? rip : BigInt.asUintN(8 * size, rip);

function checkTarget(c: SystemContext, rip: bigint, attr: number, limit: number): void {
  const to64 = c.longMode && (attr & Attr.L) !== 0;
  if (to64 ? !c.canonical(rip) : rip > BigInt(limit)) generalProtection(0);
}

/** JMP and CALL far, with a code segment or a gate as target. */
export function farTransfer(
  c: SystemContext,
  o: RecordOperands,
  selector: number,
  offset: bigint,
  size: number,
  isCall: boolean,
): void {
  const { state } = c;
  const returnTo = o.nextRip;
  if (!c.protectedMode || c.virtual8086) {
    if (offset > BigInt(state.segLimit[Seg.CS])) generalProtection(0);
    if (isCall) pushReturn(c, size, returnTo);
    state.segSel[Seg.CS] = selector;
    state.segBase[Seg.CS] = BigInt(selector << 4);
    state.rip = offset;
    c.updateMode();
    return;
  }
  if (isNull(selector)) generalProtection(0);
  const d = readDescriptor(c, selector);
  if (d.attr & Attr.S) {
    checkCodeSegment(c, d, state.cpl, false);
    checkTarget(c, offset, d.attr, d.limit);
    if (isCall) pushReturn(c, size, returnTo);
    setCodeSegment(c, d, state.cpl);
    state.rip = cutTo(c, offset);
    c.updateMode();
    return;
  }
  const type = d.attr & 0xf;
  if (type === SystemType.CALL || (type === SystemType.CALL16 && !c.longMode)) throughCallGate(c, d, type, isCall, returnTo);
  else if (!c.longMode && TASKS.has(type)) toTask(c, d, isCall, returnTo);
  else generalProtection(selector & 0xfffc);
}

const TASKS = new Set<number>([SystemType.TASK, SystemType.TSS, SystemType.TSS16, SystemType.BUSY, SystemType.BUSY16]);

/** A far transfer to a TSS, or to a task gate that names one; the gate's privilege counts, or else the TSS's (SDM vol. 3 §8.2.5). */
function toTask(c: SystemContext, d: ReturnType<typeof readDescriptor>, isCall: boolean, returnTo: bigint): void {
  const error = d.selector & 0xfffc;
  if (dplOf(d.attr) < Math.max(c.state.cpl, d.selector & 3)) generalProtection(error);
  const isGate = (d.attr & 0xf) === SystemType.TASK;
  if (isGate && !(d.attr & Attr.P)) fault(Vector.NP, error);
  begin(c, switchTask(c, isGate ? d.lo >>> 16 : d.selector, isCall ? 'call' : 'jump', { rip: returnTo, flags: c.rflags }));
}

/** A task that begins with a fault has its handler run. */
function begin(c: SystemContext, pending: GuestFault | undefined): void {
  if (pending) deliverException(c, pending.vector, pending.error);
}

/** IRET with RFLAGS.NT: back to the task that the TSS's link names (SDM vol. 3 §8.4). */
function returnToTask(c: SystemContext, nextRip: bigint): void {
  const link = Number(c.asSystem(() => c.read(c.state.segBase[Seg.TR], 2)));
  begin(c, switchTask(c, link, 'return', { rip: nextRip, flags: c.rflags }));
}

const cutTo = (c: SystemContext, rip: bigint): bigint =>
  c.longMode && c.state.segAttr[Seg.CS] & Attr.L ? rip : rip & 0xffff_ffffn;

function pushReturn(c: SystemContext, size: number, returnTo: bigint): void {
  const stack = new StackCursor(c, size);
  stack.push(BigInt(c.state.segSel[Seg.CS]));
  stack.push(returnTo);
  stack.commit();
}

/** A call gate; inner privilege switches the stack and copies parameters (SDM vol. 3 §5.8.3–5.8.5). */
function throughCallGate(
  c: SystemContext,
  gate: ReturnType<typeof readDescriptor>,
  type: number,
  isCall: boolean,
  returnTo: bigint,
): void {
  const { state } = c;
  const error = gate.selector & 0xfffc;
  if (dplOf(gate.attr) < state.cpl || dplOf(gate.attr) < (gate.selector & 3)) generalProtection(error);
  if (!(gate.attr & Attr.P)) fault(Vector.NP, error);
  const long = c.longMode;
  const target = gate.lo >>> 16;
  if (isNull(target)) generalProtection(0);
  const code = readDescriptor(c, target);
  const conforming = isConforming(code.attr);
  const codeError = target & 0xfffc;
  if (!(code.attr & Attr.S) || !(code.attr & 8) || dplOf(code.attr) > state.cpl) generalProtection(codeError);
  if (long && (!(code.attr & Attr.L) || code.attr & Attr.DB)) generalProtection(codeError);
  if (!isCall && !conforming && dplOf(code.attr) !== state.cpl) generalProtection(codeError);
  if (!(code.attr & Attr.P)) fault(Vector.NP, codeError);
  let offset = BigInt(((gate.hi & 0xffff_0000) | (gate.lo & 0xffff)) >>> 0);
  if (type === SystemType.CALL16) offset &= 0xffffn;
  if (long) offset |= c.asSystem(() => c.read(gate.address + 8n, 4)) << 32n;
  checkTarget(c, offset, code.attr, code.limit);
  const size = long ? 8 : type === SystemType.CALL ? 4 : 2;
  const cpl = conforming ? state.cpl : dplOf(code.attr);
  if (!isCall || cpl === state.cpl) {
    if (isCall) pushReturn(c, size, returnTo);
    setCodeSegment(c, code, state.cpl);
  } else callInner(c, code, cpl, size, gate.hi & 31, returnTo);
  state.rip = offset;
  c.updateMode();
}

function callInner(
  c: SystemContext,
  code: ReturnType<typeof readDescriptor>,
  cpl: number,
  size: number,
  count: number,
  returnTo: bigint,
): void {
  const { state } = c;
  const oldSs = BigInt(state.segSel[Seg.SS]);
  const oldSp = state.gpr[4];
  const parameters: bigint[] = [];
  if (!c.longMode) {
    const source = new StackCursor(c, size);
    for (let n = 0; n < count; n++) parameters.unshift(source.pop());
  }
  const words = [oldSs, oldSp, ...parameters, BigInt(state.segSel[Seg.CS]), returnTo];
  if (c.longMode) {
    const rsp = c.asSystem(() => c.read(state.segBase[Seg.TR] + BigInt(4 + 8 * cpl), 8));
    c.asSystem(() => words.forEach((word, n) => c.write(rsp - BigInt(8 * (n + 1)), 8, word)));
    state.gpr[4] = rsp - BigInt(8 * words.length);
    setSegment(c, Seg.SS, cpl, 0n, 0xffff_ffff, dpl(cpl));
  } else {
    const esp = innerStack(c, cpl, 0);
    const mask = state.segAttr[Seg.SS] & Attr.DB ? 0xffff_ffffn : 0xffffn;
    c.asSystem(() =>
      words.forEach((word, n) => {
        const at = (esp - BigInt(size * (n + 1))) & mask;
        c.write((state.segBase[Seg.SS] + at) & 0xffff_ffffn, size, BigInt.asUintN(8 * size, word));
      }),
    );
    state.gpr[4] = (esp & ~mask) | ((esp - BigInt(size * words.length)) & mask);
  }
  setCodeSegment(c, code, cpl);
}

/** RET far (SDM vol. 2B). */
export function returnFar(c: SystemContext, size: number, release: number): void {
  const { state } = c;
  const stack = new StackCursor(c, size);
  const rip = cutRip(c, stack.pop(), size);
  const selector = Number(stack.pop() & 0xffffn);
  if (!c.protectedMode || c.virtual8086) {
    if (rip > BigInt(state.segLimit[Seg.CS])) generalProtection(0);
    stack.move(release);
    stack.commit();
    state.segSel[Seg.CS] = selector;
    state.segBase[Seg.CS] = BigInt(selector << 4);
    state.rip = rip;
  } else {
    returnProtected(c, stack, selector, rip, release);
    state.rip = cutTo(c, rip);
  }
  c.updateMode();
}

/** The common part of far returns and IRET in protected and long mode: CS, and SS:rSP when the privilege changes. */
function returnProtected(
  c: SystemContext,
  stack: StackCursor,
  selector: number,
  rip: bigint,
  release: number,
  alwaysStack = false,
): void {
  const { state } = c;
  if (isNull(selector)) generalProtection(0);
  const rpl = selector & 3;
  if (rpl < state.cpl) generalProtection(selector & 0xfffc);
  const d = readDescriptor(c, selector);
  checkCodeSegment(c, d, rpl, true);
  checkTarget(c, rip, d.attr, d.limit);
  const outer = rpl > state.cpl;
  stack.move(release);
  if (!outer && !alwaysStack) {
    stack.commit();
    setCodeSegment(c, d, rpl);
    return;
  }
  const sp = stack.pop();
  const ss = Number(stack.pop() & 0xffffn);
  const to64 = c.longMode && (d.attr & Attr.L) !== 0;
  loadStackSegment(c, ss, rpl, Vector.GP, to64);
  setCodeSegment(c, d, rpl);
  const wide = to64 ? 0xffff_ffff_ffff_ffffn : state.segAttr[Seg.SS] & Attr.DB ? 0xffff_ffffn : 0xffffn;
  state.gpr[4] = to64 ? sp : (state.gpr[4] & ~wide & 0xffff_ffffn) | (sp & wide);
  if (release) state.gpr[4] = BigInt.asUintN(64, (state.gpr[4] & ~wide) | ((state.gpr[4] + BigInt(release)) & wide));
  if (outer) dropInnerSegments(c);
}

/** IRET, IRETD, IRETQ (SDM vol. 2A). */
export function interruptReturn(c: SystemContext, size: number, nextRip: bigint): void {
  const { state } = c;
  state.nmiBlocked = 0;
  if (size === 8 && c.interruptFrame() && returnWithin(c)) return;
  const stack = new StackCursor(c, size);
  if (c.protectedMode && !c.virtual8086 && state.rflags & Rflags.NT) {
    if (c.longMode) generalProtection(0);
    returnToTask(c, nextRip);
    return;
  }
  const rip = cutRip(c, stack.pop(), size);
  const selector = Number(stack.pop() & 0xffffn);
  const flags = Number(stack.pop() & 0xffff_ffffn);
  if (!c.protectedMode || c.virtual8086) {
    if (rip > BigInt(state.segLimit[Seg.CS])) generalProtection(0);
    const virtual = c.virtual8086 && takesVirtualImage(c, flags, size);
    stack.commit();
    if (!virtual) setFlags(c, flags, size, c.virtual8086 ? 3 : 0, c.virtual8086);
    state.segSel[Seg.CS] = selector;
    state.segBase[Seg.CS] = BigInt(selector << 4);
    state.rip = rip;
  } else if (flags & Rflags.VM && state.cpl === 0 && size === 4 && !c.longMode) toVirtual8086(c, stack, rip, selector, flags);
  else {
    const cpl = state.cpl;
    const iopl = (state.rflags >> 12) & 3;
    const stackAlways = mode64(c);
    returnProtected(c, stack, selector, rip, 0, stackAlways);
    setFlagsAt(c, flags, size, cpl, iopl);
    state.rip = cutTo(c, rip);
  }
  c.updateMode();
}

/**
 * The IRET that kernels run most: 64-bit, within one privilege, with the segments it already has. It reads the descriptors all the same;
 * false, with nothing changed, when anything calls for the general path.
 */
function returnWithin(c: SystemContext): boolean {
  const { state, frame } = c;
  const cs = frame[2] & 0xffff;
  const ss = frame[8] & 0xffff;
  if (cs !== state.segSel[Seg.CS] || ss !== state.segSel[Seg.SS] || (cs & 3) !== state.cpl || state.rflags & Rflags.NT)
    return false;
  if (!c.canonicalHalf(frame[1]) || !c.isLoaded(Seg.CS) || !(isNull(ss) || c.isLoaded(Seg.SS))) return false;
  c.setHalves('rip', frame[0], frame[1]);
  c.setStackPointer(frame[6], frame[7]);
  const before = state.rflags;
  setFlagsAt(c, frame[4], 8, state.cpl, (before >> 12) & 3);
  if ((before ^ state.rflags) & (Rflags.TF | Rflags.AC)) c.updateMode();
  return true;
}

/** RFLAGS from an image, by what the privilege at the time of the instruction may change. */
function setFlagsAt(c: SystemContext, image: number, size: number, cpl: number, iopl: number): void {
  let changeable: number =
    Rflags.CF | Rflags.PF | Rflags.AF | Rflags.ZF | Rflags.SF | Rflags.TF | Rflags.DF | Rflags.OF | Rflags.NT;
  if (size > 2) changeable |= Rflags.RF | Rflags.AC | Rflags.ID;
  if (cpl <= iopl) changeable |= Rflags.IF;
  if (cpl === 0) changeable |= Rflags.IOPL | (size > 2 ? Rflags.VIF | Rflags.VIP : 0);
  if (c.rflags & ~image & Rflags.TF) c.stepEnds = true;
  c.rflags = (c.rflags & ~changeable) | (image & changeable);
}

/** Real and virtual-8086 mode: everything but VM, and in the latter IOPL. */
function setFlags(c: SystemContext, image: number, size: number, cpl: number, virtual: boolean): void {
  setFlagsAt(c, image, size, virtual ? 3 : cpl, virtual ? 3 : 0);
}

function toVirtual8086(c: SystemContext, stack: StackCursor, rip: bigint, cs: number, flags: number): void {
  const { state } = c;
  const sp = stack.pop();
  const [ss, es, ds, fs, gs] = [0, 0, 0, 0, 0].map(() => Number(stack.pop() & 0xffffn));
  stack.commit();
  c.rflags = flags;
  state.cpl = 3;
  const real = Attr.P | Attr.S | 3 | dpl(3);
  const values: [number, number][] = [
    [Seg.CS, cs],
    [Seg.SS, ss],
    [Seg.ES, es],
    [Seg.DS, ds],
    [Seg.FS, fs],
    [Seg.GS, gs],
  ];
  for (const [seg, selector] of values) setSegment(c, seg, selector, BigInt(selector << 4), 0xffff, real);
  state.gpr[4] = sp;
  state.rip = rip & 0xffffn;
}

/** POPF where it needs more than the generated code does (SDM vol. 2B, POPF table). */
export function popFlags(c: SystemContext, size: number): void {
  const { state } = c;
  const iopl = (state.rflags >> 12) & 3;
  const stack = new StackCursor(c, size);
  const image = Number(stack.pop() & 0xffff_ffffn);
  if (c.virtual8086 && takesVirtualImage(c, image, size)) {
    stack.commit();
    return;
  }
  stack.commit();
  const kept = c.rflags & (Rflags.VIF | Rflags.VIP);
  setFlagsAt(c, image, size, state.cpl, iopl);
  c.rflags = ((c.rflags & ~(Rflags.RF | Rflags.VIF | Rflags.VIP)) | kept) >>> 0;
  c.updateMode();
}

/** INT n, INT3, INTO: delivered as the next instruction's business, so RIP has moved on. IOPL is INT n's business alone. */
export function softwareInterrupt(c: SystemContext, o: RecordOperands, vector: number): void {
  const { state } = c;
  if (c.virtual8086 && o.form.sem === 'int') {
    virtualInterrupt(c, o, vector);
    return;
  }
  state.rip = o.nextRip;
  deliver(c, vector, 'software');
}

// --- fast system calls -----------------------------------------------------------------------------------------------------------

/**
 * SYSCALL (SDM vol. 2B). As on AMD's processors, compatibility mode enters at CSTAR and legacy mode at STAR's EIP (APM vol. 3, SYSCALL);
 * on Intel's both are #UD. Linux calls itself so from 32-bit programs wherever CPUID's vendor is AMD.
 */
export function syscall(c: SystemContext, o: RecordOperands): void {
  const { state } = c;
  if (!(c.lo('efer') & Efer.SCE) || (c.intel && !mode64(c))) fault(Vector.UD);
  const flags = c.rflags;
  const long = c.longMode;
  state.gpr[1] = o.nextRip;
  if (long) {
    state.gpr[11] = BigInt(flags & ~Rflags.RF) & 0xffff_ffffn;
    state.rip = mode64(c) ? state.lstar : state.cstar;
    c.rflags = (flags & ~c.lo('sfmask') & ~Rflags.RF) | Rflags.FIXED;
  } else {
    state.rip = state.star & 0xffff_ffffn;
    c.rflags = flags & ~(Rflags.VM | Rflags.IF | Rflags.RF);
  }
  const cs = Number((state.star >> 32n) & 0xfffcn);
  setSegment(c, Seg.CS, cs, 0n, 0xffff_ffff, CODE | Attr.G | (long ? Attr.L : Attr.DB));
  setSegment(c, Seg.SS, cs + 8, 0n, 0xffff_ffff, DATA | Attr.DB | Attr.G);
  state.cpl = 0;
  c.updateMode();
}

export function sysret(c: SystemContext, size: number): void {
  const { state } = c;
  if (!(c.lo('efer') & Efer.SCE)) fault(Vector.UD);
  const to64 = size === 8;
  // Intel checks the return address here, at CPL 0 (SDM vol. 2B, SYSRET).
  if (to64 && !c.canonical(state.gpr[1])) generalProtection(0);
  const base = Number((state.star >> 48n) & 0xffffn);
  const cs = (base + (to64 ? 16 : 0)) | 3;
  // Outside 64-bit mode no flags were saved (APM vol. 3, SYSRET).
  c.rflags = mode64(c) ? (Number(state.gpr[11] & 0x3c_7fd7n) | Rflags.FIXED) >>> 0 : c.rflags | Rflags.IF;
  setSegment(c, Seg.CS, cs, 0n, 0xffff_ffff, CODE | dpl(3) | Attr.G | (to64 ? Attr.L : Attr.DB));
  setSegment(c, Seg.SS, (base + 8) | 3, 0n, 0xffff_ffff, DATA | dpl(3) | Attr.DB | Attr.G);
  state.cpl = 3;
  state.rip = to64 ? state.gpr[1] : state.gpr[1] & 0xffff_ffffn;
  c.updateMode();
}

/**
 * SYSENTER and SYSEXIT are #UD in long mode on AMD's processors, whose SYSCALL works there in every sub-mode (APM vol. 3); on Intel's they
 * enter and leave 64-bit code (SDM vol. 2B).
 */
export function sysenter(c: SystemContext): void {
  const { state, longMode } = c;
  if (longMode && !c.intel) fault(Vector.UD);
  if (!c.protectedMode || (state.sysenterCs & 0xfffcn) === 0n) generalProtection(0);
  const cs = Number(state.sysenterCs & 0xfffcn);
  state.rflags &= ~(Rflags.VM | Rflags.IF);
  setSegment(c, Seg.CS, cs, 0n, 0xffff_ffff, CODE | Attr.G | (longMode ? Attr.L : Attr.DB));
  setSegment(c, Seg.SS, cs + 8, 0n, 0xffff_ffff, DATA | Attr.DB | Attr.G);
  const cut = (value: bigint): bigint => (longMode ? value : value & 0xffff_ffffn);
  state.gpr[4] = cut(state.sysenterEsp);
  state.rip = cut(state.sysenterEip);
  state.cpl = 0;
  c.updateMode();
}

export function sysexit(c: SystemContext, size: number): void {
  const { state } = c;
  if (c.longMode && !c.intel) fault(Vector.UD);
  if ((state.sysenterCs & 0xfffcn) === 0n || state.cpl !== 0) generalProtection(0);
  const to64 = size === 8;
  if (to64 && !(c.canonical(state.gpr[1]) && c.canonical(state.gpr[2]))) generalProtection(0);
  const cs = (Number(state.sysenterCs & 0xfffcn) + (to64 ? 32 : 16)) | 3;
  setSegment(c, Seg.CS, cs, 0n, 0xffff_ffff, CODE | dpl(3) | Attr.G | (to64 ? Attr.L : Attr.DB));
  setSegment(c, Seg.SS, cs + 8, 0n, 0xffff_ffff, DATA | dpl(3) | Attr.DB | Attr.G);
  const cut = (value: bigint): bigint => (to64 ? value : value & 0xffff_ffffn);
  state.gpr[4] = cut(state.gpr[1]);
  state.rip = cut(state.gpr[2]);
  state.cpl = 3;
  c.updateMode();
}

// --- system segment registers ----------------------------------------------------------------------------------------------------

export function loadLdt(c: SystemContext, selector: number): void {
  if (isNull(selector)) {
    setNull(c, Seg.LDTR, selector);
    return;
  }
  const error = selector & 0xfffc;
  if (selector & 4) generalProtection(error);
  const d = readDescriptor(c, selector);
  if ((d.attr & 0x1f) !== SystemType.LDT) generalProtection(error);
  if (!(d.attr & Attr.P)) fault(Vector.NP, error);
  setSegment(c, Seg.LDTR, selector, c.longMode ? longBase(c, d) : d.base, d.limit, d.attr);
}

export function loadTask(c: SystemContext, selector: number): void {
  const error = selector & 0xfffc;
  if (isNull(selector) || selector & 4) generalProtection(error);
  const d = readDescriptor(c, selector);
  const type = d.attr & 0x1f;
  if (type !== SystemType.TSS && !(type === SystemType.TSS16 && !c.longMode)) generalProtection(error);
  if (!(d.attr & Attr.P)) fault(Vector.NP, error);
  const base = c.longMode ? longBase(c, d) : d.base;
  if (c.longMode && !c.canonical(base)) generalProtection(error);
  c.asSystem(() => c.write(d.address + 5n, 1, BigInt((d.attr | 2) & 0xff)));
  setSegment(c, Seg.TR, selector, base, d.limit, d.attr | 2);
}

/** LAR, LSL, VERR, VERW: whether the selector's descriptor is visible, and what it says (SDM vol. 2). */
export function inspectSelector(c: SystemContext, selector: number): ReturnType<typeof readDescriptor> | undefined {
  if (isNull(selector)) return undefined;
  const local = (selector & 4) !== 0;
  const limit = local ? (c.state.segAttr[Seg.LDTR] & Attr.P ? c.state.segLimit[Seg.LDTR] : -1) : c.state.gdtrLimit;
  if ((selector & 0xfff8) + 7 > limit) return undefined;
  const d = readDescriptor(c, selector);
  const conforming = (d.attr & (Attr.S | 0xc)) === (Attr.S | 0xc);
  if (!conforming && (dplOf(d.attr) < c.state.cpl || dplOf(d.attr) < (selector & 3))) return undefined;
  return d;
}

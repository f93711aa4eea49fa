/** Delivery of interrupts and exceptions through the IDT (SDM vol. 3 ch. 6). */
import { Vector } from '../core/memory.ts';
import { Rflags, Seg } from '../state.ts';
import type { SystemContext } from './context.ts';
import { Attr, fault, GuestFault, generalProtection } from './context.ts';
import type { Descriptor } from './segments.ts';
import {
  dplOf,
  isCode,
  isConforming,
  isNull,
  loadStackSegment,
  parseDescriptor,
  readDescriptor,
  SystemType,
  setCodeSegment,
  setNull,
  setSegment,
} from './segments.ts';
import { switchTask } from './tasks.ts';

/** Where an event comes from: it decides the EXT bit of error codes and the privilege check of the gate. */
export type EventSource = 'hardware' | 'exception' | 'software';

const EXT = 1;
const IDT = 2;

/** Exceptions that combine into a double fault (SDM vol. 3 table 6-5). */
const isContributory = (vector: number): boolean => vector === 0 || (vector >= 10 && vector <= 13);

/** The processor shuts down: a fault while delivering a double fault. */
export class TripleFault {}

/**
 * Delivers an exception, escalating to #DF and to shutdown as table 6-5 has it.
 * @throws TripleFault
 */
export function deliverException(c: SystemContext, vector: number, error: number): void {
  let pending = new GuestFault(vector, error);
  for (;;) {
    try {
      deliver(c, pending.vector, 'exception', pending.error);
      return;
    } catch (second) {
      if (!(second instanceof GuestFault)) throw second;
      if (pending.vector === Vector.DF) throw new TripleFault();
      const first = pending.vector;
      const double =
        (isContributory(first) && isContributory(second.vector)) ||
        (first === Vector.PF && (isContributory(second.vector) || second.vector === Vector.PF));
      pending = double ? new GuestFault(Vector.DF, 0) : second;
    }
  }
}

/** Delivers one event; nothing has changed if it throws. RIP is what the handler will return to. */
export function deliver(c: SystemContext, vector: number, source: EventSource, error = -1): void {
  if (!c.protectedMode) {
    deliverReal(c, vector);
    return;
  }
  const gate = readGate(c, vector, source);
  if (c.longMode) deliverLong(c, vector, gate, source, error);
  else deliverProtected(c, vector, gate, source, error);
}

/** Real mode: FLAGS, CS, IP on the stack, the vector table at the IDT base (SDM vol. 3 §20.1.4). */
function deliverReal(c: SystemContext, vector: number): void {
  const { state } = c;
  if (vector * 4 + 3 > state.idtrLimit) generalProtection(vector * 8 + IDT);
  const entry = c.read(state.idtrBase + BigInt(vector * 4), 4);
  const sp = state.gpr[4];
  const push = (n: number, value: bigint): void =>
    c.write((state.segBase[Seg.SS] + ((sp - BigInt(2 * n)) & 0xffffn)) & 0xffff_ffffn, 2, value & 0xffffn);
  push(1, BigInt(c.rflags));
  push(2, BigInt(state.segSel[Seg.CS]));
  push(3, state.rip);
  state.gpr[4] = (sp & ~0xffffn) | ((sp - 6n) & 0xffffn);
  state.rflags &= ~(Rflags.IF | Rflags.TF | Rflags.AC | Rflags.RF);
  state.segSel[Seg.CS] = Number(entry >> 16n);
  state.segBase[Seg.CS] = (entry >> 16n) << 4n;
  state.rip = entry & 0xffffn;
  c.updateMode();
}

type Gate = Descriptor & { readonly offset: bigint; readonly target: number; readonly type: number; readonly ist: number };

function readGate(c: SystemContext, vector: number, source: EventSource): Gate {
  const { state } = c;
  const size = c.longMode ? 16 : 8;
  const error = vector * 8 + IDT + (source === 'software' ? 0 : EXT);
  if (vector * size + size - 1 > state.idtrLimit) generalProtection(error);
  const address = state.idtrBase + BigInt(vector * size);
  const raw = c.asSystem(() => c.read(address, 8));
  const d = parseDescriptor(0, address, Number(raw & 0xffff_ffffn), Number(raw >> 32n));
  const type = d.attr & 0x1f;
  const known = c.longMode
    ? type === SystemType.INT || type === SystemType.TRAP
    : type >= SystemType.TASK && (type <= SystemType.TRAP16 || type >= SystemType.INT);
  if (!known) generalProtection(error);
  if (source === 'software' && dplOf(d.attr) < state.cpl) generalProtection(error);
  if (!(d.attr & Attr.P)) fault(Vector.NP, error);
  const high = c.longMode ? c.asSystem(() => c.read(address + 8n, 4)) : 0n;
  const low = BigInt(((d.hi & 0xffff_0000) | (d.lo & 0xffff)) >>> 0);
  const wide = type === SystemType.INT || type === SystemType.TRAP;
  return { ...d, offset: wide ? (high << 32n) | low : low & 0xffffn, target: d.lo >>> 16, type, ist: d.hi & 7 };
}

/** The code segment a gate leads to, and the privilege it will run at (SDM vol. 3 §6.12.1). */
function handlerSegment(c: SystemContext, gate: Gate, ext: number): { code: Descriptor; cpl: number } {
  if (isNull(gate.target)) generalProtection(ext);
  const code = readDescriptor(c, gate.target);
  const error = (gate.target & 0xfffc) + ext;
  if (!isCode(code.attr) || dplOf(code.attr) > c.state.cpl) generalProtection(error);
  if (c.longMode && (!(code.attr & Attr.L) || code.attr & Attr.DB)) generalProtection(error);
  if (!(code.attr & Attr.P)) fault(Vector.NP, error);
  return { code, cpl: isConforming(code.attr) ? c.state.cpl : dplOf(code.attr) };
}

/** The image of RFLAGS an exception pushes has RF set for faults, so that the instruction is not stopped again by a breakpoint. */
function pushedFlags(c: SystemContext, vector: number, source: EventSource): bigint {
  const isFault =
    source === 'exception' && vector !== Vector.DB && vector !== Vector.BP && vector !== Vector.OF && vector !== Vector.DF;
  return BigInt((c.rflags | (isFault ? Rflags.RF : 0)) >>> 0);
}

function enterHandler(c: SystemContext, gate: Gate): void {
  const { state } = c;
  const interrupt = gate.type === SystemType.INT || gate.type === SystemType.INT16;
  state.rflags &= ~(Rflags.TF | Rflags.NT | Rflags.RF | Rflags.VM | (interrupt ? Rflags.IF : 0));
  state.rip = gate.offset;
  c.updateMode();
}

/** IA-32e mode: always SS:RSP, aligned to 16; a new stack by privilege change or IST (SDM vol. 3 §6.14). */
function deliverLong(c: SystemContext, vector: number, gate: Gate, source: EventSource, error: number): void {
  const { state } = c;
  const ext = source === 'software' ? 0 : EXT;
  const { code, cpl } = handlerSegment(c, gate, ext);
  if (!c.canonical(gate.offset)) generalProtection(ext);
  const inner = cpl < state.cpl;
  let rsp = state.gpr[4];
  if (gate.ist !== 0) rsp = tssPointer(c, 0x1c + 8 * gate.ist, ext);
  else if (inner) rsp = tssPointer(c, 4 + 8 * cpl, ext);
  rsp &= ~15n;
  const words = [
    BigInt(state.segSel[Seg.SS]),
    state.gpr[4],
    pushedFlags(c, vector, source),
    BigInt(state.segSel[Seg.CS]),
    state.rip,
  ];
  if (error >= 0) words.push(BigInt(error));
  if (!c.canonical(rsp - 1n) || !c.canonical(rsp - BigInt(8 * words.length))) fault(Vector.SS, ext);
  const oldCpl = state.cpl;
  withPrivilege(c, cpl, () => {
    words.forEach((word, n) => c.write(BigInt.asUintN(64, rsp - BigInt(8 * (n + 1))), 8, word));
  });
  state.gpr[4] = BigInt.asUintN(64, rsp - BigInt(8 * words.length));
  setCodeSegment(c, code, cpl);
  if (cpl < oldCpl) setSegment(c, Seg.SS, cpl, 0n, 0xffff_ffff, cpl << Attr.DPL_SHIFT);
  enterHandler(c, gate);
}

/** RSPn or ISTn out of the 64-bit TSS (SDM vol. 3 figure 7-11). */
function tssPointer(c: SystemContext, offset: number, ext: number): bigint {
  const { state } = c;
  if (offset + 7 > state.segLimit[Seg.TR]) fault(Vector.TS, (state.segSel[Seg.TR] & 0xfffc) + ext);
  const pointer = c.asSystem(() => c.read(state.segBase[Seg.TR] + BigInt(offset), 8));
  if (!c.canonical(pointer)) fault(Vector.SS, ext);
  return pointer;
}

/** Makes stack accesses at the privilege that will be in force. */
function withPrivilege(c: SystemContext, cpl: number, body: () => void): void {
  if (cpl === 3) body();
  else if (c.state.cpl === 3) c.asSystem(body);
  else body();
}

/** Legacy protected mode, 16- and 32-bit gates, with or without a stack switch, out of virtual-8086 mode too (SDM vol. 3 §6.12.1). */
function deliverProtected(c: SystemContext, vector: number, gate: Gate, source: EventSource, error: number): void {
  const { state } = c;
  const ext = source === 'software' ? 0 : EXT;
  if (gate.type === SystemType.TASK) {
    const flags = Number(pushedFlags(c, vector, source));
    const pending = switchTask(c, gate.target, 'interrupt', { rip: state.rip, flags, ext, error });
    if (pending) deliverException(c, pending.vector, pending.error);
    return;
  }
  const { code, cpl } = handlerSegment(c, gate, ext);
  const size = gate.type >= SystemType.INT ? 4 : 2;
  const words: bigint[] = [];
  const oldVirtual = c.virtual8086;
  if (oldVirtual && cpl !== 0) generalProtection((gate.target & 0xfffc) + ext);
  const inner = cpl < state.cpl || oldVirtual;
  const saved = saveStack(c);
  if (oldVirtual) words.push(...[Seg.GS, Seg.FS, Seg.DS, Seg.ES].map((seg) => BigInt(state.segSel[seg])));
  if (inner) words.push(BigInt(state.segSel[Seg.SS]), state.gpr[4]);
  words.push(pushedFlags(c, vector, source), BigInt(state.segSel[Seg.CS]), state.rip);
  if (error >= 0) words.push(BigInt(error));
  try {
    let esp = state.gpr[4];
    if (inner) esp = innerStack(c, cpl, ext);
    const mask = state.segAttr[Seg.SS] & Attr.DB ? 0xffff_ffffn : 0xffffn;
    withPrivilege(c, cpl, () => {
      words.forEach((word, n) => {
        const offset = (esp - BigInt(size * (n + 1))) & mask;
        checkStack(c, offset, size, inner ? (state.segSel[Seg.SS] & 0xfffc) + ext : 0);
        c.write((state.segBase[Seg.SS] + offset) & 0xffff_ffffn, size, word & (size === 4 ? 0xffff_ffffn : 0xffffn));
      });
    });
    state.gpr[4] = (esp & ~mask) | ((esp - BigInt(size * words.length)) & mask);
  } catch (e) {
    saved();
    throw e;
  }
  if (oldVirtual) for (const seg of [Seg.GS, Seg.FS, Seg.DS, Seg.ES]) setNull(c, seg, 0);
  setCodeSegment(c, code, cpl);
  enterHandler(c, gate);
}

function checkStack(c: SystemContext, offset: bigint, size: number, error: number): void {
  const last = Number(offset) + size - 1;
  if (Number(offset) < c.state.segLow[Seg.SS] || last > c.state.segLimit[Seg.SS]) fault(Vector.SS, error);
}

/** Remembers SS and ESP; a fault while pushing puts them back. */
function saveStack(c: SystemContext): () => void {
  const { state } = c;
  const [sel, base, limit, low, attr, sp] = [
    state.segSel[Seg.SS],
    state.segBase[Seg.SS],
    state.segLimit[Seg.SS],
    state.segLow[Seg.SS],
    state.segAttr[Seg.SS],
    state.gpr[4],
  ];
  return () => {
    state.segSel[Seg.SS] = sel;
    state.segBase[Seg.SS] = base;
    state.segLimit[Seg.SS] = limit;
    state.segLow[Seg.SS] = low;
    state.segAttr[Seg.SS] = attr;
    state.gpr[4] = sp;
  };
}

/** Loads SS for an inner privilege out of the TSS; returns its ESP (SDM vol. 3 §7.2.1). */
export function innerStack(c: SystemContext, cpl: number, ext: number): bigint {
  const { state } = c;
  const wide = (state.segAttr[Seg.TR] & 8) !== 0;
  const offset = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
  if (offset + (wide ? 5 : 3) > state.segLimit[Seg.TR]) fault(Vector.TS, (state.segSel[Seg.TR] & 0xfffc) + ext);
  const at = state.segBase[Seg.TR] + BigInt(offset);
  const esp = c.asSystem(() => c.read(at, wide ? 4 : 2));
  const ss = Number(c.asSystem(() => c.read(at + (wide ? 4n : 2n), 2)));
  loadStackSegment(c, ss, cpl, Vector.TS, false);
  return esp;
}

/** Something architectural that this engine does not do yet: the machine stops and says so, rather than go on wrongly. */
export class UnsupportedFeature extends Error {}

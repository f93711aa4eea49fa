/** Hardware task switches (SDM vol. 3 ch. 8): by far JMP and CALL, through task gates, and back by IRET. None exist in IA-32e mode. */

import { Vector } from '../core/memory.ts';
import { Rflags, Seg } from '../state.ts';
import type { SystemContext } from './context.ts';
import { Attr, Cr0, Cr4, fault, GuestFault, generalProtection } from './context.ts';
import { StackCursor } from './operands.ts';
import type { Descriptor } from './segments.ts';
import {
  dplOf,
  isCode,
  isConforming,
  isNull,
  loadStackSegment,
  markAccessed,
  readDescriptor,
  SystemType,
  setFromDescriptor,
  setSegment,
} from './segments.ts';

/** How a task is left. What an interrupt or exception does is a call, whose error codes have EXT set. */
export type TaskReason = 'jump' | 'call' | 'interrupt' | 'return';

const BUSY = 2;
/** DR7.L0–3 and LE. */
const LOCAL_ENABLES = 0x155n;
/** DR6.BT: a switch to a task whose TSS has its T flag set (SDM vol. 3 §18.2.3). */
const DR6_BT = 1n << 15n;

/** Offsets in a TSS (SDM vol. 3 figures 8-2 and 8-10). */
const TSS32 = { size: 4, least: 0x67, cr3: 28, rip: 32, flags: 36, gpr: 40, segments: 72, ldt: 96, trap: 100 } as const;
const TSS16 = { size: 2, least: 0x2b, cr3: -1, rip: 14, flags: 16, gpr: 18, segments: 34, ldt: 42, trap: -1 } as const;
type Layout = typeof TSS32 | typeof TSS16;
const layoutOf = (attr: number): Layout => (attr & 8 ? TSS32 : TSS16);
/** Selectors as they follow each other; a 16-bit TSS ends with DS. */
const SEGMENTS = [Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const;
const segmentsOf = (layout: Layout): readonly number[] => (layout === TSS32 ? SEGMENTS : SEGMENTS.slice(0, 4));

type Image = { cr3: bigint; rip: bigint; flags: number; gpr: bigint[]; selectors: number[]; ldt: number; trap: boolean };

/** The processor's own accesses to a TSS: linear addresses wrap at 4 GiB. */
class TaskState {
  readonly #c: SystemContext;
  readonly #base: bigint;
  readonly layout: Layout;

  constructor(c: SystemContext, base: bigint, layout: Layout) {
    this.#c = c;
    this.#base = base;
    this.layout = layout;
  }
  read(offset: number, size: number = this.layout.size): bigint {
    return this.#c.read((this.#base + BigInt(offset)) & 0xffff_ffffn, size);
  }
  write(offset: number, value: bigint, size: number = this.layout.size): void {
    this.#c.write((this.#base + BigInt(offset)) & 0xffff_ffffn, size, BigInt.asUintN(8 * size, value));
  }

  load(): Image {
    const { layout } = this;
    const { size } = layout;
    return {
      cr3: layout.cr3 < 0 ? 0n : this.read(layout.cr3),
      rip: this.read(layout.rip),
      flags: Number(this.read(layout.flags)),
      gpr: Array.from({ length: 8 }, (_, n) => this.read(layout.gpr + size * n)),
      selectors: segmentsOf(layout).map((_, n) => Number(this.read(layout.segments + size * n, 2))),
      ldt: Number(this.read(layout.ldt, 2)),
      trap: layout.trap >= 0 && (this.read(layout.trap, 2) & 1n) !== 0n,
    };
  }

  /** The dynamic fields (§8.2.1). */
  save(rip: bigint, flags: number): void {
    const { layout } = this;
    const { size } = layout;
    const { state } = this.#c;
    this.write(layout.rip, rip);
    this.write(layout.flags, BigInt(flags));
    for (let n = 0; n < 8; n++) this.write(layout.gpr + size * n, state.gpr[n]);
    segmentsOf(layout).forEach((seg, n) => {
      this.write(layout.segments + size * n, BigInt(state.segSel[seg]), 2);
    });
  }
}

/** The TSS that a selector names, as the way there asks for it (§8.3, items 1–4). */
function targetOf(c: SystemContext, selector: number, reason: TaskReason, ext: number): Descriptor {
  const error = (selector & 0xfffc) + ext;
  const bad = reason === 'return' ? Vector.TS : Vector.GP;
  if (isNull(selector) || selector & 4) fault(bad, error);
  const d = readDescriptor(c, selector, bad);
  const type = d.attr & 0x1f;
  const [free, busy] = [
    type === SystemType.TSS || type === SystemType.TSS16,
    type === SystemType.BUSY || type === SystemType.BUSY16,
  ];
  if (reason === 'return' ? !busy : !free) fault(bad, error);
  if (!(d.attr & Attr.P)) fault(Vector.NP, error);
  if (d.limit < layoutOf(d.attr).least) fault(Vector.TS, error);
  return d;
}

/**
 * Switches to the task of a TSS selector. `rip` is where the old one goes on, `flags` are what it goes on with, `error` the code that an
 * exception brings along (-1: none). Throws what keeps the switch from happening, with nothing changed.
 * @returns a fault that the new task begins with (§8.3: "in the context of the new task"), or undefined
 */
export function switchTask(
  c: SystemContext,
  selector: number,
  reason: TaskReason,
  how: { readonly rip: bigint; readonly flags: number; readonly ext?: number; readonly error?: number },
): GuestFault | undefined {
  const { state } = c;
  const d = targetOf(c, selector, reason, how.ext ?? 0);
  const nests = reason === 'call' || reason === 'interrupt';
  const oldSelector = state.segSel[Seg.TR];
  const next = new TaskState(c, d.base, layoutOf(d.attr));
  const image = c.asSystem(() => {
    const old = new TaskState(c, state.segBase[Seg.TR], layoutOf(state.segAttr[Seg.TR]));
    const loaded = next.load();
    const oldDescriptor = nests ? undefined : readDescriptor(c, oldSelector, Vector.TS);
    old.save(how.rip, reason === 'return' ? how.flags & ~Rflags.NT : how.flags);
    // The link first: it is the only field of the new TSS that is written, and may not be writable.
    if (nests) next.write(0, BigInt(oldSelector), 2);
    if (oldDescriptor) setBusy(c, oldDescriptor, false);
    if (reason !== 'return') setBusy(c, d, true);
    return loaded;
  });
  setSegment(c, Seg.TR, selector, d.base, d.limit, d.attr | BUSY);
  return enter(c, image, next.layout, nests, how.error ?? -1);
}

function setBusy(c: SystemContext, d: Descriptor, on: boolean): void {
  c.write(d.address + 5n, 1, BigInt((on ? d.attr | BUSY : d.attr & ~BUSY) & 0xff));
}

/** Beyond recall: what goes wrong from here on is the new task's. */
function enter(c: SystemContext, image: Image, layout: Layout, nests: boolean, error: number): GuestFault | undefined {
  const { state } = c;
  const flags = nests ? image.flags | Rflags.NT : image.flags;
  c.rflags = (flags & (layout === TSS32 ? 0x3f_7fd7 : 0x7fd7)) | Rflags.FIXED;
  state.cr0 |= BigInt(Cr0.TS);
  state.rip = image.rip;
  image.gpr.forEach((value, n) => {
    state.gpr[n] = value;
  });
  const virtual = (flags & Rflags.VM) !== 0;
  const cs = image.selectors[1];
  state.cpl = virtual ? 3 : cs & 3;
  for (const seg of SEGMENTS) setSegment(c, seg, image.selectors[seg] ?? 0, 0n, 0, 0);
  setSegment(c, Seg.LDTR, image.ldt, 0n, 0, 0);
  // Breakpoints for this task alone are off (§18.2.4).
  if (state.dr[7] & LOCAL_ENABLES) {
    state.dr[7] &= ~LOCAL_ENABLES;
    c.breakpoints.update();
  }
  try {
    if (layout === TSS32) loadCr3(c, image.cr3);
    loadLocalTable(c, image.ldt);
    if (virtual) loadVirtual(c, image.selectors);
    else loadSegments(c, image.selectors);
    c.updateMode();
    if (error >= 0) pushError(c, error, layout.size);
    if (image.rip > BigInt(state.segLimit[Seg.CS])) generalProtection(0);
    if (!image.trap) return undefined;
    state.dr[6] |= DR6_BT;
    return new GuestFault(Vector.DB);
  } catch (e) {
    if (!(e instanceof GuestFault)) throw e;
    c.updateMode();
    return e;
  }
}

function loadCr3(c: SystemContext, value: bigint): void {
  const { state } = c;
  if (!(c.lo('cr0') & Cr0.PG)) return;
  state.cr3 = value;
  c.updateMmu();
  const valid = !(c.lo('cr4') & Cr4.PAE) || c.mmu.loadPdptes();
  c.mmu.flushNonGlobal();
  c.flushJumps();
  if (!valid) fault(Vector.TS, c.state.segSel[Seg.TR] & 0xfffc);
}

function loadLocalTable(c: SystemContext, selector: number): void {
  if (isNull(selector)) return;
  const error = selector & 0xfffc;
  if (selector & 4) fault(Vector.TS, error);
  const d = readDescriptor(c, selector, Vector.TS);
  if ((d.attr & 0x1f) !== SystemType.LDT || !(d.attr & Attr.P)) fault(Vector.TS, error);
  setFromDescriptor(c, Seg.LDTR, selector, d);
}

function loadVirtual(c: SystemContext, selectors: readonly number[]): void {
  const attr = Attr.P | Attr.S | 3 | (3 << Attr.DPL_SHIFT);
  selectors.forEach((selector, seg) => {
    setSegment(c, seg, selector, BigInt(selector << 4), 0xffff, attr);
  });
}

/** Segment registers by table 8-1: CS and SS have to fit CPL, the others may be null. */
function loadSegments(c: SystemContext, selectors: readonly number[]): void {
  const { cpl } = c.state;
  const cs = selectors[Seg.CS];
  if (isNull(cs)) fault(Vector.TS, 0);
  const code = readDescriptor(c, cs, Vector.TS);
  const allowed = isConforming(code.attr) ? dplOf(code.attr) <= cpl : dplOf(code.attr) === cpl;
  if (!isCode(code.attr) || !allowed) fault(Vector.TS, cs & 0xfffc);
  if (!(code.attr & Attr.P)) fault(Vector.NP, cs & 0xfffc);
  load(c, Seg.CS, code);
  loadStackSegment(c, selectors[Seg.SS], cpl, Vector.TS, false);
  for (const seg of [Seg.ES, Seg.DS, Seg.FS, Seg.GS]) {
    const selector = selectors[seg] ?? 0;
    if (isNull(selector)) continue;
    const error = selector & 0xfffc;
    const d = readDescriptor(c, selector, Vector.TS);
    const readable = (d.attr & Attr.S) !== 0 && (!isCode(d.attr) || (d.attr & 2) !== 0);
    const free = isCode(d.attr) && isConforming(d.attr);
    if (!readable || (!free && (dplOf(d.attr) < cpl || dplOf(d.attr) < (selector & 3)))) fault(Vector.TS, error);
    if (!(d.attr & Attr.P)) fault(Vector.NP, error);
    load(c, seg, d);
  }
}

function load(c: SystemContext, seg: number, d: Descriptor): void {
  markAccessed(c, d);
  setFromDescriptor(c, seg, d.selector, { ...d, attr: d.attr | 1 });
}

/** An exception's error code goes to the new task's stack (§6.13). */
function pushError(c: SystemContext, error: number, size: number): void {
  const stack = new StackCursor(c, size);
  stack.push(BigInt(error));
  stack.commit();
}

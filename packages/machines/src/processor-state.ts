import type { Regs, SegmentRegister, Sregs } from '@tsvisor/vmm-core';
import type { Processor as X86Processor } from '@tsvisor/x86-cpu';
import { Seg } from '@tsvisor/x86-cpu';

/** KVM's names of the general registers in the order in which instructions number them (SDM vol. 2, table 3-1). */
const GENERAL = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
] as readonly Exclude<keyof Regs, 'rip' | 'rflags'>[];

const SEGMENTS = { es: Seg.ES, cs: Seg.CS, ss: Seg.SS, ds: Seg.DS, fs: Seg.FS, gs: Seg.GS, ldt: Seg.LDTR, tr: Seg.TR } as const;
const SEGMENT_NAMES = Object.keys(SEGMENTS) as (keyof typeof SEGMENTS)[];

type Context = X86Processor['context'];

export function getRegs({ state, rflags }: Context): Regs {
  const regs = Object.fromEntries(GENERAL.map((name, n) => [name, state.gpr[n]]));
  return { ...regs, rip: state.rip, rflags: BigInt(rflags) } as Regs;
}

export function setRegs(context: Context, regs: Regs): void {
  const { state } = context;
  GENERAL.forEach((name, n) => {
    state.gpr[n] = BigInt.asUintN(64, regs[name]);
  });
  state.rip = regs.rip;
  context.rflags = Number(regs.rflags & 0xffff_ffffn);
  context.updateMode();
}

export function getSregs({ state }: Context): Sregs {
  const segments = Object.fromEntries(SEGMENT_NAMES.map((name) => [name, getSegment(state, SEGMENTS[name])]));
  return {
    ...(segments as Record<keyof typeof SEGMENTS, SegmentRegister>),
    gdt: { base: state.gdtrBase, limit: state.gdtrLimit },
    idt: { base: state.idtrBase, limit: state.idtrLimit },
    cr0: state.cr0,
    cr2: state.cr2,
    cr3: state.cr3,
    cr4: state.cr4,
    cr8: 0n,
    efer: state.efer,
    apicBase: 0n,
  };
}

/** CR8 and IA32_APIC_BASE belong to the local APIC and are not set here. */
export function setSregs(context: Context, sregs: Sregs): void {
  const { state } = context;
  for (const name of SEGMENT_NAMES) setSegment(state, SEGMENTS[name], sregs[name]);
  state.gdtrBase = sregs.gdt.base;
  state.gdtrLimit = sregs.gdt.limit;
  state.idtrBase = sregs.idt.base;
  state.idtrLimit = sregs.idt.limit;
  state.cr0 = sregs.cr0;
  state.cr2 = sregs.cr2;
  state.cr3 = sregs.cr3;
  state.cr4 = sregs.cr4;
  state.efer = sregs.efer;
  state.cpl = sregs.ss.dpl;
  context.updateMmu();
  context.flushTlb();
  context.updateMode();
}

function getSegment(state: Context['state'], seg: number): SegmentRegister {
  const attr = state.segAttr[seg];
  const down = state.segLow[seg] !== 0;
  return {
    selector: state.segSel[seg],
    base: state.segBase[seg],
    limit: down ? state.segLow[seg] - 1 : state.segLimit[seg],
    type: attr & 15,
    s: (attr >> 4) & 1,
    dpl: (attr >> 5) & 3,
    present: (attr >> 7) & 1,
    avl: (attr >> 12) & 1,
    l: (attr >> 13) & 1,
    db: (attr >> 14) & 1,
    g: (attr >> 15) & 1,
    unusable: attr === 0 ? 1 : 0,
  };
}

function setSegment(state: Context['state'], seg: number, value: SegmentRegister): void {
  const { type, s, dpl, present, avl, l, db, g } = value;
  const attr = type | (s << 4) | (dpl << 5) | (present << 7) | (avl << 12) | (l << 13) | (db << 14) | (g << 15);
  // An expand-down data segment is valid above its limit (SDM vol. 3 §5.3).
  const down = s === 1 && (type & 12) === 4;
  state.segSel[seg] = value.selector;
  state.segBase[seg] = value.base;
  state.segLow[seg] = down ? value.limit + 1 : 0;
  state.segLimit[seg] = down ? (db ? 0xffff_ffff : 0xffff) : value.limit;
  state.segAttr[seg] = value.unusable ? 0 : attr;
}

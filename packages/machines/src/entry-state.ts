import type { EntryState, SegmentState } from '@tsvisor/boot';
import type { Regs, SegmentRegister, Sregs } from '@tsvisor/vmm-core';

/** Access rights as in descriptor bits 40–55 (SDM vol. 3 §25.4.1), taken apart as `struct kvm_segment` has them. */
function segment({ selector, base, limit, attributes }: SegmentState): SegmentRegister {
  return {
    selector,
    base: BigInt(base),
    limit,
    type: attributes & 15,
    s: (attributes >> 4) & 1,
    dpl: (attributes >> 5) & 3,
    present: (attributes >> 7) & 1,
    avl: (attributes >> 12) & 1,
    l: (attributes >> 13) & 1,
    db: (attributes >> 14) & 1,
    g: (attributes >> 15) & 1,
    unusable: attributes === 0 ? 1 : 0,
  };
}

/** A vCPU on this thread or another. */
type EnterableVcpu = {
  readonly getRegs: () => Regs | Promise<Regs>;
  readonly setRegs: (regs: Regs) => void | Promise<void>;
  readonly getSregs: () => Sregs | Promise<Sregs>;
  readonly setSregs: (sregs: Sregs) => void | Promise<void>;
};

/** Gives a vCPU fresh from reset the state that a kernel is entered in. */
export async function applyEntryState(vcpu: EnterableVcpu, entry: EntryState): Promise<void> {
  const data = segment(entry.data);
  await vcpu.setSregs({
    ...(await vcpu.getSregs()),
    cs: segment(entry.cs),
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    tr: segment(entry.tr),
    ldt: segment(entry.ldtr),
    gdt: { base: BigInt(entry.gdt.base), limit: entry.gdt.limit },
    idt: { base: BigInt(entry.idt.base), limit: entry.idt.limit },
    cr0: BigInt(entry.cr0),
    cr3: BigInt(entry.cr3),
    cr4: BigInt(entry.cr4),
    efer: BigInt(entry.efer),
  });
  await vcpu.setRegs({
    ...(await vcpu.getRegs()),
    rax: BigInt(entry.rax),
    rdx: 0n,
    rip: BigInt(entry.rip),
    rsi: BigInt(entry.rsi),
    rbx: BigInt(entry.rbx),
    rflags: BigInt(entry.rflags),
  });
}

/** A guest of a few instructions that rings a doorbell in a loop: 64-bit code over the KVM-shaped API, everything on this thread. */
import { x86Engine } from '@tsvisor/machines';
import { type Ioeventfd, Kvm, type Sregs, type Vm } from '@tsvisor/vmm-core';
import { BenchError } from './errors.ts';

export type DoorbellPath = {
  readonly name: string;
  /** The instruction that rings. RAX is the address, port or number, RBX the value; RCX must stay. */
  readonly code: readonly number[];
  readonly where: Omit<Ioeventfd, 'event'>;
};

const MEMORY = 1 << 20;
const [PML4, PDPT, CODE] = [0x1000, 0x2000, 0x3000];
const PRESENT_WRITABLE = 3;
const LARGE = 0x80;
/** Port where the loop ends. */
const DONE = 0xf4;
const BUDGET = 100_000_000;

/** The first 4 GiB mapped to themselves. */
function mapMemory(vm: Vm): void {
  vm.memory.writeU32(PML4, PDPT | PRESENT_WRITABLE);
  for (let gib = 0; gib < 4; gib++) vm.memory.writeU32(PDPT + 8 * gib, ((gib << 30) | PRESENT_WRITABLE | LARGE) >>> 0);
}

/** 64-bit code at CPL 0 (SDM vol. 3 §10.8.5). */
function longMode(sregs: Sregs): Sregs {
  const data = { ...sregs.ds, base: 0n, limit: 0xffff_ffff, selector: 0x18, type: 3, present: 1, s: 1, db: 1, g: 1, unusable: 0 };
  const cs = { ...data, selector: 0x10, type: 11, l: 1, db: 0 };
  return { ...sregs, cs, ds: data, es: data, ss: data, cr0: 0x8000_0011n, cr3: BigInt(PML4), cr4: 0x20n, efer: 0x500n };
}

/** What runs a loop of so many rings, and returns nanoseconds; and how many were signals that generated code made. */
export function doorbellGuest({ code, where }: DoorbellPath, inMemory: boolean) {
  const model = x86Engine.model('max', { tier: 'jit' });
  const vm = new Kvm({ createProcessor: model.createProcessor }).createVm({ memoryBytes: MEMORY });
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memorySize: MEMORY });
  mapMemory(vm);
  // body; dec ecx; jnz body; out DONE, al; jmp itself
  vm.memory.write(CODE, Uint8Array.of(...code, 0xff, 0xc9, 0x75, -(code.length + 4) & 0xff, 0xe6, DONE, 0xeb, 0xfe));
  let calls = 0;
  const event = inMemory ? vm.createEventFd() : { signal: () => void calls++ };
  vm.assignIoeventfd({ ...where, event });
  const vcpu = vm.createVcpu(0, model);
  vcpu.setSregs(longMode(vcpu.getSregs()));
  const registers = { rip: BigInt(CODE), rax: BigInt(where.address), rbx: 5n, rdx: BigInt(where.address), rflags: 2n };
  let done = false;
  const end = (): void => {
    done = true;
    vcpu.kick();
  };
  vm.assignIoeventfd({ bus: 'pio', address: DONE, length: 1, event: { signal: end } });
  const taken = (): number => {
    if ('tryRead' in event) return Number(event.tryRead() ?? 0n);
    const all = calls;
    calls = 0;
    return all;
  };
  const run = (rings: number): number => {
    vcpu.setRegs({ ...vcpu.getRegs(), ...registers, rcx: BigInt(rings) });
    const start = performance.now();
    for (done = false; !done; ) vcpu.run(BUDGET);
    const ns = (performance.now() - start) * 1e6;
    const heard = taken();
    if (heard !== rings) throw new BenchError('BENCH_GUEST', `${heard} of ${rings} rings`);
    return ns;
  };
  return { run, generated: () => vcpu.processor.stats().doorbells, dispose: () => vm.dispose() };
}

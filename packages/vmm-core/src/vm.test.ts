import { describe, expect, it } from 'vitest';
import { Kvm } from './kvm.ts';
import type { CpuidSource } from './ports.ts';
import { createFakeHost, createFakeProcessor, type FakeProcessor } from './testing/fakes.ts';

const model: CpuidSource = {
  query: (leaf, _subleaf, out) => {
    out.fill(0);
    if (leaf === 0) out[0] = 0xd;
    if (leaf === 1) out.set([0x000306a9, 0xdead_0800, 0, 0xffff_ffff]);
  },
};

function setup(onRun: (cpu: FakeProcessor) => void = () => undefined) {
  const host = createFakeHost();
  const processors: FakeProcessor[] = [];
  const kvm = new Kvm({
    host,
    createProcessor: (config) => {
      const processor = createFakeProcessor(config, (self) => {
        onRun(self);
        return { reason: 'budget' };
      });
      processors.push(processor);
      return processor;
    },
  });
  const vm = kvm.createVm({ memoryBytes: 16 << 20, overheadBytes: 4 << 20, cpus: 2 });
  return { host, kvm, vm, processors };
}

const withErrno = (errno: string) => expect.objectContaining({ errno, code: `VMM_${errno}` });

describe('Kvm', () => {
  it('has the API version of KVM, and answers 0 for capabilities that it does not have', () => {
    const { kvm } = setup();
    expect(kvm.getApiVersion()).toBe(12);
    const present = ['irqchip', 'ioeventfd', 'ioeventfdNoLength', 'ioeventfdAnyLength', 'irqfd', 'irqfdResample', 'mpState'];
    for (const name of [...present, 'coalescedMmio', 'coalescedPio']) expect([name, kvm.checkExtension(name)]).toEqual([name, 1]);
    expect(kvm.checkExtension('nrVcpus')).toBe(Math.min(navigator.hardwareConcurrency, kvm.checkExtension('maxVcpus')));
    expect(kvm.checkExtension('nonsense')).toBe(0);
    expect(kvm.checkExtension('toString')).toBe(0);
  });

  it.each([0, 255, 1.5])('refuses %s processors with EINVAL', (cpus) => {
    expect(() => setup().kvm.createVm({ memoryBytes: 4096, cpus })).toThrow(withErrno('EINVAL'));
  });

  it('refuses more memory than there is with ENOMEM', () => {
    const { vm } = setup();
    expect(() => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memorySize: 2 ** 32 })).toThrow(withErrno('ENOMEM'));
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memorySize: 4096 });
  });
});

describe('setUserMemoryRegion', () => {
  it('creates, moves and deletes; what was written moves along', () => {
    const { vm } = setup();
    vm.setUserMemoryRegion({ slot: 7, guestPhysAddr: 0x1000, memorySize: 0x2000 });
    vm.memory.write(0x1ffe, Uint8Array.of(1, 2, 3, 4));
    vm.setUserMemoryRegion({ slot: 7, guestPhysAddr: 0x10_0000, memorySize: 0x2000 });
    expect(vm.memory.readU32(0x10_0ffe)).toBe(0x0403_0201);
    expect(vm.memory.readU32(0x1ffe)).toBe(0xffff_ffff);
    vm.setUserMemoryRegion({ slot: 7, guestPhysAddr: 0, memorySize: 0 });
    expect(vm.memory.slots()).toEqual([]);
  });

  it.each([
    ['overlap', { slot: 1, guestPhysAddr: 0x1000, memorySize: 0x1000 }],
    ['half a page', { slot: 1, guestPhysAddr: 0x10_0000, memorySize: 0x800 }],
    ['deleting what is not there', { slot: 1, guestPhysAddr: 0, memorySize: 0 }],
    ['another size', { slot: 0, guestPhysAddr: 0, memorySize: 0x1000 }],
    ['another read-only flag', { slot: 0, guestPhysAddr: 0, memorySize: 0x2000, flags: { readOnly: true } }],
  ])('refuses %s with EINVAL and changes nothing', (_what, region) => {
    const { vm } = setup();
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memorySize: 0x2000 });
    const before = { slots: vm.memory.slots(), used: vm.arena.used() };
    expect(() => vm.setUserMemoryRegion(region)).toThrow(withErrno('EINVAL'));
    expect({ slots: vm.memory.slots(), used: vm.arena.used() }).toEqual(before);
  });

  it('logs writes from when it is asked to, and ENOENT without that', () => {
    const { vm } = setup();
    const region = { slot: 3, guestPhysAddr: 0, memorySize: 0x4000 };
    vm.setUserMemoryRegion(region);
    expect(() => vm.getDirtyLog(3)).toThrow(withErrno('ENOENT'));
    vm.setUserMemoryRegion({ ...region, flags: { logDirtyPages: true } });
    vm.memory.writeU8(0x2001, 1);
    expect(vm.getDirtyLog(3)[0]).toBe(0b100);
    expect(vm.getDirtyLog(3)[0]).toBe(0);
  });
});

describe('createIrqchip and createVcpu', () => {
  it('answers EEXIST to a second irqchip, 8254 or vCPU of one number', () => {
    const { vm } = setup();
    vm.createIrqchip();
    expect(() => vm.createIrqchip()).toThrow(withErrno('EEXIST'));
    vm.createPit2();
    expect(() => vm.createPit2()).toThrow(withErrno('EEXIST'));
    vm.createVcpu(0, { cpuid: model });
    expect(() => vm.createVcpu(0, { cpuid: model })).toThrow(withErrno('EEXIST'));
  });

  it('answers EINVAL to an irqchip after a vCPU, to a vCPU beyond the last, and to getLapic without an irqchip', () => {
    const { vm } = setup();
    const vcpu = vm.createVcpu(0, { cpuid: model });
    expect(() => vm.createIrqchip()).toThrow(withErrno('EINVAL'));
    expect(() => vm.createVcpu(2, { cpuid: model })).toThrow(withErrno('EINVAL'));
    expect(() => vcpu.getLapic()).toThrow(withErrno('EINVAL'));
    expect(() => vcpu.setLapic(new Uint8Array(4))).toThrow(withErrno('EINVAL'));
  });

  it('answers ENXIO to lines, messages and the 8254 without an irqchip', () => {
    const { vm } = setup();
    expect(() => vm.irqLine(4, 1)).toThrow(withErrno('ENXIO'));
    expect(() => vm.signalMsi(0xfee0_0000, 0, 0x30)).toThrow(withErrno('ENXIO'));
    expect(() => vm.createPit2()).toThrow(withErrno('ENXIO'));
  });

  it('answers EBUSY when a device sits where a chip belongs, and registers none of it', () => {
    const { vm } = setup();
    vm.pio.register({ base: 0x4d0, size: 1, name: 'squatter' }, { read: () => 0, write: () => undefined });
    expect(() => vm.createIrqchip()).toThrow(withErrno('EBUSY'));
    expect(vm.pio.read(0x21, 1)).toBe(0xff);
  });

  it('puts the chips where a PC has them', () => {
    const { vm } = setup();
    vm.createIrqchip();
    vm.createPit2();
    vm.pio.write(0x21, 1, 0xab);
    expect(vm.pio.read(0x21, 1)).toBe(0xab);
    vm.mmio.write(0xfec0_0000, 4, 1);
    expect((vm.mmio.read(0xfec0_0010, 4) >>> 16) & 0xff).toBe(23);
  });

  it('shows each processor its own local APIC, where IA32_APIC_BASE says (SDM vol. 3 §12.4.5)', () => {
    const { vm, processors } = setup();
    vm.createIrqchip();
    const vcpu = vm.createVcpu(0, { cpuid: model });
    vm.createVcpu(1, { cpuid: model });
    const id = (cpu: number, page: number): number => processors[cpu].config.mmio.read(page + 0x20, 4) >>> 24;
    expect([id(0, 0xfee0_0000), id(1, 0xfee0_0000)]).toEqual([0, 1]);
    expect(vcpu.setMsrs([{ index: 0x1b, data: 0x1234_5900n }])).toBe(1);
    expect(id(0, 0x1234_5000)).toBe(0);
    expect(processors[0].config.mmio.read(0xfee0_0020, 4)).toBe(0xffff_ffff);
    expect(id(1, 0xfee0_0000)).toBe(1);
  });

  it('passes interrupts to the processor and wakes whoever runs it', () => {
    const { vm, processors } = setup();
    const chip = vm.createIrqchip();
    const vcpu = vm.createVcpu(0, { cpuid: model });
    let woken = 0;
    vm.onWake = () => woken++;
    processors[0].config.mmio.write(0xfee0_00f0, 4, 0x1ff);
    expect(vcpu.runnable).toBe(false);
    expect(vm.signalMsi(0xfee0_0000, 0, 0x55)).toBe(1);
    expect(vcpu.runnable).toBe(true);
    expect(woken).toBeGreaterThan(0);
    expect(processors[0].exitRequests).toBeGreaterThan(0);
    const { interrupts } = processors[0].config;
    expect(interrupts.pending()).toBe(true);
    expect(interrupts.acknowledge()).toBe(0x55);
    expect(interrupts.pending()).toBe(false);
    interrupts.writeTpr(5);
    expect(interrupts.readTpr()).toBe(5);
    expect(interrupts.takeNmi()).toBe(false);
    chip.cpus[0].raiseNmi();
    expect(interrupts.takeNmi()).toBe(true);
  });
});

describe('what a vCPU shows its guest', () => {
  const create = () => {
    const t = setup();
    t.vm.createIrqchip();
    return { ...t, vcpu: t.vm.createVcpu(1, { cpuid: model }) };
  };

  it("shows its APIC ID, the hypervisor bit and KVM's leaves in CPUID", () => {
    const { vcpu } = create();
    const [eax, ebx, ecx, edx] = vcpu.cpuid(1);
    expect(eax).toBe(0x000306a9);
    expect(ebx >>> 0).toBe(0x0102_0800);
    expect(ecx >>> 31).toBe(1);
    expect((edx >>> 9) & 1).toBe(1);
    // What the model leaves out stays out: a local APIC can do more than its processor says.
    expect(ecx & ((1 << 21) | (1 << 24))).toBe(0);
    const [, b, c, d] = vcpu.cpuid(0x4000_0000);
    expect(Buffer.from(Uint32Array.of(b, c, d).buffer).toString()).toBe('KVMKVMKVM\0\0\0');
    expect(vcpu.cpuid(0x4000_0001)[0] & 9).toBe(9);
    expect(vcpu.cpuid(0x4fff_ffff)).toEqual([0, 0, 0, 0]);
  });

  it('CPUID.01H:EDX.APIC follows IA32_APIC_BASE.EN (SDM vol. 3 §12.4.3)', () => {
    const { vcpu } = create();
    vcpu.setMsrs([{ index: 0x1b, data: 0xfee0_0000n }]);
    expect((vcpu.cpuid(1)[3] >>> 9) & 1).toBe(0);
  });

  it('describes the cores of one package in leaf 0BH', () => {
    const { vcpu } = create();
    expect(vcpu.cpuid(0xb, 0)).toEqual([0, 1, 0x100, 1]);
    expect(vcpu.cpuid(0xb, 1)).toEqual([1, 2, 0x201, 1]);
    expect(vcpu.cpuid(0xb, 2)).toEqual([0, 0, 2, 1]);
  });

  it('takes the CPUID that setCpuid2 gives, until it has run', () => {
    const { vcpu } = create();
    vcpu.setCpuid2([
      { function: 0, eax: 2, ebx: 7, ecx: 0, edx: 0 },
      { function: 2, eax: 22, ebx: 0, ecx: 0, edx: 0 },
    ]);
    expect(vcpu.cpuid(0)[1]).toBe(7);
    expect(vcpu.cpuid(0x123)[0]).toBe(22);
    vcpu.run(1000);
    expect(() => vcpu.setCpuid2([])).toThrow(withErrno('EINVAL'));
  });

  it('reads and writes MSRs up to the first that there is not', () => {
    const { vcpu } = create();
    expect(vcpu.getMsrs([0x1b, 0x9999, 0x1b])).toEqual([0xfee0_0800n]);
    expect(
      vcpu.setMsrs([
        { index: 0x4b56_4d01, data: 0n },
        { index: 0x9999, data: 0n },
      ]),
    ).toBe(1);
  });

  it('has a time-stamp counter of one tick per nanosecond that can be set', () => {
    const { host, vcpu, processors } = create();
    const { tsc } = processors[0].config;
    const out = new Uint32Array(2);
    host.now += 5_000_000_000;
    tsc.read(out);
    expect(out[1] * 2 ** 32 + out[0]).toBe(5_000_000_000);
    tsc.write(10, 0x8000_0000);
    host.now += 7;
    tsc.read(out);
    expect([...out]).toEqual([17, 0x8000_0000]);
    expect(vcpu.getMsrs([0x10])).toEqual([(0x8000_0000n << 32n) | 17n]);
  });

  it('times a TSC deadline anew when the counter is set (SDM vol. 3 §12.5.4.1)', () => {
    const { host, vm, vcpu, processors } = create();
    processors[0].config.mmio.write(0xfee0_00f0, 4, 0x1ff);
    processors[0].config.mmio.write(0xfee0_0320, 4, 0x4_00ef);
    vcpu.setMsrs([{ index: 0x6e0, data: 1_000_000n }]);
    expect(vm.clock.nextDeadlineNs()).toBe(1_000_000);
    processors[0].config.tsc.write(900_000, 0);
    expect(vm.clock.nextDeadlineNs()).toBe(100_000);
    host.now += 100_000;
    vm.clock.runDue();
    expect(processors[0].config.interrupts.acknowledge()).toBe(0xef);
  });

  it('tells the processor when a device writes to its translated code', () => {
    const { vm, processors } = create();
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memorySize: 0x1000 });
    const host = vm.memory.hostAddress(0) ?? 0;
    processors[0].config.mmu.protectCode(host);
    vm.memory.writeU32(0x10, 1);
    expect(processors[0].codeWrites).toEqual([[host + 0x10, 4]]);
  });

  it('masks address line 20 with paging off', () => {
    const { vm, processors } = create();
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memorySize: 2 << 20 });
    const fill = processors[0].config.mmu.exports.fill as (va: bigint, access: number) => number;
    const at0 = fill(0x123n, 0);
    expect(fill(0x10_0123n, 0)).toBe(at0 + 0x10_0000);
    vm.setA20(false);
    expect(fill(0x10_0123n, 0)).toBe(at0);
    vm.setA20(true);
    expect(fill(0x10_0123n, 0)).toBe(at0 + 0x10_0000);
  });

  it('returns a system event that a device raised, the first one', () => {
    const t = setup(() => {
      t.vm.raiseSystemEvent('shutdown');
      t.vm.raiseSystemEvent('reset');
    });
    const vcpu = t.vm.createVcpu(0, { cpuid: model });
    expect(vcpu.run(100)).toEqual({ reason: 'system-event', event: 'shutdown' });
  });

  it('starts over at an INIT that the guest sends to itself', () => {
    const { vm, vcpu, processors } = create();
    vm.signalMsi(0xfee0_1000, 0, 0x500);
    vcpu.run(100);
    expect(processors[0].inits).toBe(1);
    vcpu.run(100);
    expect(processors[0].inits).toBe(1);
  });

  it('an INIT waits while the processor is in system-management mode', () => {
    const { vm, vcpu, processors } = create();
    processors[0].initBlocked = true;
    vm.signalMsi(0xfee0_1000, 0, 0x500);
    vcpu.run(100);
    expect(processors[0].inits).toBe(0);
    processors[0].initBlocked = false;
    vcpu.run(100);
    expect(processors[0].inits).toBe(1);
  });
});

describe('the clock of a virtual machine', () => {
  it('can be set, but only without flags', () => {
    const { host, vm } = setup();
    vm.setClock(5_000);
    host.now += 10;
    expect(vm.getClock().clockNs).toBe(5_010);
    expect(() => vm.setClock(1, 1)).toThrow(withErrno('EINVAL'));
    expect(() => vm.setClock(-1)).toThrow(withErrno('EINVAL'));
  });
});

describe('registerCoalescedMmio', () => {
  const zone = { addr: 0xd000_0000, size: 16, pio: false };

  it('has writes wait until the vCPU returns, or somebody looks', () => {
    const seen: (string | number)[] = [];
    const { vm } = setup(({ config: { mmio, pio } }) => {
      mmio.write(zone.addr, 4, 1);
      pio.write(0x500, 1, 2);
      seen.push('both wait');
      mmio.read(zone.addr + 16, 4);
      mmio.write(zone.addr, 4, 3);
      seen.push('one waits');
      vm.flushCoalescedMmio();
      mmio.write(zone.addr, 4, 4);
      seen.push('one waits');
    });
    const device = { read: () => seen.push('read'), write: (_: number, _len: number, value: number) => void seen.push(value) };
    vm.mmio.register({ base: zone.addr, size: 32, name: 'registers' }, device);
    vm.pio.register({ base: 0x500, size: 1, name: 'port' }, device);
    vm.registerCoalescedMmio(zone);
    vm.registerCoalescedMmio({ addr: 0x500, size: 1, pio: true });
    vm.createVcpu(0, { cpuid: model }).run(100);
    expect(seen).toEqual(['both wait', 1, 2, 'read', 'one waits', 3, 'one waits', 4]);
  });

  it('has the end that such a write asks for seen by the run that it was made in', () => {
    const { vm } = setup(({ config }) => config.mmio.write(zone.addr, 4, 1));
    const write = () => vm.raiseSystemEvent('shutdown');
    vm.mmio.register({ base: zone.addr, size: 4, name: 'power' }, { read: () => 0, write });
    vm.registerCoalescedMmio(zone);
    expect(vm.createVcpu(0, { cpuid: model }).run(100)).toEqual({ reason: 'system-event', event: 'shutdown' });
  });

  it('refuses what cannot be with EINVAL, the hundred and first with ENOSPC, and to take away what is not there with ENXIO', () => {
    const { vm } = setup();
    expect(() => vm.registerCoalescedMmio({ ...zone, size: 0 })).toThrow(withErrno('EINVAL'));
    expect(() => vm.unregisterCoalescedMmio(zone)).toThrow(withErrno('ENXIO'));
    for (let i = 0; i < 100; i++) vm.registerCoalescedMmio({ ...zone, addr: 0x1000 + i });
    expect(() => vm.registerCoalescedMmio(zone)).toThrow(withErrno('ENOSPC'));
    vm.unregisterCoalescedMmio({ ...zone, addr: 0x1000 });
    vm.registerCoalescedMmio(zone);
  });
});

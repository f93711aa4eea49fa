import { EventFd } from '@tsvisor/eventfd';
import { describe, expect, it } from 'vitest';
import { Kvm } from './kvm.ts';
import { createFakeHost, createFakeProcessor } from './testing/fakes.ts';
import { IrqSender } from './threads/irq-sender.ts';

const APIC_SVR = 0xfee0_00f0;
const VECTOR = 0x51;
const GSI = 20;

const withErrno = (errno: string) => expect.objectContaining({ errno, code: `VMM_${errno}` });
/** As long as a notification takes at most, which V8 hands to this thread from another one. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));

/** Threads that never answer: what is sent to their vCPUs stays. */
const threads = {
  parallelism: 2,
  start: () => ({ post: () => undefined, onMessage: () => undefined, onEnd: () => undefined, terminate: async () => undefined }),
};

/** A machine with one vCPU, whose IOAPIC sends GSI 20 to it. */
function setup({ level = false, threaded = false } = {}) {
  const kvm = new Kvm({
    host: createFakeHost(),
    createProcessor: (config) => createFakeProcessor(config, () => ({ reason: 'budget' })),
  });
  const vm = kvm.createVm({ memoryBytes: 1 << 20, ...(threaded && { threads }) });
  const { cpus } = vm.createIrqchip();
  if (threaded) vm.startVcpu(0);
  else vm.createVcpu(0, { cpuid: { query: (_leaf, _subleaf, out) => out.fill(0) } });
  cpus[0].lapic.device.write(APIC_SVR & 0xfff, 4, 0x1ff);
  const ioapic = (register: number, value: number): void => {
    vm.mmio.write(0xfec0_0000, 4, register);
    vm.mmio.write(0xfec0_0010, 4, value);
  };
  ioapic(0x10 + 2 * GSI, level ? 0x8000 | VECTOR : VECTOR);
  /** Interrupts that the vCPU took, each ended at once. */
  const taken = (): number[] => {
    const vectors: number[] = [];
    while (cpus[0].interruptPending()) {
      vectors.push(cpus[0].acknowledge());
      cpus[0].lapic.eoi();
    }
    return vectors;
  };
  return { vm, cpu: cpus[0], taken };
}

const memories: readonly (readonly [string, () => EventFd])[] = [
  ['shared', () => EventFd.create()],
  ['of one thread', () => EventFd.create({ memory: { buffer: new ArrayBuffer(256), byteOffset: 0 } })],
];

describe.each(memories)('an irqfd with an eventfd in memory %s', (_, createEvent) => {
  it('signals become an edge; those that come together are one', async () => {
    const { vm, taken } = setup();
    const event = createEvent();
    vm.assignIrqfd({ gsi: GSI, event });
    for (let i = 0; i < 3; i++) {
      event.signal();
      event.signal();
      await turn();
      expect(taken()).toEqual([VECTOR]);
    }
    vm.dispose();
  });
  it('what was signalled before it was assigned counts', async () => {
    const { vm, taken } = setup();
    const event = createEvent();
    event.signal();
    vm.assignIrqfd({ gsi: GSI, event });
    await turn();
    expect(taken()).toEqual([VECTOR]);
    vm.dispose();
  });
  it('a GSI that is routed to a message sends it', async () => {
    const { vm, taken } = setup();
    const event = createEvent();
    vm.setGsiRouting([{ gsi: 40, to: 'msi', addressLo: 0xfee0_0000, addressHi: 0, data: 0x77 }]);
    vm.assignIrqfd({ gsi: 40, event });
    event.signal();
    await turn();
    expect(taken()).toEqual([0x77]);
    vm.dispose();
  });
  it('resampling keeps the line up until the guest ends the interrupt, and then asks', async () => {
    const { vm, cpu } = setup({ level: true });
    const event = createEvent();
    const resample = createEvent();
    vm.assignIrqfd({ gsi: GSI, event, resample });
    event.signal();
    await turn();
    expect(cpu.acknowledge()).toBe(VECTOR);
    expect(resample.tryRead()).toBeUndefined();
    cpu.lapic.eoi();
    expect(resample.tryRead()).toBe(1n);
    expect(cpu.interruptPending()).toBe(false);
    event.signal();
    await turn();
    expect(cpu.acknowledge()).toBe(VECTOR);
    vm.dispose();
  });
  it('without resampling, and with the line level-triggered, an interrupt is not sent again', async () => {
    const { vm, taken } = setup({ level: true });
    const event = createEvent();
    vm.assignIrqfd({ gsi: GSI, event });
    event.signal();
    await turn();
    expect(taken()).toEqual([VECTOR]);
    vm.dispose();
  });
  it('ends when it is disposed, lowers its line, and can be assigned anew', async () => {
    const { vm, cpu, taken } = setup({ level: true });
    const event = createEvent();
    const irqfd = vm.assignIrqfd({ gsi: GSI, event, resample: createEvent() });
    event.signal();
    await turn();
    irqfd[Symbol.dispose]();
    irqfd[Symbol.dispose]();
    expect(cpu.acknowledge()).toBe(VECTOR);
    cpu.lapic.eoi();
    expect(cpu.interruptPending()).toBe(false);
    event.signal();
    await turn();
    expect(taken()).toEqual([]);
    vm.assignIrqfd({ gsi: GSI, event });
    await turn();
    expect(taken()).toEqual([VECTOR]);
    vm.dispose();
  });
  it('ends when its event is closed, after the last signal', async () => {
    const { vm, taken } = setup();
    const event = createEvent();
    vm.assignIrqfd({ gsi: GSI, event });
    event.signal();
    event.close();
    await turn();
    expect(taken()).toEqual([VECTOR]);
    vm.assignIrqfd({ gsi: GSI, event });
    vm.dispose();
  });
});

describe('an irqfd signalled by a thread that sends its interrupts', () => {
  const MESSAGE = { gsi: 40, to: 'msi', addressLo: 0xfee0_0000, addressHi: 0, data: 0x77 } as const;
  function withSender(gsi: number) {
    const { vm, taken } = setup({ threaded: true });
    vm.setGsiRouting([MESSAGE, { gsi: GSI, to: 'ioapic', pin: GSI }]);
    const event = EventFd.create();
    const irqfd = vm.assignIrqfd({ gsi, event });
    const spec = irqfd.sender();
    if (spec === undefined) throw new Error('there is a sender');
    return { vm, taken, event, irqfd, sender: new IrqSender(spec, event) };
  }

  it('a message is in the local APIC at once, and the event is not signalled', async () => {
    const { vm, taken, event, sender } = withSender(MESSAGE.gsi);
    sender.signal();
    sender.signal();
    expect(taken()).toEqual([MESSAGE.data]);
    expect(event.readable).toBe(false);
    await turn();
    expect(taken()).toEqual([]);
    await vm.dispose();
  });
  it('what is no message comes as it does from the event', async () => {
    const { vm, taken, sender } = withSender(GSI);
    sender.signal();
    expect(taken()).toEqual([]);
    await turn();
    expect(taken()).toEqual([VECTOR]);
    await vm.dispose();
  });
  it('follows the routes', async () => {
    const { vm, taken, sender } = withSender(MESSAGE.gsi);
    vm.setGsiRouting([{ ...MESSAGE, data: 0x88 }]);
    sender.signal();
    expect(taken()).toEqual([0x88]);
    vm.setGsiRouting([MESSAGE, { gsi: MESSAGE.gsi, to: 'ioapic', pin: GSI }]);
    sender.signal();
    expect(taken()).toEqual([]);
    await turn();
    expect(taken()).toEqual([MESSAGE.data, VECTOR].sort((a, b) => b - a));
    await vm.dispose();
  });
  it('sends nothing once the irqfd is gone: the event counts', async () => {
    const { vm, taken, event, irqfd, sender } = withSender(MESSAGE.gsi);
    irqfd[Symbol.dispose]();
    sender.signal();
    await turn();
    expect(taken()).toEqual([]);
    expect(event.tryRead()).toBe(1n);
    expect(irqfd.sender()).toBeUndefined();
    await vm.dispose();
  });
  it('there is none for resampling, nor where vCPUs have no threads', async () => {
    const { vm } = setup({ threaded: true });
    expect(vm.assignIrqfd({ gsi: GSI, event: EventFd.create(), resample: EventFd.create() }).sender()).toBeUndefined();
    await vm.dispose();
    const inline = setup();
    expect(inline.vm.assignIrqfd({ gsi: GSI, event: EventFd.create() }).sender()).toBeUndefined();
    await inline.vm.dispose();
  });
});

describe('irqfd and ioeventfd as KVM refuses them', () => {
  it('EBUSY: one event has one irqfd; EINVAL: there is no such GSI; ENXIO: no irqchip', () => {
    const { vm } = setup();
    const event = EventFd.create();
    vm.assignIrqfd({ gsi: GSI, event });
    expect(() => vm.assignIrqfd({ gsi: 11, event })).toThrow(withErrno('EBUSY'));
    for (const gsi of [-1, 1.5, 1024])
      expect(() => vm.assignIrqfd({ gsi, event: EventFd.create() })).toThrow(withErrno('EINVAL'));
    vm.dispose();
    const kvm = new Kvm({ createProcessor: (config) => createFakeProcessor(config, () => ({ reason: 'budget' })) });
    expect(() => kvm.createVm({ memoryBytes: 4096 }).assignIrqfd({ gsi: 1, event })).toThrow(withErrno('ENXIO'));
  });
  it('EEXIST, EINVAL and ENOENT of ioeventfd', () => {
    const { vm } = setup();
    const event = EventFd.create();
    const where = { bus: 'pio', address: 0x500, length: 2, event } as const;
    const assigned = vm.assignIoeventfd(where);
    expect(() => vm.assignIoeventfd(where)).toThrow(withErrno('EEXIST'));
    expect(() => vm.assignIoeventfd({ ...where, length: 3 as 2 })).toThrow(withErrno('EINVAL'));
    expect(() => vm.deassignIoeventfd({ ...where, bus: 'mmio' })).toThrow(withErrno('ENOENT'));
    vm.pio.write(0x500, 2, 1);
    expect(event.tryRead()).toBe(1n);
    vm.deassignIoeventfd(where);
    assigned[Symbol.dispose]();
    vm.pio.write(0x500, 2, 1);
    expect(event.tryRead()).toBeUndefined();
  });
  it('ENOSPC: a bus is full', () => {
    const { vm } = setup();
    const event = EventFd.create();
    for (let i = 0; i < 1000; i++) vm.assignIoeventfd({ bus: 'mmio', address: 0xd000_0000 + 4 * i, length: 4, event });
    expect(() => vm.assignIoeventfd({ bus: 'mmio', address: 0, length: 1, event })).toThrow(withErrno('ENOSPC'));
  });
});

it('a doorbell of a guest comes back to it as an interrupt', async () => {
  const { vm, taken } = setup();
  const event = EventFd.create();
  vm.assignIrqfd({ gsi: GSI, event });
  vm.assignIoeventfd({ bus: 'mmio', address: 0xd000_0000, length: 0, event });
  vm.mmio.write(0xd000_0000, 4, 7);
  await turn();
  expect(taken()).toEqual([VECTOR]);
  vm.dispose();
});

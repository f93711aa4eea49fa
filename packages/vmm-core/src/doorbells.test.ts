import { DOORBELL_LAYOUT } from '@tsvisor/io-bus';
import { describe, expect, it } from 'vitest';
import { Kvm } from './kvm.ts';
import type { ProcessorConfig } from './ports.ts';
import { createFakeHost, createFakeProcessor } from './testing/fakes.ts';

function setup() {
  const configs: ProcessorConfig[] = [];
  const kvm = new Kvm({
    host: createFakeHost(),
    createProcessor: (config) => {
      configs.push(config);
      return createFakeProcessor(config, () => ({ reason: 'budget' }));
    },
  });
  const vm = kvm.createVm({ memoryBytes: 1 << 20, overheadBytes: 4 << 20, cpus: 2 });
  return { vm, configs };
}
const cpuid = { cpuid: { query: (_leaf: number, _subleaf: number, out: Uint32Array) => void out.fill(0) } };
const withErrno = (errno: string) => expect.objectContaining({ errno }) as object;

describe('doorbells of a virtual machine', () => {
  it('are in one table for all its processors, each with words of its own', () => {
    const { vm, configs } = setup();
    vm.createIrqchip();
    for (const id of [0, 1]) vm.createVcpu(id, cpuid);
    const [one, two] = configs.map(({ doorbells }) => doorbells);
    expect(two.address).toBe(one.address);
    expect(two.reader - one.reader).toBeGreaterThanOrEqual(64);
    const event = vm.createEventFd();
    expect(event.handle.buffer).toBe(vm.arena.memory.buffer);
    vm.assignIoeventfd({ bus: 'pio', address: 8, length: 1, event });
    const { entries, entryBytes, event: offset } = DOORBELL_LAYOUT;
    const words = new Uint32Array(vm.arena.memory.buffer, one.address, (entries * entryBytes) / 4);
    expect(words.filter((_, n) => (4 * n) % entryBytes === offset && words[n] !== 0)).toEqual(
      Uint32Array.of(event.handle.byteOffset),
    );
  });

  it('of hypercalls have the errors of others, and lengths of 0 and 8', () => {
    const { vm } = setup();
    const event = vm.createEventFd();
    const where = { bus: 'hypercall', address: 0x100, length: 8, datamatch: 3, event } as const;
    vm.assignIoeventfd(where);
    expect(vm.hypercall.ring(0x100, 3, 0)).toBe(true);
    expect(vm.hypercall.ring(0x100, 4, 0)).toBe(false);
    expect(event.tryRead()).toBe(1n);
    expect(() => vm.assignIoeventfd({ bus: 'hypercall', address: 0x100, length: 0, event })).toThrow(withErrno('EEXIST'));
    expect(() => vm.assignIoeventfd({ bus: 'hypercall', address: 0x101, length: 4, event })).toThrow(withErrno('EINVAL'));
    vm.deassignIoeventfd(where);
    expect(() => vm.deassignIoeventfd(where)).toThrow(withErrno('ENOENT'));
    expect(vm.hypercall.ring(0x100, 3, 0)).toBe(false);
  });
});

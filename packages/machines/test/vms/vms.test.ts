/** The short form of `pnpm soak:vms`. */
import { Kvm } from '@tsvisor/vmm-core';
import { describe, expect, it } from 'vitest';
import { x86Engine } from '../../src/index.ts';
import { liveAndDie, residentMiB } from './cycle.ts';

const MACHINES = 10;
const WARM_UP = 2;
/** A machine that stays has tables and translations of some tens of MiB; ended threads leave 10 to 60 to the allocator. */
const BOUND_MIB = 90;

describe('machines that come and go', () => {
  it.each([
    ['with a thread for each vCPU', true],
    ['without threads', false],
  ])('leave neither threads nor memory behind, %s', async (_name, withThreads) => {
    for (let i = 0; i < WARM_UP; i++) await liveAndDie(withThreads);
    const before = await residentMiB();
    for (let i = 0; i < MACHINES; i++) await liveAndDie(withThreads);
    expect((await residentMiB()) - before).toBeLessThan(BOUND_MIB);
    expect(process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length).toBeLessThan(MACHINES);
  });

  it('are forgotten by the Kvm that they came from', async () => {
    const model = x86Engine.model('max');
    const kvm = new Kvm({ createProcessor: model.createProcessor });
    const make = async (): Promise<WeakRef<object>> => {
      const vm = kvm.createVm({ memoryBytes: 1 << 20 });
      vm.createIrqchip();
      vm.createVcpu(0, model);
      await vm.dispose();
      return new WeakRef(vm);
    };
    const made: WeakRef<object>[] = [];
    for (let i = 0; i < MACHINES; i++) made.push(await make());
    await residentMiB();
    // The last one may still be on the stack.
    expect(made.filter((vm) => vm.deref() !== undefined).length).toBeLessThan(2);
    await kvm.dispose();
  });
});

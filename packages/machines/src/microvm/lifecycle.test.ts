/** Machines with threads that end in the middle of something: whoever waits hears why, and nothing is left running. */
import { Worker } from 'node:worker_threads';
import { Kvm, type VcpuSpec } from '@tsvisor/vmm-core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Machine, type MachineConfig, microvm, x86Engine } from '../index.ts';
import { loadEax, makeKernel, POWER_OFF, print, START_SECOND, TRAMPOLINE_OFFSET, trampoline } from '../testing/kernels.ts';
import { testThreads } from '../testing/vcpu-threads.ts';

const LIMIT_MS = 30_000;
vi.setConfig({ testTimeout: LIMIT_MS });

const SECOND = 0x800;
const DEVICE = 0x5f0;
const REGISTERS = 0xd000_0000;
const LOOP = [0xeb, 0xfe];
const HALT = [0xf4, 0xeb, 0xfd];
/** mov dx, port; in al, dx; jmp to the in */
const readsPort = (port: number): number[] => [0x66, 0xba, port & 0xff, port >> 8, 0xec, 0xeb, 0xfd];
/** mov eax, REGISTERS + 1; lock inc dword [rax]; jmp to the inc: a device's registers, with all others standing still. */
const LOCKED_DEVICE = [...loadEax(REGISTERS + 1), 0xf0, 0xff, 0x00, 0xeb, 0xfb];

let pool = testThreads();
let output = '';

/** A machine of two processors, the second of which does `second` if it is given. */
async function boot(
  first: readonly number[],
  second?: readonly number[],
  more: Partial<Pick<MachineConfig, 'cpuModel' | 'serial'> & { readonly threads: MachineConfig['threads'] | undefined }> = {},
): Promise<Machine> {
  output = '';
  const { threads = 'threads' in more ? undefined : pool.threads, ...rest } = more;
  return microvm.create({
    memoryBytes: 32 << 20,
    cpuModel: 'max',
    cpus: 2,
    kernel: makeKernel({
      0: [...(second ? START_SECOND : []), ...first],
      ...(second && { [SECOND]: second, [TRAMPOLINE_OFFSET]: trampoline(SECOND) }),
    }),
    cmdline: '',
    serial: [{ write: (bytes) => void (output += Buffer.from(bytes).toString('latin1')) }],
    ...(threads && { threads }),
    ...rest,
  });
}

const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
};

afterEach(async () => {
  await Promise.all(pool.workers.map((worker) => worker.terminate()));
});

describe('a machine with threads', () => {
  const start = (first: readonly number[], second?: readonly number[]) => {
    pool = testThreads();
    return boot(first, second);
  };
  const device = (machine: Machine, read: () => number) => {
    machine.vm.pio.register({ base: DEVICE, size: 1, name: 'device' }, { read, write: () => undefined });
  };
  const memoryDevice = (machine: Machine, read: () => number) => {
    machine.vm.mmio.register({ base: REGISTERS, size: 16, name: 'device' }, { read, write: () => undefined });
  };

  it('starts its second processor and powers off', async () => {
    const machine = await start(HALT, [...print('Hi'), ...POWER_OFF]);
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(output).toBe('Hi');
    await machine.dispose();
    expect(pool.alive()).toBe(0);
  });

  it.each([
    [0, 'in a loop', LOOP],
    [1, 'halted', HALT],
    [0, 'in calls of a device', readsPort(DEVICE)],
    [1, 'in locked accesses to a device', LOCKED_DEVICE],
  ])('says that the thread of vCPU %s was killed, %s', async (victim, _where, code) => {
    const machine = await start([...print('1'), ...code], [...print('2'), ...code]);
    device(machine, () => 0);
    memoryDevice(machine, () => 0);
    const run = machine.start();
    await until(() => output.length === 2);
    await new Promise((resolve) => setTimeout(resolve, 20));
    void pool.workers[victim].terminate();
    await expect(run).rejects.toMatchObject({ code: 'VMM_THREAD_ENDED', message: expect.stringContaining(`vCPU ${victim}`) });
    await expect(machine.start()).rejects.toMatchObject({ code: 'VMM_THREAD_ENDED' });
    await machine.dispose();
    expect(pool.alive()).toBe(0);
  });

  it.each([
    ['loops', LOOP],
    ['is halted', HALT],
    ['waits for another answer', readsPort(DEVICE + 1)],
    ['makes all others stand still', LOCKED_DEVICE],
  ])('rejects with what a device throws, while another vCPU %s', async (_what, code) => {
    const machine = await start([...print('1'), ...code], [...print('2'), ...readsPort(DEVICE)]);
    let reads = 0;
    device(machine, () => {
      if (output.length < 2 || ++reads < 10) return 0;
      throw new RangeError('defect of a device');
    });
    machine.vm.pio.register({ base: DEVICE + 1, size: 1, name: 'other' }, { read: () => 0, write: () => undefined });
    memoryDevice(machine, () => 0);
    await expect(machine.start()).rejects.toThrow(new RangeError('defect of a device'));
    await expect(machine.start()).rejects.toThrow(new RangeError('defect of a device'));
    await machine.dispose();
    expect(pool.alive()).toBe(0);
  });

  it('rejects with what a device throws in a locked access, when another vCPU has to stand still', async () => {
    const machine = await start([...print('1'), ...LOOP], [...print('2'), ...LOCKED_DEVICE]);
    memoryDevice(machine, () => {
      if (output.length < 2) return 0;
      throw new RangeError('defect of a device');
    });
    await expect(machine.start()).rejects.toThrow(new RangeError('defect of a device'));
    await machine.dispose();
    expect(pool.alive()).toBe(0);
  });

  it.each([
    ['a loop', LOOP],
    ['HLT', HALT],
    ['calls of a device', readsPort(DEVICE)],
    ['locked accesses to a device', LOCKED_DEVICE],
  ])('is disposed of in the middle of %s', async (_where, code) => {
    const machine = await start([...print('1'), ...code], [...print('2'), ...code]);
    device(machine, () => 0);
    memoryDevice(machine, () => 0);
    const run = machine.start();
    await until(() => output.length === 2);
    expect(await Promise.all([run, machine.dispose()])).toEqual([{ reason: 'stopped' }, undefined]);
    expect(pool.alive()).toBe(0);
  });

  it('is disposed of in the middle of a run that nobody waits for', async () => {
    const machine = await start([...print('1'), ...LOOP]);
    void machine.start();
    await until(() => output.length === 1);
    await machine.dispose();
    expect(pool.alive()).toBe(0);
  });

  it('is disposed of by a device that the guest reads', async () => {
    const machine = await start(readsPort(DEVICE), LOOP);
    let disposed: Promise<void> | undefined;
    device(machine, () => {
      disposed ??= machine.dispose();
      return 0;
    });
    expect(await machine.start()).toEqual({ reason: 'stopped' });
    await disposed;
    expect(disposed).toBeDefined();
    expect(pool.alive()).toBe(0);
  });

  it('is disposed of before its threads are there', async () => {
    const machine = await start(LOOP);
    const run = machine.start();
    const [end] = await Promise.all([run, machine.dispose()]);
    expect(end).toEqual({ reason: 'stopped' });
    expect(pool.alive()).toBe(0);
  });

  it('stops, and starts again', async () => {
    const machine = await start([
      ...print('1'),
      ...readsPort(DEVICE).slice(0, -2),
      0xa8,
      1,
      0x74,
      0xfb,
      ...print('2'),
      ...POWER_OFF,
    ]);
    let answer = 0;
    device(machine, () => answer);
    for (let times = 0; times < 3; times++) {
      const run = machine.start();
      await until(() => output === '1');
      machine.stop();
      expect(await run).toEqual({ reason: 'stopped' });
    }
    answer = 1;
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(output).toBe('12');
    await machine.dispose();
  });

  it('refuses everything after its end', async () => {
    const machine = await start(LOOP);
    await machine.dispose();
    await machine.dispose();
    machine.stop();
    machine.sendSerial(0, Uint8Array.of(1));
    machine.stats();
    await expect(machine.start()).rejects.toMatchObject({ code: 'MACHINES_DISPOSED' });
    expect(() => machine.vm.startVcpu(0)).toThrow(expect.objectContaining({ code: 'VMM_ENODEV' }));
    await expect(machine.vm.threads?.run(() => undefined)).rejects.toMatchObject({ code: 'VMM_ENODEV' });
    expect(pool.alive()).toBe(0);
  });

  it('rejects when its output cannot be handed on', async () => {
    pool = testThreads();
    const write = (): void => {
      throw new RangeError('nowhere to write');
    };
    const machine = await boot([...print('Hi'), ...LOOP], undefined, { serial: [{ write }] });
    await expect(machine.start()).rejects.toThrow('nowhere to write');
    await machine.dispose();
    expect(pool.alive()).toBe(0);
  });

  it('rejects with what a timer of a device throws', async () => {
    const machine = await start(LOOP);
    const { clock } = machine.vm;
    clock.setTimer(clock.monotonicNs() + 2e6, () => {
      throw new RangeError('defect of a timer');
    });
    await expect(machine.start()).rejects.toThrow('defect of a timer');
    await machine.dispose();
    expect(pool.alive()).toBe(0);
  });
});

describe('a virtual machine with threads', () => {
  it('ends them when they are not there yet, and whatever is asked of them', async () => {
    pool = testThreads();
    const { parallelism, start } = pool.threads;
    const { createProcessor } = x86Engine.model('max');
    const threads = { parallelism, start: (spec: VcpuSpec) => start({ spec, cpuModel: 'max' }) };
    const kvm = new Kvm({ createProcessor });
    const vm = kvm.createVm({ memoryBytes: 1 << 20, cpus: 2, threads });
    const vcpu = vm.startVcpu(0);
    const regs = vcpu.getRegs();
    const gone = { code: 'VMM_THREAD_ENDED', message: expect.stringContaining('gone') };
    const heard = expect(Promise.allSettled([vcpu.ready, regs])).resolves.toMatchObject([{ reason: gone }, { reason: gone }]);
    await vm.dispose();
    await heard;
    await expect(vcpu.getRegs()).rejects.toMatchObject(gone);
    await expect(vcpu.run()).rejects.toMatchObject(gone);
    expect(() => vm.startVcpu(1)).toThrow(expect.objectContaining({ code: 'VMM_ENODEV' }));
    await kvm.dispose();
    expect(pool.alive()).toBe(0);
  });

  it('has a vCPU return at a kick, in a loop and halted, from its own thread and another, and goes on', async () => {
    pool = testThreads();
    const { parallelism, start } = pool.threads;
    const { createProcessor } = x86Engine.model('max');
    const kvm = new Kvm({ createProcessor });
    const vm = kvm.createVm({
      memoryBytes: 1 << 20,
      threads: { parallelism, start: (spec: VcpuSpec) => start({ spec, cpuModel: 'max' }) },
    });
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0x1000, memorySize: 0x1000 });
    // inc eax; jmp to the inc
    vm.memory.write(0x1000, Uint8Array.of(0x66, 0x40, 0xeb, 0xfc));
    vm.memory.write(0x1100, Uint8Array.from(HALT));
    const vcpu = vm.startVcpu(0);
    const sregs = await vcpu.getSregs();
    await vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } });
    await vcpu.setRegs({ ...(await vcpu.getRegs()), rip: 0x1000n, rflags: 2n, rax: 0n });
    // Before it runs: the next run is the one.
    vcpu.kick();
    expect(await vcpu.run()).toEqual({ reason: 'intr' });
    let before = -1n;
    for (let times = 0; times < 3; times++) {
      const run = vcpu.run();
      await new Promise((resolve) => setTimeout(resolve, 5));
      vcpu.kick();
      expect(await run).toEqual({ reason: 'intr' });
      const { rax } = await vcpu.getRegs();
      expect(rax).toBeGreaterThan(before);
      before = rax;
    }
    await vcpu.setRegs({ ...(await vcpu.getRegs()), rip: 0x1100n });
    const run = vcpu.run();
    const kicker = new Worker(new URL('../testing/kick.worker.ts', import.meta.url), {
      workerData: vcpu.kickHandle,
      execArgv: ['--conditions=tsvisor-source', '--no-warnings'],
    });
    expect(await run).toEqual({ reason: 'intr' });
    await kicker.terminate();
    await kvm.dispose();
    expect(pool.alive()).toBe(0);
  });
});

describe('a machine without threads', () => {
  it('is disposed of in the middle of a run, and refuses another', async () => {
    const machine = await boot([...print('1'), ...LOOP], undefined, { threads: undefined });
    const run = machine.start();
    await until(() => output === '1');
    expect(await Promise.all([run, machine.dispose()])).toEqual([{ reason: 'stopped' }, undefined]);
    await expect(machine.start()).rejects.toMatchObject({ code: 'MACHINES_DISPOSED' });
    expect(() => machine.vm.createVcpu(0, x86Engine.model('max'))).toThrow(expect.objectContaining({ code: 'VMM_ENODEV' }));
  });

  it('stops, and starts again', async () => {
    const machine = await boot([...print('1'), ...LOOP], undefined, { threads: undefined });
    for (let times = 0; times < 3; times++) {
      const run = machine.start();
      await until(() => output === '1');
      machine.stop();
      expect(await run).toEqual({ reason: 'stopped' });
    }
    await machine.dispose();
  });
});

describe('a machine whose threads cannot be set up', () => {
  it('is none for a model that there is not, and starts no thread', async () => {
    pool = testThreads();
    await expect(boot(LOOP, undefined, { cpuModel: 'nonsense' })).rejects.toMatchObject({ code: expect.any(String) });
    expect(pool.workers).toHaveLength(0);
  });

  it('is none, if it is the first one', async () => {
    pool = testThreads((data) => (data.spec.id === 0 ? { ...data, cpuModel: 'nonsense' } : data));
    await expect(boot(LOOP)).rejects.toMatchObject({ code: 'VMM_THREAD_ENDED', message: expect.stringContaining('nonsense') });
    expect(pool.alive()).toBe(0);
  });

  it('says so when it starts, if it is another one', async () => {
    pool = testThreads((data) =>
      data.spec.id === 1 ? { ...data, spec: { ...data.spec, claimEnd: data.spec.claimStart } } : data,
    );
    const machine = await boot(LOOP);
    await expect(machine.start()).rejects.toMatchObject({
      code: 'VMM_THREAD_ENDED',
      message: expect.stringContaining('set aside'),
    });
    await machine.dispose();
    expect(pool.alive()).toBe(0);
  });
});

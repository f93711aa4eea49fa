/** Doorbells whose events are in the machine's memory: rung by generated code alone, and in no other way than by the buses. */
import { Worker } from 'node:worker_threads';
import { EventFd } from '@tsvisor/eventfd';
import type { Ioeventfd } from '@tsvisor/vmm-core';
import { describe, expect, it } from 'vitest';
import { type Machine, type MachineConfig, microvm } from '../index.ts';
import { loadEax, makeKernel, POWER_OFF } from '../testing/kernels.ts';

type Tier = NonNullable<MachineConfig['tier']>;
const DOORBELL = 0xd000_0000;
const PORT = 0x500;
const ROUNDS = 500;

const boot = (code: readonly number[], tier: Tier): Promise<Machine> =>
  microvm.create({
    tier,
    memoryBytes: 32 << 20,
    cpuModel: 'max',
    kernel: makeKernel({ 0: code }),
    cmdline: '',
    serial: [{ write: () => undefined }],
  });
/** `body` so often, with RAX the doorbell's address, RBX 0x0807060504030201, DX the port; ECX counts. */
const loop = (body: readonly number[], rounds = ROUNDS): number[] => [
  ...loadEax(DOORBELL),
  ...[0x48, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8], // mov rbx
  ...[0x66, 0xba, PORT & 0xff, PORT >> 8], // mov dx
  ...[0xb9, rounds & 0xff, rounds >> 8, 0, 0], // mov ecx
  ...body,
  ...[0xff, 0xc9, 0x0f, 0x85, -(body.length + 8) & 0xff, 0xff, 0xff, 0xff], // dec ecx; jnz body
];
const rung = (machine: Machine): number => Number(machine.stats()['cpu.doorbells']);

const STORE: Readonly<Record<number, readonly number[]>> = {
  1: [0x88, 0x18], // mov [rax], bl
  2: [0x66, 0x89, 0x18], // mov [rax], bx
  4: [0x89, 0x18], // mov [rax], ebx
  8: [0x48, 0x89, 0x18], // mov [rax], rbx
};
/** mov eax, ebx; then out dx, al and so on; the address comes back */
const out = (...code: readonly number[]): number[] => [0x89, 0xd8, ...code, ...loadEax(DOORBELL)];
const OUT: Readonly<Record<number, readonly number[]>> = { 1: out(0xee), 2: out(0x66, 0xef), 4: out(0xef) };
const VALUES: Readonly<Record<number, bigint>> = { 1: 1n, 2: 0x0201n, 4: 0x0403_0201n, 8: 0x0807_0605_0403_0201n };
/** mov eax, 100h; vmcall; the address comes back */
const HYPERCALL = [...loadEax(0x100), 0x0f, 0x01, 0xc1, ...loadEax(DOORBELL)];

type Case = [name: string, code: readonly number[], where: Omit<Ioeventfd, 'event'>];
const cases: Case[] = [
  ...([1, 2, 4, 8] as const).flatMap((length): Case[] => [
    [`MMIO, ${length} bytes`, STORE[length], { bus: 'mmio', address: DOORBELL, length }],
    [`MMIO, ${length} bytes of a value`, STORE[length], { bus: 'mmio', address: DOORBELL, length, datamatch: VALUES[length] }],
    [`fast MMIO by ${length} bytes`, STORE[length], { bus: 'mmio', address: DOORBELL, length: 0 }],
  ]),
  ...([1, 2, 4] as const).flatMap((length): Case[] => [
    [`PIO, ${length} bytes`, OUT[length], { bus: 'pio', address: PORT, length }],
    [`PIO, ${length} bytes of a value`, OUT[length], { bus: 'pio', address: PORT, length, datamatch: VALUES[length] }],
  ]),
  ['PIO, a port in the instruction', [0xe6, 0x80], { bus: 'pio', address: 0x80, length: 1 }],
  ['a hypercall', HYPERCALL, { bus: 'hypercall', address: 0x100, length: 0 }],
  ['a hypercall with an argument', HYPERCALL, { bus: 'hypercall', address: 0x100, length: 8, datamatch: VALUES[8] }],
];

describe.each(['jit', 'interp'] as const)('a doorbell in memory, %s', (tier) => {
  it.each(cases)('%s: each ring is one, and none leaves generated code', async (_name, code, where) => {
    const machine = await boot([...loop(code), ...POWER_OFF], tier);
    const event = machine.vm.createEventFd();
    machine.vm.assignIoeventfd({ ...where, event });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect([event.tryRead(), rung(machine)]).toEqual([BigInt(ROUNDS), ROUNDS]);
    machine.dispose();
  });

  it('leaves other values, lengths and addresses to devices', async () => {
    const seen: string[] = [];
    const body = [...STORE[1], ...STORE[2], ...STORE[4], ...STORE[8], 0x89, 0x58, 4]; // … mov [rax + 4], ebx
    const machine = await boot([...loop(body), ...POWER_OFF], tier);
    const { vm } = machine;
    const write = (offset: number, length: number, value: number) => void seen.push(`${offset} ${length} ${value.toString(16)}`);
    vm.mmio.register({ base: DOORBELL, size: 16, name: 'device' }, { read: () => 0, write });
    const event = vm.createEventFd();
    vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 2, datamatch: 0x0201, event });
    vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 4, datamatch: 0x1403_0201, event });
    vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 8, datamatch: 0x0403_0201, event });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(event.tryRead()).toBe(BigInt(ROUNDS));
    const round = ['0 1 1', '0 4 4030201', '0 4 4030201', '4 4 8070605', '4 4 4030201'];
    expect(seen).toEqual(Array.from({ length: ROUNDS }, () => round).flat());
    machine.dispose();
  });

  it('reads as zeros where no device is, and as ones beside it', async () => {
    const body = [0x8b, 0x30, 0x8b, 0x78, 4]; // mov esi, [rax]; mov edi, [rax + 4]
    const machine = await boot([...loop(body), ...POWER_OFF], tier);
    machine.vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 4, event: machine.vm.createEventFd() });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    const { rsi, rdi } = machine.vm.vcpus[0].getRegs();
    expect([rsi, rdi]).toEqual([0n, 0xffff_ffffn]);
    machine.dispose();
  });

  it('is silent after it was taken away in the middle of a run, and the device hears the writes', async () => {
    let writes = 0;
    const machine = await boot([...loop(STORE[4]), 0xeb, -(STORE[4].length + 10 + 5) & 0xff], tier);
    const { vm } = machine;
    vm.mmio.register({ base: DOORBELL, size: 4, name: 'device' }, { read: () => 0, write: () => void writes++ });
    const event = vm.createEventFd();
    const running = machine.start();
    const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    for (let round = 0; round < 3; round++) {
      const taken = vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 4, event });
      await pause(20);
      expect(event.tryRead()).toBeGreaterThan(100n);
      taken[Symbol.dispose]();
      event.tryRead();
      writes = 0;
      await pause(20);
      expect(event.tryRead()).toBeUndefined();
      expect(writes).toBeGreaterThan(100);
    }
    machine.stop();
    expect(await running).toEqual({ reason: 'stopped' });
    machine.dispose();
  });

  it('stops at the overflow as eventfd does', async () => {
    const machine = await boot([...loop(STORE[4]), ...POWER_OFF], tier);
    const event = machine.vm.createEventFd({ initial: (1n << 64n) - 5n });
    machine.vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 4, event });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect([event.overflowed, rung(machine)]).toEqual([true, ROUNDS]);
    machine.dispose();
  });

  it('wakes who waits in this thread', async () => {
    const machine = await boot([...loop(STORE[4], 1), 0xeb, 0xfe], tier);
    const event = machine.vm.createEventFd();
    machine.vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 4, event });
    const heard = event.readAsync();
    const running = machine.start();
    expect(await heard).toBe(1n);
    machine.stop();
    await running;
    machine.dispose();
  });

  it('wakes a thread that sleeps, each time', async () => {
    // Ring; look whether the answer at [0x1000] has come that far; if not look again.
    const body = [...STORE[4], 0xf3, 0x90, 0x39, 0x0c, 0x25, 0, 0x10, 0, 0, 0x75, 0xf5]; // pause; cmp [1000h], ecx; jne to the pause
    const machine = await boot([...loop(body), ...POWER_OFF], tier);
    const { vm } = machine;
    const event = vm.createEventFd();
    vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 4, event });
    const place = vm.memory.hostAddress(0x1000);
    const device = new Worker(
      `const { workerData } = require('node:worker_threads');
       import(workerData.eventfd).then(({ EventFd }) => {
         const event = EventFd.open(workerData.event);
         const answer = new Int32Array(workerData.event.buffer, workerData.place, 1);
         for (let left = ${ROUNDS}; left > 0; left--) {
           if (event.read() !== 1n) process.exit(1);
           Atomics.store(answer, 0, left);
         }
       });`,
      {
        eval: true,
        workerData: { event: event.handle, place, eventfd: import.meta.resolve('@tsvisor/eventfd') },
        execArgv: ['--conditions=tsvisor-source', '--no-warnings'],
      },
    );
    const ended = new Promise((resolve) => device.once('exit', resolve));
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(await ended).toBe(0);
    expect(rung(machine)).toBe(ROUNDS);
    machine.dispose();
  });

  it('at the local APIC is not heard while that is there', async () => {
    const page = 0xfee0_0000;
    // mov eax, the page; mov [rax + 80h], ecx (TPR); then the APIC goes elsewhere by IA32_APIC_BASE, and again.
    const store = [...loadEax(page), 0x89, 0x88, 0x80, 0, 0, 0];
    const machine = await boot(
      [
        ...loop(store, 3),
        ...[0xb9, 0x1b, 0, 0, 0, 0x31, 0xd2, ...loadEax(0xfed0_0900), 0x0f, 0x30], // wrmsr
        ...store,
        ...POWER_OFF,
      ],
      tier,
    );
    const event = machine.vm.createEventFd();
    machine.vm.assignIoeventfd({ bus: 'mmio', address: page + 0x80, length: 4, event });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(event.tryRead()).toBe(1n);
    machine.dispose();
  });
});

it('an event that is elsewhere is signalled by the bus', async () => {
  const machine = await boot([...loop(STORE[4]), ...POWER_OFF], 'jit');
  const event = EventFd.create();
  machine.vm.assignIoeventfd({ bus: 'mmio', address: DOORBELL, length: 4, event });
  expect(await machine.start()).toEqual({ reason: 'poweroff' });
  expect([event.tryRead(), rung(machine)]).toEqual([BigInt(ROUNDS), 0]);
  machine.dispose();
});

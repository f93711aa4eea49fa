/** Coalesced writes of guests, whose processors take turns or have threads: they wait, and nobody can tell but by how seldom the guest is left. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Machine, microvm } from '../index.ts';
import { loadEax, makeKernel, POWER_OFF, START_SECOND, storeAtRax, TRAMPOLINE_OFFSET, trampoline } from '../testing/kernels.ts';
import { testThreads } from '../testing/vcpu-threads.ts';

const REGISTERS = 0xd000_0000;
const PORT = 0x500;
const SECOND = 0x800;
const ZONE = { addr: REGISTERS, size: 16, pio: false };
const PORTS = { addr: PORT, size: 4, pio: true };
const HALT = [0xf4, 0xeb, 0xfd];
/** mov dx, port; mov al, value; out dx, al */
const out = (port: number, value: number): number[] => [0x66, 0xba, port & 0xff, port >> 8, 0xb0, value, 0xee];
/** mov eax, address; mov ecx, rounds; mov [rax], ecx; dec ecx; jnz to the store */
const countdown = (address: number, rounds: number): number[] => [
  ...loadEax(address),
  ...[0xb9, rounds & 0xff, (rounds >> 8) & 0xff, rounds >> 16, 0],
  ...[0x89, 0x08, 0xff, 0xc9, 0x75, 0xfa],
];
const descending = (from: number): number[] => Array.from({ length: from }, (_, i) => from - i);

describe.each(['turns', 'threads'] as const)('coalesced writes, %s', (placement) => {
  const pool = testThreads();
  let machine: Machine;
  let seen: string[] = [];
  /** What was written, by register. */
  let values: Record<number, number[]> = {};
  let onWrite: (offset: number, value: number) => void = () => undefined;

  async function boot(first: readonly number[], second?: readonly number[]): Promise<Machine> {
    seen = [];
    values = { 0: [], 4: [] };
    onWrite = () => undefined;
    machine = await microvm.create({
      memoryBytes: 32 << 20,
      cpuModel: 'max',
      cpus: second ? 2 : 1,
      kernel: makeKernel({
        0: [...(second ? START_SECOND : []), ...first],
        ...(second && { [SECOND]: second, [TRAMPOLINE_OFFSET]: trampoline(SECOND) }),
      }),
      cmdline: '',
      serial: [{ write: () => undefined }],
      ...(placement === 'threads' && { threads: pool.threads }),
    });
    const device = (name: string) => ({
      read: (offset: number) => {
        seen.push(`${name}${offset} read`);
        return 0;
      },
      write: (offset: number, length: number, value: number) => {
        seen.push(`${name}${offset} ${length} ${value.toString(16)}`);
        values[offset]?.push(value);
        onWrite(offset, value);
      },
    });
    machine.vm.mmio.register({ base: REGISTERS, size: 64, name: 'registers' }, device('m'));
    machine.vm.pio.register({ base: PORT, size: 16, name: 'ports' }, device('p'));
    return machine;
  }
  afterEach(() => machine.dispose());

  /** Calls of the embedding thread, where there are threads to make them. */
  const calls = (): number => Number(machine.stats()['loop.calls'] ?? 0);

  it('are at their devices before whatever comes later', async () => {
    const { vm } = await boot([
      ...[0x48, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8], // mov rbx, 0x0807060504030201
      ...loadEax(REGISTERS),
      ...[...storeAtRax(0, 1), ...storeAtRax(4, 2), 0x48, 0x89, 0x58, 8], // mov [rax + 8], rbx
      ...[0x8b, 0x48, 32], // mov ecx, [rax + 32]
      ...storeAtRax(0, 3),
      ...storeAtRax(32, 4),
      ...[...out(PORT, 5), ...out(PORT + 3, 6), ...out(PORT + 8, 7)],
      ...loadEax(REGISTERS),
      ...[...storeAtRax(4, 8), 0x66, 0xba, PORT & 0xff, PORT >> 8, 0xec], // in al, dx
      ...out(PORT + 1, 9),
      ...POWER_OFF,
    ]);
    vm.registerCoalescedMmio(ZONE);
    vm.registerCoalescedMmio(PORTS);
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(seen).toEqual([
      ...['m0 4 1', 'm4 4 2', 'm8 4 4030201', 'm12 4 8070605', 'm32 read'],
      ...['m0 4 3', 'm32 4 4', 'p0 1 5', 'p3 1 6', 'p8 1 7', 'm4 4 8', 'p0 read', 'p1 1 9'],
    ]);
  });

  it('are more than the ring takes, and seldom leave the guest', async () => {
    const { vm } = await boot([...countdown(REGISTERS, 5000), ...POWER_OFF]);
    vm.registerCoalescedMmio(ZONE);
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(values[0]).toEqual(descending(5000));
    // A full ring has 169; the others are ends of slices.
    if (placement === 'threads') expect(calls()).toBeLessThan(1000);
  });

  it('are handed on when the guest halts', async () => {
    const { vm } = await boot([...loadEax(REGISTERS), ...storeAtRax(0, 1), ...storeAtRax(4, 2), ...HALT]);
    vm.registerCoalescedMmio(ZONE);
    onWrite = (offset) => {
      if (offset === 4) machine.stop();
    };
    expect(await machine.start()).toEqual({ reason: 'stopped' });
    expect(values).toEqual({ 0: [1], 4: [2] });
  });

  it('end the machine where their device does', async () => {
    const { vm } = await boot([...out(PORT, 1), 0xeb, 0xfe]);
    vm.registerCoalescedMmio(PORTS);
    onWrite = () => vm.raiseSystemEvent('reset');
    expect(await machine.start()).toEqual({ reason: 'reset' });
  });

  it('are neither lost nor out of order while zones come and go', async () => {
    // mov eax, REGISTERS; xor ecx, ecx; inc ecx; mov [rax], ecx; jmp to the inc
    const { vm } = await boot([...loadEax(REGISTERS), 0x31, 0xc9, 0xff, 0xc1, 0x89, 0x08, 0xeb, 0xfa]);
    const running = machine.start();
    for (let round = 0; round < 10; round++) {
      vm.registerCoalescedMmio(ZONE);
      await new Promise((resolve) => setTimeout(resolve, 5));
      vm.unregisterCoalescedMmio(ZONE);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    machine.stop();
    expect(await running).toEqual({ reason: 'stopped' });
    expect(values[0].length).toBeGreaterThan(1000);
    expect(values[0].findIndex((value, i) => value !== i + 1)).toBe(-1);
  });

  it('of two processors at once all arrive, each one’s in order', async () => {
    const rounds = 20_000;
    const { vm } = await boot([...countdown(REGISTERS, rounds), ...HALT], [...countdown(REGISTERS + 4, rounds), ...HALT]);
    vm.registerCoalescedMmio(ZONE);
    let left = 2;
    onWrite = (_, value) => {
      if (value === 1 && --left === 0) vm.raiseSystemEvent('shutdown');
    };
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(values).toEqual({ 0: descending(rounds), 4: descending(rounds) });
    if (placement === 'threads') expect(calls()).toBeLessThan(rounds / 2);
  });

  it('at a doorbell in memory ring it at once', async () => {
    const { vm } = await boot([...countdown(REGISTERS, 100), ...POWER_OFF]);
    const event = vm.createEventFd();
    vm.registerCoalescedMmio(ZONE);
    vm.assignIoeventfd({ bus: 'mmio', address: REGISTERS, length: 4, event });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect([event.tryRead(), values[0]]).toEqual([100n, []]);
  });
});

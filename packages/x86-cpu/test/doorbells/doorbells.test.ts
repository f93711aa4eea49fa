import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { CPUS, doorbellMachine, ringer } from './machine.ts';
import type { VcpuJob } from './vcpu.ts';

describe('ringing by generated code', () => {
  it('answers as the buses do, for any doorbells and writes', () => {
    const { memory, table, buses, createEventFd } = doorbellMachine();
    const { ringMemory, ringPort } = ringer(memory, table.readerAddress(0));
    let seed = 7;
    const below = (n: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    const lengths = { mmio: [0, 1, 2, 4, 8], pio: [0, 1, 2, 4] } as const;
    const assigned = new Map<string, Disposable>();
    const event = createEventFd();
    let rings = 0;
    for (let step = 0; step < 20_000; step++) {
      const bus = below(2) ? 'mmio' : 'pio';
      const address = 0x1000 + below(4);
      const length = lengths[bus][below(lengths[bus].length)];
      const datamatch = length > 0 && below(3) > 0 ? BigInt(below(4)) << BigInt(8 * (length - 1)) : undefined;
      const name = `${bus} ${address} ${length} ${datamatch}`;
      const known = assigned.get(name);
      known?.[Symbol.dispose]();
      assigned.delete(name);
      if (!known)
        try {
          const where = { address, length, ...(datamatch === undefined ? {} : { datamatch }) };
          assigned.set(name, buses[bus].assignIoeventfd(where, event));
        } catch (error) {
          expect(error).toMatchObject({ code: 'IO_BUS_EXISTS' });
        }
      const size = ([1, 2, 4, 8] as const)[below(bus === 'mmio' ? 4 : 3)];
      const low = BigInt(below(4)) << BigInt(8 * (size - 1));
      // Bits above the size are none of it.
      const value = BigInt.asIntN(64, low | (size < 8 ? 0xa5n << BigInt(8 * size) : 0n));
      const at = 0x1000 + below(4);
      if (size === 8) buses.mmio.write64(at, Number(low & 0xffff_ffffn), Number(low >> 32n));
      else buses[bus].write(at, size, Number(low));
      const byBus = event.tryRead() ?? 0n;
      const answer = (bus === 'mmio' ? ringMemory : ringPort)(BigInt(at), value, size);
      expect(
        [event.tryRead() ?? 0n, answer],
        `step ${step}: ${bus} ${at} ${size} ${value.toString(16)}; ${[...assigned.keys()].join(', ')}`,
      ).toEqual([byBus, Number(byBus)]);
      rings += answer;
    }
    expect(rings).toBeGreaterThan(1000);
  });

  it('stops at the overflow', () => {
    const { memory, table, buses, createEventFd } = doorbellMachine();
    const { ringPort } = ringer(memory, table.readerAddress(0));
    const event = createEventFd((1n << 64n) - 3n);
    buses.pio.assignIoeventfd({ address: 1, length: 1 }, event);
    const counts = [0, 1, 2].map(() => [ringPort(1n, 0n, 1), event.writable, event.overflowed]);
    expect(counts).toEqual([
      [1, false, false],
      [1, false, true],
      [1, false, true],
    ]);
    expect(event.tryRead()).toBe((1n << 64n) - 1n);
  });

  it('in several threads loses no signal, and makes none once a doorbell is gone', async () => {
    const machine = doorbellMachine();
    const { memory, table, buses, createEventFd } = machine;
    const stop = 64;
    const gpa = 0xd000_0000;
    const vcpus = Array.from({ length: CPUS }, (_, cpu) => {
      const workerData: VcpuJob = { memory, reader: table.readerAddress(cpu), stop, gpa: BigInt(gpa) };
      return new Worker(new URL('./vcpu.ts', import.meta.url), {
        workerData,
        execArgv: ['--conditions=tsvisor-source', '--no-warnings'],
      });
    });
    const message = (vcpu: Worker) =>
      new Promise((resolve, reject) => {
        vcpu.once('message', resolve);
        vcpu.once('error', reject);
      });
    await Promise.all(vcpus.map(message));
    // Two events in turn: what one has after it was taken away must not change while the other rings.
    const events = [createEventFd(), createEventFd()];
    let heard = 0n;
    let rounds = 0;
    const end = performance.now() + 1000;
    while (performance.now() < end) {
      const event = events[rounds++ % 2];
      const taken = buses.mmio.assignIoeventfd({ address: gpa, length: 4, datamatch: 5 }, event);
      for (const until = performance.now() + 0.2; performance.now() < until; );
      taken[Symbol.dispose]();
      heard += event.tryRead() ?? 0n;
      for (const until = performance.now() + 0.05; performance.now() < until; );
      expect(event.readable).toBe(false);
    }
    const counts = vcpus.map(message);
    Atomics.store(new Int32Array(memory.buffer, stop, 1), 0, 1);
    const rings = (await Promise.all(counts)) as number[];
    expect(Number(heard)).toBe(rings[0] + rings[1]);
    expect(Number(heard)).toBeGreaterThan(1000);
    expect(rounds).toBeGreaterThan(50);
  }, 30_000);
});

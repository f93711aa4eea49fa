/** The table of doorbells, looked up as its readers do: by the words alone. */
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  createHypercallBus,
  createMmioBus,
  createPioBus,
  DOORBELL_LAYOUT,
  type DoorbellBusName,
  DoorbellTable,
  doorbellTableBytes,
  type IoEvent,
} from '../src/index.ts';

const CPUS = 2;
const AT = 128;

/** An event whose words are at an address, or nowhere. */
type Bell = IoEvent & { readonly address: number | undefined };
const bell = (address: number | undefined): Bell => ({ address, signal: () => undefined });

function setUp() {
  const buffer = new SharedArrayBuffer(AT + doorbellTableBytes(CPUS));
  const addressOf = (event: IoEvent) => (event as Bell).address;
  const table = new DoorbellTable({ buffer, byteOffset: AT, cpus: CPUS, addressOf });
  const view = new DataView(buffer);
  const buses = {
    pio: createPioBus({ doorbells: table }),
    mmio: createMmioBus({ doorbells: table }),
    hypercall: createHypercallBus({ doorbells: table }),
  };
  return { buffer, table, view, buses, find: (...write: Write) => find(view, ...write) };
}

type Write = [bus: DoorbellBusName, address: number, length: number, value?: bigint];

/** Address of the event that a write rings, by the description in ports.ts of x86-cpu. */
function find(view: DataView, bus: DoorbellBusName, address: number, length: number, value = 0n): number | undefined {
  const { entries, entryBytes, multipliers, busShift, buses, ...offset } = DOORBELL_LAYOUT;
  const key = (BigInt(buses[bus]) << BigInt(busShift)) | BigInt(address);
  const halves = (of: bigint) => [Number(of & 0xffff_ffffn), Number(of >> 32n)];
  const [[keyLo, keyHi], [valueLo, valueHi]] = [halves(key), halves(value)];
  for (const folded of [0, Math.imul(valueLo ^ valueHi, multipliers.value)]) {
    const mixed = keyLo ^ Math.imul(keyHi, multipliers.high) ^ folded;
    let place = Math.imul(mixed, multipliers.hash) >>> (32 - Math.log2(entries));
    for (; ; place = (place + 1) % entries) {
      const at = AT + place * entryBytes;
      const event = view.getUint32(at + offset.event, true);
      if (event === 0) break;
      const answers = view.getUint32(at + offset.answers, true);
      if (event === offset.removed || view.getBigUint64(at + offset.key, true) !== key) continue;
      if (answers !== 0 && (answers & ~offset.answersValue) !== length) continue;
      if (!(answers & offset.answersValue) || view.getBigUint64(at + offset.value, true) === value) return event;
    }
  }
  return undefined;
}

describe('the table of doorbells', () => {
  it('has those of all buses, each of its length and value', () => {
    const { buses, find } = setUp();
    buses.pio.assignIoeventfd({ address: 0x500, length: 1 }, bell(0x1000));
    buses.mmio.assignIoeventfd({ address: 0x500, length: 1 }, bell(0x1040));
    buses.hypercall.assignIoeventfd({ address: 0x500, length: 8, datamatch: 7 }, bell(0x1080));
    buses.hypercall.assignIoeventfd({ address: 0x501, length: 0 }, bell(0x10c0));
    buses.mmio.assignIoeventfd({ address: 0xf_ffff_ffff_f000, length: 8, datamatch: 0xffff_ffff_0000_0001n }, bell(0x2000));
    buses.mmio.assignIoeventfd({ address: 0x600, length: 0 }, bell(0x3000));
    expect([find('pio', 0x500, 1), find('pio', 0x500, 2), find('pio', 0x501, 1)]).toEqual([0x1000, undefined, undefined]);
    expect([find('mmio', 0x500, 1, 9n), find('mmio', 0x500, 4)]).toEqual([0x1040, undefined]);
    expect([find('hypercall', 0x500, 8, 7n), find('hypercall', 0x500, 8, 8n)]).toEqual([0x1080, undefined]);
    expect(find('hypercall', 0x501, 8, 8n)).toBe(0x10c0);
    expect(find('mmio', 0xf_ffff_ffff_f000, 8, 0xffff_ffff_0000_0001n)).toBe(0x2000);
    expect(find('mmio', 0xf_ffff_ffff_f000, 8, 1n)).toBeUndefined();
    expect([1, 2, 4, 8].map((length) => find('mmio', 0x600, length, 3n))).toEqual([0x3000, 0x3000, 0x3000, 0x3000]);
  });

  it('leaves events that are elsewhere to the bus', () => {
    const { buses, find } = setUp();
    let rings = 0;
    const event = { ...bell(undefined), signal: () => void rings++ };
    buses.mmio.assignIoeventfd({ address: 0x100, length: 4 }, event);
    buses.mmio.write(0x100, 4, 1);
    expect([find('mmio', 0x100, 4), rings]).toEqual([undefined, 1]);
    buses.mmio.deassignIoeventfd({ address: 0x100, length: 4 }, event);
  });

  it('follows thousands of assignments and removals in any order', () => {
    const { buses, find } = setUp();
    let seed = 1;
    const below = (n: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    const present = new Map<string, { write: Write; event: number; taken: Disposable }>();
    let next = 0x1_0000;
    for (let step = 0; step < 40_000; step++) {
      const bus = below(2) === 0 ? 'pio' : 'mmio';
      const [address, queue] = [0x1000 + 4 * below(16), BigInt(below(200))];
      const name = `${bus} ${address} ${queue}`;
      const known = present.get(name);
      if (known) {
        known.taken[Symbol.dispose]();
        present.delete(name);
        expect(find(...known.write)).toBeUndefined();
      } else if ([...present.keys()].filter((key) => key.startsWith(bus)).length < 1000) {
        const event = (next += 64);
        const taken = buses[bus].assignIoeventfd({ address, length: 2, datamatch: queue }, bell(event));
        present.set(name, { write: [bus, address, 2, queue], event, taken });
      }
      if (step % 1000 === 0) for (const { write, event } of present.values()) expect(find(...write)).toBe(event);
    }
    for (const { taken } of present.values()) taken[Symbol.dispose]();
    expect(find('pio', 0x1000, 2)).toBeUndefined();
  }, 60_000);

  it('is empty again when all doorbells are gone, so that nothing is probed', () => {
    const { buses, view } = setUp();
    const all = Array.from({ length: 1000 }, (_, n) =>
      buses.mmio.assignIoeventfd({ address: 0x1000, length: 4, datamatch: n }, bell(0x1000 + 64 * n)),
    );
    for (const n of all.keys()) all[(n * 617) % all.length][Symbol.dispose]();
    const { entries, entryBytes, event } = DOORBELL_LAYOUT;
    const left = Array.from({ length: entries }, (_, n) => view.getUint32(AT + n * entryBytes + event, true));
    expect(left.filter((word) => word !== 0)).toEqual([]);
  });

  it('gives a doorbell up only when no vCPU is about to ring it', async () => {
    const { buffer, table, buses, find } = setUp();
    const sequence = (table.readerAddress(1) + DOORBELL_LAYOUT.sequence) / 4;
    const words = new Int32Array(buffer);
    const taken = buses.pio.assignIoeventfd({ address: 8, length: 1 }, bell(0x1000));
    // A vCPU that is about to ring, and does 50 ms after the doorbell has been taken away.
    Atomics.store(words, sequence, 5);
    const vcpu = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads');
       const words = new Int32Array(workerData.buffer);
       parentPort.postMessage('ready');
       Atomics.wait(words, 0, 0, 50);
       Atomics.store(words, workerData.sequence, 6);`,
      { eval: true, workerData: { buffer, sequence } },
    );
    await new Promise((resolve) => vcpu.once('message', resolve));
    expect(Atomics.load(words, sequence)).toBe(5);
    taken[Symbol.dispose]();
    expect(Atomics.load(words, sequence)).toBe(6);
    expect(find('pio', 8, 1)).toBeUndefined();
    await vcpu.terminate();
  });

  it('does not wait for a vCPU whose thread has ended', () => {
    const { buffer, table, buses } = setUp();
    const taken = buses.pio.assignIoeventfd({ address: 8, length: 1 }, bell(0x1000));
    Atomics.store(new Int32Array(buffer), (table.readerAddress(0) + DOORBELL_LAYOUT.sequence) / 4, 5);
    table.forget(0);
    taken[Symbol.dispose]();
  });
});

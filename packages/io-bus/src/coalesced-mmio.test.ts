import { beforeEach, describe, expect, it } from 'vitest';
import {
  COALESCED_BYTES,
  COALESCED_MMIO_MAX,
  COALESCED_ZONE_MAX,
  CoalescedMmio,
  CoalescedRing,
  createMmioBus,
  createPioBus,
} from './index.ts';

const BASE = 0xd000_0000;
const HIGH = 0xf_ffff_ffff_0000;
const code = (code: string): object => expect.objectContaining({ name: 'IoBusError', code }) as object;

let seen: string[] = [];
beforeEach(() => {
  seen = [];
});
const device = (name: string) => ({
  read: (offset: number, len: number) => {
    seen.push(`${name} r${len}@${offset}`);
    return 0;
  },
  write: (offset: number, len: number, value: number) => void seen.push(`${name} w${len}@${offset}=${value.toString(16)}`),
});

function setup() {
  const place = { buffer: new SharedArrayBuffer(64 + COALESCED_BYTES), byteOffset: 64 };
  const coalesced = new CoalescedMmio(place, 2);
  const pio = createPioBus({ coalesced });
  const mmio = createMmioBus({ coalesced });
  pio.register({ base: 0x500, size: 16, name: 'ports' }, device('p'));
  mmio.register({ base: BASE, size: 64, name: 'memory' }, device('m'));
  mmio.register({ base: HIGH, size: 16, name: 'high' }, device('h'));
  /** As the thread of a vCPU sees it. */
  const thread = new CoalescedRing(place, 0);
  return { place, coalesced, pio, mmio, thread };
}

describe('coalesced writes', () => {
  it('wait until they are handed on, in order, with their lengths and values', () => {
    const { coalesced, pio, mmio } = setup();
    coalesced.register({ addr: BASE, size: 16, pio: false });
    coalesced.register({ addr: HIGH, size: 8, pio: false });
    coalesced.register({ addr: 0x500, size: 4, pio: true });
    mmio.write(BASE, 4, 0xffff_fffe);
    pio.write(0x501, 1, 0x1ff);
    mmio.write64(HIGH, 0x8000_0001, 0xffff_ffff);
    mmio.write(BASE + 14, 2, 3);
    expect([seen, coalesced.waits]).toEqual([[], true]);
    coalesced.flush();
    expect(seen).toEqual(['m w4@0=fffffffe', 'p w1@1=ff', 'h w4@0=80000001', 'h w4@4=ffffffff', 'm w2@14=3']);
    expect(coalesced.waits).toBe(false);
    coalesced.flush();
    expect(seen.length).toBe(5);
  });

  it.each([
    ['a read', ({ mmio }: ReturnType<typeof setup>) => mmio.read(BASE + 32, 4), 'm r4@32'],
    ['a read in the zone', ({ mmio }: ReturnType<typeof setup>) => mmio.read(BASE, 4), 'm r4@0'],
    ['a read of a port', ({ pio }: ReturnType<typeof setup>) => pio.read(0x508, 1), 'p r1@8'],
    ['a write', ({ mmio }: ReturnType<typeof setup>) => mmio.write(BASE + 32, 4, 9), 'm w4@32=9'],
    ['a write to a port', ({ pio }: ReturnType<typeof setup>) => pio.write(0x508, 1, 9), 'p w1@8=9'],
    ['a write of 8 bytes', ({ mmio }: ReturnType<typeof setup>) => mmio.write64(HIGH, 1, 0), 'h w4@0=1'],
    ['a write that leaves the zone', ({ mmio }: ReturnType<typeof setup>) => mmio.write(BASE + 14, 4, 0), 'm w1@14=0'],
  ])('are at the device before %s', (_, access, expected) => {
    const machine = setup();
    machine.coalesced.register({ addr: BASE, size: 16, pio: false });
    machine.mmio.write(BASE, 1, 1);
    machine.mmio.write(BASE + 4, 1, 2);
    access(machine);
    expect(seen.slice(0, 3)).toEqual(['m w1@0=1', 'm w1@4=2', expected]);
  });

  it('are handed on by the write that finds the ring full, which comes last', () => {
    const { coalesced, mmio } = setup();
    coalesced.register({ addr: BASE, size: 16, pio: false });
    const room = COALESCED_MMIO_MAX - 1;
    for (let round = 0; round < 3; round++) {
      seen = [];
      for (let i = 0; i < room; i++) mmio.write(BASE, 4, i);
      expect(seen).toEqual([]);
      mmio.write(BASE, 4, room);
      expect(seen).toEqual(Array.from({ length: room + 1 }, (_, i) => `m w4@0=${i.toString(16)}`));
      // Not to begin at the same place again.
      mmio.write(BASE, 4, 0);
      coalesced.flush();
    }
  });

  it('are those that one zone covers: two that touch do not', () => {
    const { coalesced, mmio } = setup();
    coalesced.register({ addr: BASE + 8, size: 4, pio: false });
    coalesced.register({ addr: BASE + 12, size: 4, pio: false });
    mmio.write(BASE + 10, 4, 0);
    expect(seen.length).toBe(4);
    coalesced.register({ addr: BASE, size: 32, pio: false });
    mmio.write(BASE + 10, 4, 0);
    mmio.write(BASE + 16, 4, 0);
    expect(seen.length).toBe(4);
    coalesced.unregister({ addr: BASE, size: 32, pio: false });
    seen = [];
    mmio.write(BASE + 8, 4, 1);
    mmio.write(BASE + 7, 1, 2);
    expect(seen).toEqual(['m w4@8=1', 'm w1@7=2']);
  });

  it('are not those of the other bus', () => {
    const { coalesced, pio, mmio } = setup();
    coalesced.register({ addr: 0x500, size: 16, pio: false });
    coalesced.register({ addr: BASE % 0x1_0000, size: 16, pio: true });
    pio.write(0x500, 1, 1);
    mmio.write(BASE, 1, 1);
    expect(seen).toEqual(['p w1@0=1', 'm w1@0=1']);
  });

  it('are handed on when their zone goes, before it is gone', () => {
    const { coalesced, mmio, thread } = setup();
    const zone = { addr: BASE, size: 16, pio: false };
    coalesced.register(zone);
    coalesced.register(zone);
    mmio.write(BASE, 4, 1);
    expect(thread.put('mmio', BASE, 4, 2, 0)).toBe(true);
    coalesced.unregister(zone);
    expect(seen).toEqual(['m w4@0=1', 'm w4@0=2']);
    expect(thread.put('mmio', BASE, 4, 3, 0)).toBe(false);
  });

  it('never pass a doorbell by, and its rings do not hand them on', () => {
    const { coalesced, mmio, thread } = setup();
    coalesced.register({ addr: BASE, size: 16, pio: false });
    mmio.assignIoeventfd({ address: BASE + 4, length: 4 }, { signal: () => void seen.push('ring') });
    mmio.write(BASE, 4, 1);
    mmio.write(BASE + 4, 4, 1);
    mmio.write(BASE + 4, 2, 1);
    expect(seen).toEqual(['ring']);
    // A thread knows those only that are in memory.
    thread.put('mmio', BASE + 4, 4, 1, 0);
    coalesced.flush();
    expect(seen).toEqual(['ring', 'm w4@0=1', 'm w2@4=1', 'ring']);
  });

  it('that a device makes while it gets one stay in order', () => {
    const { coalesced, mmio } = setup();
    mmio.register(
      { base: BASE + 64, size: 4, name: 'bridge' },
      {
        read: () => 0,
        write: (_, len, value) => {
          seen.push(`bridge ${value}`);
          mmio.write(BASE, len, value);
          mmio.read(BASE, 1);
        },
      },
    );
    coalesced.register({ addr: BASE + 64, size: 4, pio: false });
    for (const value of [1, 2]) mmio.write(BASE + 64, 4, value);
    coalesced.flush();
    expect(seen).toEqual(['bridge 1', 'm w4@0=1', 'm r1@0', 'bridge 2', 'm w4@0=2', 'm r1@0']);
  });

  it('are made once, even if a device throws', () => {
    const { coalesced, mmio } = setup();
    const throws = () => {
      throw new RangeError('a device is defect');
    };
    mmio.register({ base: BASE + 64, size: 4, name: 'defect' }, { read: () => 0, write: throws });
    coalesced.register({ addr: BASE, size: 128, pio: false });
    mmio.write(BASE + 64, 4, 1);
    mmio.write(BASE, 4, 2);
    expect(() => coalesced.flush()).toThrow('a device is defect');
    coalesced.flush();
    expect(seen).toEqual(['m w4@0=2']);
  });
});

describe('coalesced zones', () => {
  it('go only as they came', () => {
    const { coalesced } = setup();
    coalesced.register({ addr: BASE, size: 16, pio: false });
    for (const other of [{ addr: BASE + 1 }, { size: 15 }, { addr: 0x500, pio: true }])
      expect(() => coalesced.unregister({ addr: BASE, size: 16, pio: false, ...other })).toThrow(code('IO_BUS_NO_ZONE'));
    coalesced.unregister({ addr: BASE, size: 16, pio: false });
    expect(() => coalesced.unregister({ addr: BASE, size: 16, pio: false })).toThrow(code('IO_BUS_NO_ZONE'));
  });

  it('are within their bus', () => {
    const { coalesced } = setup();
    const bad = [
      { addr: -1, size: 4, pio: false },
      { addr: 0, size: 0, pio: false },
      { addr: 0.5, size: 1, pio: false },
      { addr: 0, size: 2 ** 32, pio: false },
      { addr: 2 ** 52 - 1, size: 2, pio: false },
      { addr: 0xffff, size: 2, pio: true },
      { addr: Number.NaN, size: 2, pio: true },
      { addr: 0, size: 1, pio: 2 as unknown as boolean },
    ];
    for (const zone of bad) {
      expect(() => coalesced.register(zone)).toThrow(code('IO_BUS_INVALID'));
      expect(() => coalesced.unregister(zone)).toThrow(code('IO_BUS_INVALID'));
    }
    coalesced.register({ addr: 2 ** 52 - 2, size: 2, pio: false });
    coalesced.register({ addr: 0xffff, size: 1, pio: true });
  });

  it('are a hundred, and each of them is found by every thread', () => {
    const { coalesced, thread } = setup();
    const zone = (i: number) => ({ addr: BASE + ((i * 37) % COALESCED_ZONE_MAX) * 16, size: 4, pio: false });
    for (let i = 0; i < COALESCED_ZONE_MAX; i++) coalesced.register(zone(i));
    expect(() => coalesced.register(zone(0))).toThrow(code('IO_BUS_FULL'));
    for (let i = 0; i < COALESCED_ZONE_MAX; i += 2) coalesced.unregister(zone(i));
    const found = Array.from({ length: COALESCED_ZONE_MAX }, (_, i) => thread.put('mmio', zone(i).addr, 4, i, 0));
    expect(found).toEqual(Array.from({ length: COALESCED_ZONE_MAX }, (_, i) => i % 2 === 1));
    expect(thread.put('mmio', zone(1).addr + 4, 1, 0, 0)).toBe(false);
  });

  it('do not stay locked by a thread that is no more', () => {
    const { place, coalesced, thread } = setup();
    const lock = new (class extends CoalescedRing {
      hold(): void {
        this.acquire();
      }
    })(place, 1);
    lock.hold();
    coalesced.forget(0);
    coalesced.forget(1);
    coalesced.register({ addr: BASE, size: 4, pio: false });
    expect(thread.put('mmio', BASE, 4, 1, 0)).toBe(true);
  });
});

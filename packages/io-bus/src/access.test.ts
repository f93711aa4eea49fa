import { describe, expect, it } from 'vitest';
import { createMmioBus, createPioBus, type IoBus, type IoBusOptions, type IoLen } from './index.ts';

type Call = readonly [string, number, IoLen, number?];

/** A device that logs its accesses; reads give 0xN0 + offset in each byte so that assembled values show where they came from. */
function recorder(log: Call[], name: string, tag: number) {
  return {
    read: (offset: number, len: IoLen): number => {
      log.push([name, offset, len]);
      let value = 0;
      for (let i = 0; i < len; i++) value |= (tag + offset + i) << (8 * i);
      return value;
    },
    write: (offset: number, len: IoLen, value: number): void => {
      log.push([name, offset, len, value]);
    },
  };
}

const buses: readonly (readonly [string, (options?: IoBusOptions) => IoBus])[] = [
  ['port bus', createPioBus],
  ['memory bus', createMmioBus],
];

describe.each(buses)('%s accesses', (_, createBus) => {
  it('hand a device the offset, the length and the unsigned value', () => {
    const log: Call[] = [];
    const bus = createBus();
    bus.register({ base: 0x100, size: 8, name: 'a' }, recorder(log, 'a', 0xf0));
    expect(bus.read(0x104, 4)).toBe(0xf7f6f5f4);
    bus.write(0x102, 2, 0xffff_1234);
    bus.write(0x107, 1, -1);
    expect(log).toEqual([
      ['a', 4, 4],
      ['a', 2, 2, 0x1234],
      ['a', 7, 1, 0xff],
    ]);
  });

  it('keep only the low bytes of what a device returns', () => {
    const bus = createBus();
    bus.register({ base: 0, size: 4, name: 'wide' }, { read: () => -1, write: () => undefined });
    expect([bus.read(0, 1), bus.read(0, 2), bus.read(0, 4)]).toEqual([0xff, 0xffff, 0xffff_ffff]);
  });

  it('that straddle a device boundary reach both devices, byte by byte', () => {
    const log: Call[] = [];
    const bus = createBus();
    bus.register({ base: 0x100, size: 2, name: 'a' }, recorder(log, 'a', 0x10));
    bus.register({ base: 0x102, size: 2, name: 'b' }, recorder(log, 'b', 0x20));
    expect(bus.read(0x100, 4)).toBe(0x21201110);
    bus.write(0x101, 2, 0xbbaa);
    expect(log.slice(4)).toEqual([
      ['a', 1, 1, 0xaa],
      ['b', 0, 1, 0xbb],
    ]);
  });

  it('that begin or end in a hole read ones there and drop the bytes written there', () => {
    const log: Call[] = [];
    const bus = createBus();
    bus.register({ base: 0x102, size: 1, name: 'b' }, recorder(log, 'b', 0x20));
    expect(bus.read(0x100, 4)).toBe(0xff20ffff);
    expect(bus.read(0x102, 2)).toBe(0xff20);
    log.length = 0;
    bus.write(0x101, 2, 0x2211);
    expect(log).toEqual([['b', 0, 1, 0x22]]);
  });

  it('that cross an aligned doubleword are split into bytes even inside one device', () => {
    const log: Call[] = [];
    const bus = createBus();
    bus.register({ base: 0x100, size: 8, name: 'a' }, recorder(log, 'a', 0));
    expect(bus.read(0x103, 2)).toBe(0x0403);
    expect(log).toEqual([
      ['a', 3, 1],
      ['a', 4, 1],
    ]);
    log.length = 0;
    expect(bus.read(0x101, 2)).toBe(0x0201);
    expect(log).toEqual([['a', 1, 2]]);
  });

  it('wider than the device decodes are split, low address first', () => {
    const log: Call[] = [];
    const bus = createBus();
    bus.register({ base: 0x70, size: 2, name: 'rtc', width: 1 }, recorder(log, 'rtc', 0));
    bus.register({ base: 0x80, size: 4, name: 'words', width: 2 }, recorder(log, 'words', 0));
    bus.write(0x70, 2, 0x550a);
    bus.write(0x80, 4, 0x4444_2222);
    expect(bus.read(0x80, 4)).toBe(0x03020100);
    expect(log).toEqual([
      ['rtc', 0, 1, 0x0a],
      ['rtc', 1, 1, 0x55],
      ['words', 0, 2, 0x2222],
      ['words', 2, 2, 0x4444],
      ['words', 0, 2],
      ['words', 2, 2],
    ]);
  });

  it('of 8 bytes are two doublewords, low half first', () => {
    const log: Call[] = [];
    const bus = createBus();
    bus.register({ base: 0x100, size: 8, name: 'a' }, recorder(log, 'a', 0x80));
    const out = new Uint32Array(2);
    bus.read64(0x100, out);
    expect([...out]).toEqual([0x83828180, 0x87868584]);
    bus.write64(0x100, 0xffff_fffe, 0x8000_0000);
    expect(log.slice(2)).toEqual([
      ['a', 0, 4, 0xffff_fffe],
      ['a', 4, 4, 0x8000_0000],
    ]);
  });

  it('that nobody claims read as ones, are dropped when written, and are traced', () => {
    const seen: unknown[] = [];
    const bus = createBus({ onUnclaimed: (...access) => seen.push(access) });
    expect([bus.read(0x10, 1), bus.read(0x10, 2), bus.read(0x10, 4)]).toEqual([0xff, 0xffff, 0xffff_ffff]);
    bus.write(0x20, 4, 0xdead_beef);
    const out = new Uint32Array(2);
    bus.read64(0x40, out);
    expect([...out]).toEqual([0xffff_ffff, 0xffff_ffff]);
    expect(seen.slice(0, 4)).toEqual([
      ['read', 0x10, 1, 0xff],
      ['read', 0x10, 2, 0xffff],
      ['read', 0x10, 4, 0xffff_ffff],
      ['write', 0x20, 4, 0xdead_beef],
    ]);
  });

  it('may take the device away that they reach', () => {
    const bus = createBus();
    const handle: Disposable[] = [];
    handle.push(bus.register({ base: 0x10, size: 1, name: 'a' }, { read: () => 0, write: () => handle[0][Symbol.dispose]() }));
    bus.write(0x10, 1, 0);
    expect(bus.read(0x10, 1)).toBe(0xff);
  });
});

describe('address space ends', () => {
  it('a word at port 0xffff has its high byte in nobody, not in port 0', () => {
    const log: Call[] = [];
    const bus = createPioBus();
    bus.register({ base: 0, size: 1, name: 'first' }, recorder(log, 'first', 0));
    bus.register({ base: 0xffff, size: 1, name: 'last' }, recorder(log, 'last', 0x42));
    expect(bus.read(0xffff, 2)).toBe(0xff42);
    bus.write(0xffff, 4, 0x11223344);
    expect(log).toEqual([
      ['last', 0, 1],
      ['last', 0, 1, 0x44],
    ]);
  });

  it('the last doubleword below 2^52 is reachable', () => {
    const log: Call[] = [];
    const bus = createMmioBus();
    bus.register({ base: 2 ** 52 - 16, size: 16, name: 'top' }, recorder(log, 'top', 0));
    expect(bus.read(2 ** 52 - 4, 4)).toBe(0x0f0e0d0c);
    expect(bus.read(2 ** 52 - 1, 4)).toBe(0xffff_ff0f);
  });
});

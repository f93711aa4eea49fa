import { describe, expect, it } from 'vitest';
import { createMmioBus, createPioBus, type IoBus, IoBusError } from './index.ts';

const constant = (value: number) => ({ read: () => value, write: () => undefined });

function errorOf(run: () => unknown): IoBusError {
  try {
    run();
  } catch (error) {
    if (error instanceof IoBusError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const buses: readonly (readonly [string, () => IoBus])[] = [
  ['port bus', createPioBus],
  ['memory bus', createMmioBus],
];

describe.each(buses)('%s registration', (_, createBus) => {
  it('refuses a range that overlaps at its start, end, inside or around, and names both', () => {
    const bus = createBus();
    bus.register({ base: 0x3f8, size: 8, name: 'com1' }, constant(1));
    for (const [base, size] of [
      [0x3f0, 9],
      [0x3ff, 1],
      [0x3fa, 2],
      [0x300, 0x400],
    ]) {
      const error = errorOf(() => bus.register({ base, size, name: 'other' }, constant(2)));
      expect(error.code).toBe('IO_BUS_OVERLAP');
      expect(error.message).toBe(
        `other [0x${base.toString(16)}-0x${(base + size - 1).toString(16)}] overlaps com1 [0x3f8-0x3ff]`,
      );
    }
    expect(bus.read(0x3f8, 1)).toBe(1);
  });

  it('lets ranges touch', () => {
    const bus = createBus();
    bus.register({ base: 8, size: 8, name: 'b' }, constant(2));
    bus.register({ base: 0, size: 8, name: 'a' }, constant(1));
    bus.register({ base: 16, size: 8, name: 'c' }, constant(3));
    expect([bus.read(7, 1), bus.read(8, 1), bus.read(15, 1), bus.read(16, 1), bus.read(24, 1)]).toEqual([1, 2, 2, 3, 0xff]);
  });

  it('refuses empty, negative, fractional and too long ranges', () => {
    const bus = createBus();
    for (const [base, size] of [
      [0, 0],
      [-1, 4],
      [0.5, 4],
      [0, 1.5],
      [2 ** 52, 1],
      [2 ** 52 - 1, 2],
      [Number.NaN, 1],
    ])
      expect(errorOf(() => bus.register({ base, size, name: 'bad' }, constant(0))).code).toBe('IO_BUS_RANGE');
  });

  it('gives the range back when the registration is disposed, once', () => {
    const bus = createBus();
    const first = bus.register({ base: 0x10, size: 4, name: 'first' }, constant(1));
    expect(bus.read(0x10, 1)).toBe(1);
    first[Symbol.dispose]();
    expect(bus.read(0x10, 1)).toBe(0xff);
    bus.register({ base: 0x10, size: 4, name: 'second' }, constant(2));
    first[Symbol.dispose]();
    expect(bus.read(0x10, 1)).toBe(2);
  });
});

describe('memory bus with 1,000 devices', () => {
  it('finds each of them, and none in the holes, after registration in scattered order and removal of every third', () => {
    const bus = createMmioBus();
    const base = (index: number): number => 0xfe00_0000 + index * 0x2000;
    const handles = new Map<number, Disposable>();
    for (let i = 0; i < 1000; i++) {
      const index = (i * 617) % 1000;
      handles.set(index, bus.register({ base: base(index), size: 0x1000, name: `dev${index}` }, constant(index)));
    }
    // Found once, so that the bus would remember those that go.
    for (let index = 0; index < 1000; index++) expect(bus.read(base(index), 2)).toBe(index);
    for (let i = 0; i < 1000; i += 3) handles.get(i)?.[Symbol.dispose]();
    for (let i = 0; i < 1000; i++) {
      const index = (i * 331) % 1000;
      const expected = index % 3 === 0 ? 0xffff : index;
      expect(bus.read(base(index), 2)).toBe(expected);
      expect(bus.read(base(index) + 0xffe, 2)).toBe(expected);
      expect(bus.read(base(index) + 0x1000, 2)).toBe(0xffff);
    }
  });
});

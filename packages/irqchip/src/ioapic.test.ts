import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { IoApic, IoApicOptions } from './ioapic.ts';
import { createIoApic, IOAPIC_LAYOUT } from './ioapic.ts';
import { place } from './testing/clock.ts';

type Message = { dest: number; logical: boolean; mode: number; vector: number; level: boolean };
type Bench = { ioapic: IoApic; sent: Message[]; acks: number[]; result: { value: number } };

function setup(version: IoApicOptions['version'] = 0x11): Bench {
  const sent: Message[] = [];
  const acks: number[] = [];
  const result = { value: 1 };
  const ioapic = createIoApic({
    state: place(IOAPIC_LAYOUT.size),
    version,
    onAck: (pin) => acks.push(pin),
    bus: {
      deliver: (dest, logical, mode, vector, level) => {
        sent.push({ dest, logical, mode, vector, level });
        return result.value;
      },
    },
  });
  return { ioapic, sent, acks, result };
}

function write(ioapic: IoApic, register: number, value: number): void {
  ioapic.device.write(0x00, 4, register);
  ioapic.device.write(0x10, 4, value);
}
function read(ioapic: IoApic, register: number): number {
  ioapic.device.write(0x00, 4, register);
  return ioapic.device.read(0x10, 4);
}
const entry = (ioapic: IoApic, pin: number, low: number, dest = 0): void => {
  write(ioapic, 0x11 + 2 * pin, dest << 24);
  write(ioapic, 0x10 + 2 * pin, low);
};

describe('82093AA registers (§3.2)', () => {
  it('has version 0x11 with 24 entries; ID bits 27–24 only, shown by the arbitration register too', () => {
    const { ioapic } = setup();
    expect(read(ioapic, 1)).toBe(0x170011);
    write(ioapic, 1, 0);
    expect(read(ioapic, 1)).toBe(0x170011);
    write(ioapic, 0, 0xffff_ffff);
    expect(read(ioapic, 0)).toBe(0x0f00_0000);
    expect(read(ioapic, 2)).toBe(0x0f00_0000);
  });

  it('starts with every entry masked', () => {
    const { ioapic } = setup();
    for (let pin = 0; pin < 24; pin++) expect([read(ioapic, 0x10 + 2 * pin), read(ioapic, 0x11 + 2 * pin)]).toEqual([0x10000, 0]);
  });

  it('keeps delivery status, remote IRR and reserved bits read-only', () => {
    const { ioapic } = setup();
    entry(ioapic, 3, 0xffff_ffff, 0xff);
    expect(read(ioapic, 0x16)).toBe(0x1afff);
    expect(read(ioapic, 0x17)).toBe(0xff00_0000);
  });

  it('reads 0 and ignores writes at registers and offsets that do not exist', () => {
    const { ioapic } = setup();
    write(ioapic, 0x40, 0xffff_ffff);
    expect(read(ioapic, 0x40)).toBe(0);
    expect(read(ioapic, 0x0f)).toBe(0);
    expect(ioapic.device.read(0x20, 4)).toBe(0);
    expect(ioapic.device.read(0x11, 4)).toBe(0);
  });

  it('IOREGSEL reads back, in any width', () => {
    const { ioapic } = setup();
    ioapic.device.write(0, 1, 0x01);
    expect(ioapic.device.read(0, 1)).toBe(1);
    expect(ioapic.device.read(0x10, 1)).toBe(0x11);
  });
});

describe('82093AA delivery (§3.2.4)', () => {
  it('sends the entry once per rising edge', () => {
    const { ioapic, sent } = setup();
    entry(ioapic, 4, 0x0931, 0x0f);
    expect(ioapic.setIrq(4, 1)).toBe(1);
    expect(ioapic.setIrq(4, 1)).toBe(0);
    ioapic.setIrq(4, 0);
    ioapic.setIrq(4, 1);
    const message = { dest: 0x0f, logical: true, mode: 1, vector: 0x31, level: false };
    expect(sent).toEqual([message, message]);
  });

  it('loses an edge at a masked entry', () => {
    const { ioapic, sent } = setup();
    expect(ioapic.setIrq(4, 1)).toBe(-1);
    entry(ioapic, 4, 0x31);
    expect(sent).toEqual([]);
  });

  it('delivers a level that waited when the entry is unmasked', () => {
    const { ioapic, sent } = setup();
    ioapic.setIrq(9, 1);
    entry(ioapic, 9, 0x8031);
    expect(sent).toHaveLength(1);
    expect(read(ioapic, 0x22)).toBe(0xc031);
  });

  it('level: remote IRR holds repeats back until the EOI, which asks again while the line is high', () => {
    const { ioapic, sent, acks } = setup();
    entry(ioapic, 9, 0x8031);
    expect(ioapic.setIrq(9, 1)).toBe(1);
    expect(ioapic.setIrq(9, 1)).toBe(0);
    ioapic.eoi(0x31, true);
    expect(sent).toHaveLength(2);
    ioapic.setIrq(9, 0);
    ioapic.eoi(0x31, true);
    expect(sent).toHaveLength(2);
    expect(acks).toEqual([9, 9]);
    expect(read(ioapic, 0x22)).toBe(0x8031);
  });

  it('level: two pins with one vector are both released by its EOI', () => {
    const { ioapic, acks, result } = setup();
    entry(ioapic, 9, 0x8031);
    entry(ioapic, 10, 0x8031);
    ioapic.setIrq(9, 1);
    result.value = 0;
    ioapic.setIrq(10, 1);
    ioapic.setIrq(9, 0);
    ioapic.setIrq(10, 0);
    ioapic.eoi(0x31, true);
    expect(acks).toEqual([9, 10]);
  });

  it('an EOI of another vector, or an edge EOI, releases nothing', () => {
    const { ioapic, acks } = setup();
    entry(ioapic, 9, 0x8031);
    ioapic.setIrq(9, 1);
    ioapic.eoi(0x32, true);
    ioapic.eoi(0x31, false);
    expect(acks).toEqual([]);
    expect(read(ioapic, 0x22)).toBe(0xc031);
  });

  it('remote IRR stays clear when nobody accepted', () => {
    const { ioapic, result } = setup();
    entry(ioapic, 9, 0x8031);
    result.value = -1;
    expect(ioapic.setIrq(9, 1)).toBe(-1);
    expect(read(ioapic, 0x22)).toBe(0x8031);
  });

  it('clears remote IRR when the entry becomes edge-triggered, as Linux does for IOAPICs without EOI register', () => {
    const { ioapic } = setup();
    entry(ioapic, 9, 0x8031);
    ioapic.setIrq(9, 1);
    ioapic.setIrq(9, 0);
    write(ioapic, 0x22, 0x10031);
    write(ioapic, 0x22, 0x8031);
    expect(read(ioapic, 0x22)).toBe(0x8031);
  });

  it('tells of the end of an edge interrupt too', () => {
    const { ioapic, acks } = setup();
    entry(ioapic, 2, 0x30);
    ioapic.setIrq(2, 1);
    ioapic.eoi(0x30, false);
    expect(acks).toEqual([2]);
  });

  it.each([
    ['SMI', 2],
    ['NMI', 4],
    ['INIT', 5],
    ['ExtINT', 7],
  ])('%s is an edge even at an entry set to level', (_, mode) => {
    const { ioapic, sent } = setup();
    entry(ioapic, 5, 0x8000 | (mode << 8));
    ioapic.setIrq(5, 1);
    expect(sent[0]).toMatchObject({ mode, level: false });
    expect(read(ioapic, 0x1a) & 0x4000).toBe(0);
  });

  it('has an EOI register from version 0x20 on, and only then', () => {
    for (const [version, left] of [
      [0x20, 0],
      [0x11, 0x4000],
    ] as const) {
      const { ioapic } = setup(version);
      entry(ioapic, 9, 0x8031);
      ioapic.setIrq(9, 1);
      ioapic.setIrq(9, 0);
      ioapic.device.write(0x40, 4, 0x31);
      expect(read(ioapic, 0x22) & 0x4000).toBe(left);
    }
    expect(read(setup(0x20).ioapic, 1)).toBe(0x170020);
  });
});

describe('82093AA saved state', () => {
  it('continues after restore: remote IRR and the line are kept', () => {
    const { ioapic } = setup();
    entry(ioapic, 9, 0x8031);
    ioapic.setIrq(9, 1);
    const other = setup();
    other.ioapic.restore(ioapic.save());
    expect(other.sent).toEqual([]);
    other.ioapic.eoi(0x31, true);
    expect(other.sent).toHaveLength(1);
  });

  it.each([
    ['reserved bits of an entry', IOAPIC_LAYOUT.offset.redirtbl + 3],
    ['a line that does not exist', IOAPIC_LAYOUT.offset.lines + 3],
    ['an ID above 15', IOAPIC_LAYOUT.offset.id],
  ])('refuses %s', (_, offset) => {
    const { ioapic } = setup();
    expect(() => ioapic.restore(ioapic.save().with(24 + offset, 0xff))).toThrow(
      expect.objectContaining({ code: 'IRQCHIP_BAD_STATE' }),
    );
  });

  it('property: any window writes keep the state one that restore accepts', () => {
    const access = fc.tuple(fc.constantFrom(0, 0x10, 0x40, 0x20), fc.integer({ min: 0, max: 0xffff_ffff }));
    fc.assert(
      fc.property(fc.array(access, { maxLength: 80 }), (accesses) => {
        const { ioapic } = setup(0x20);
        for (const [offset, value] of accesses) {
          ioapic.device.write(offset, 4, offset === 0 ? value & 0x3f : value);
          ioapic.setIrq(value % 24, value & 0x100 ? 1 : 0);
          ioapic.eoi(value & 0xff, (value & 0x200) !== 0);
        }
        ioapic.restore(ioapic.save());
      }),
    );
  });
});

import { describe, expect, it } from 'vitest';
import type { GsiRouter } from './gsi-router.ts';
import { createGsiRouter, GSI_LAYOUT } from './gsi-router.ts';
import { place } from './testing/clock.ts';

function setup(): { router: GsiRouter; log: string[]; result: { pic: number; ioapic: number } } {
  const log: string[] = [];
  const result = { pic: -1, ioapic: 1 };
  const router = createGsiRouter({
    state: place(GSI_LAYOUT.size),
    pic: {
      setIrq: (pin, level) => {
        log.push(`pic ${pin} ${level}`);
        return result.pic;
      },
    },
    ioapic: {
      setIrq: (pin, level) => {
        log.push(`ioapic ${pin} ${level}`);
        return result.ioapic;
      },
    },
    msi: {
      signalMsi: (lo, hi, data) => {
        log.push(`msi ${lo.toString(16)} ${hi} ${data.toString(16)}`);
        return 1;
      },
    },
  });
  return { router, log, result };
}

describe('GSI routing', () => {
  it.each([
    [0, ['pic 0 1', 'ioapic 2 1']],
    [2, []],
    [4, ['pic 4 1', 'ioapic 4 1']],
    [15, ['pic 15 1', 'ioapic 15 1']],
    [23, ['ioapic 23 1']],
    [24, []],
    [1024, []],
  ])('default table: GSI %i', (gsi, want) => {
    const { router, log } = setup();
    router.setIrq(gsi, 1);
    expect(log).toEqual(want);
  });

  it('adds up processors reached; coalesced outranks masked', () => {
    const { router, result } = setup();
    expect(router.setIrq(4, 1)).toBe(1);
    result.ioapic = 0;
    expect(router.setIrq(4, 1)).toBe(0);
    result.ioapic = -1;
    expect(router.setIrq(4, 1)).toBe(-1);
    result.pic = 1;
    result.ioapic = 1;
    expect(router.setIrq(4, 1)).toBe(2);
    expect(router.setIrq(30, 1)).toBe(-1);
  });

  it('keeps a level line active until its last source lets go', () => {
    const { router, log } = setup();
    const a = router.line(20);
    const b = router.line(20);
    a.setLevel(1);
    b.setLevel(1);
    a.setLevel(0);
    expect(log.at(-1)).toBe('ioapic 20 1');
    b.setLevel(0);
    expect(log.at(-1)).toBe('ioapic 20 0');
  });

  it('a disposed line lets go and stays silent; its source number is free again', () => {
    const { router, log } = setup();
    const lines = Array.from({ length: 31 }, () => router.line(5));
    expect(() => router.line(5)).toThrow(expect.objectContaining({ code: 'IRQCHIP_TOO_MANY_SOURCES' }));
    lines[7].setLevel(1);
    lines[7][Symbol.dispose]();
    expect(log.at(-1)).toBe('ioapic 5 0');
    log.length = 0;
    lines[7].setLevel(1);
    lines[7][Symbol.dispose]();
    expect(log).toEqual([]);
    router.line(5).setLevel(1);
    expect(log.at(-1)).toBe('ioapic 5 1');
  });

  it('sends an MSI route on the rising level only', () => {
    const { router, log } = setup();
    router.setGsiRouting([{ gsi: 40, to: 'msi', addressLo: 0xfee00000, addressHi: 0, data: 0x51 }]);
    expect(router.setIrq(40, 1)).toBe(1);
    router.setIrq(40, 0);
    router.setIrq(4, 1);
    expect(log).toEqual(['msi fee00000 0 51']);
  });

  it.each([
    [{ gsi: 4, to: 'pic', pin: 16 } as const],
    [{ gsi: 4, to: 'ioapic', pin: 24 } as const],
    [{ gsi: -1, to: 'ioapic', pin: 0 } as const],
    [{ gsi: 1024, to: 'ioapic', pin: 0 } as const],
  ])('refuses %j and keeps the table it had', (route) => {
    const { router, log } = setup();
    expect(() => router.setGsiRouting([route])).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_ROUTE' }));
    router.setIrq(4, 1);
    expect(log).toHaveLength(2);
    expect(() => router.line(1024)).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_ROUTE' }));
  });

  it('says of a GSI that it is a message, if it is nothing else', () => {
    const { router } = setup();
    const message = { gsi: 40, to: 'msi', addressLo: 0xfee00000, addressHi: 0, data: 0x51 } as const;
    router.setGsiRouting([message, { gsi: 20, to: 'ioapic', pin: 20 }]);
    expect([40, 20, 7, 4096].map((gsi) => router.messageOf(gsi))).toEqual([message, undefined, undefined, undefined]);
    router.setGsiRouting([message, { gsi: 40, to: 'ioapic', pin: 20 }]);
    expect(router.messageOf(40)).toBeUndefined();
  });

  it('saves which sources hold a line', () => {
    const { router } = setup();
    router.setIrq(20, 1);
    router.setIrq(20, 1, 3);
    const other = setup();
    other.router.restore(router.save());
    other.router.setIrq(20, 0);
    expect(other.log).toEqual(['ioapic 20 1']);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PicPair } from './pic.ts';
import { createPicPair, PIC_LAYOUT } from './pic.ts';
import { place } from './testing/clock.ts';

const BASE = [0x30, 0x38] as const;

function setup(icw4 = 0x01): { pic: PicPair; intr: number[]; acks: number[] } {
  const intr: number[] = [];
  const acks: number[] = [];
  const pic = createPicPair({
    state: place(PIC_LAYOUT.size),
    onIntr: (level) => intr.push(level),
    onAck: (pin) => acks.push(pin),
  });
  initialise(pic, icw4);
  acks.length = 0;
  return { pic, intr, acks };
}

function initialise(pic: PicPair, icw4 = 0x01): void {
  for (const [chip, base, icw3] of [
    [pic.master, BASE[0], 4],
    [pic.slave, BASE[1], 2],
  ] as const) {
    chip.write(0, 1, 0x11);
    chip.write(1, 1, base);
    chip.write(1, 1, icw3);
    chip.write(1, 1, icw4);
  }
}

const readIrr = (pic: PicPair, chip: 'master' | 'slave'): number => {
  pic[chip].write(0, 1, 0x0a);
  return pic[chip].read(0, 1);
};
const readIsr = (pic: PicPair, chip: 'master' | 'slave'): number => {
  pic[chip].write(0, 1, 0x0b);
  return pic[chip].read(0, 1);
};

describe('8259A initialisation', () => {
  it('clears IMR and selects IRR on ICW1 (8259A "ICW1", items b and e)', () => {
    const { pic } = setup();
    pic.master.write(1, 1, 0xff);
    pic.master.write(0, 1, 0x0b);
    initialise(pic);
    expect(pic.master.read(1, 1)).toBe(0);
    pic.setIrq(1, 1);
    expect(pic.master.read(0, 1)).toBe(0x02);
  });

  it('takes no ICW4 when IC4 is clear, and then all its functions are off', () => {
    const { pic } = setup(0x03);
    pic.master.write(0, 1, 0x10);
    pic.master.write(1, 1, 0x40);
    pic.master.write(1, 1, 0x04);
    pic.master.write(1, 1, 0xfe);
    expect(pic.master.read(1, 1)).toBe(0xfe);
    pic.setIrq(0, 1);
    expect(pic.acknowledge()).toBe(0x40);
    expect(readIsr(pic, 'master')).toBe(1);
  });

  it('takes no ICW3 when SNGL is set', () => {
    const { pic } = setup();
    pic.master.write(0, 1, 0x13);
    pic.master.write(1, 1, 0x50);
    pic.master.write(1, 1, 0x01);
    pic.master.write(1, 1, 0xaa);
    expect(pic.master.read(1, 1)).toBe(0xaa);
  });

  it('drops latched edges and needs a new rising edge on a line that stayed high (item a)', () => {
    const { pic, acks } = setup();
    pic.setIrq(4, 1);
    initialise(pic);
    expect(acks).toContain(4);
    expect(readIrr(pic, 'master')).toBe(0);
    pic.setIrq(4, 1);
    expect(pic.pending()).toBe(false);
    pic.setIrq(4, 0);
    pic.setIrq(4, 1);
    expect(pic.pending()).toBe(true);
  });

  it('keeps only the upper five vector bits in ICW2', () => {
    const { pic } = setup();
    pic.master.write(0, 1, 0x11);
    pic.master.write(1, 1, 0x37);
    pic.master.write(1, 1, 4);
    pic.master.write(1, 1, 1);
    pic.setIrq(1, 1);
    expect(pic.acknowledge()).toBe(0x31);
  });
});

describe('8259A requests and priorities', () => {
  it('gives the vector of the highest request, lower inputs first (fully nested mode)', () => {
    const { pic } = setup();
    pic.setIrq(5, 1);
    pic.setIrq(3, 1);
    expect(pic.acknowledge()).toBe(0x33);
    expect(pic.pending()).toBe(false);
    pic.master.write(0, 1, 0x20);
    expect(pic.acknowledge()).toBe(0x35);
  });

  it('lets a higher request interrupt a lower one in service, not the other way round', () => {
    const { pic } = setup();
    pic.setIrq(4, 1);
    pic.acknowledge();
    pic.setIrq(6, 1);
    expect(pic.pending()).toBe(false);
    pic.setIrq(1, 1);
    expect(pic.acknowledge()).toBe(0x31);
    expect(readIsr(pic, 'master')).toBe(0x12);
  });

  it('delivers slave requests through IR2 with the slave vector', () => {
    const { pic } = setup();
    pic.setIrq(12, 1);
    expect(readIrr(pic, 'master')).toBe(0x04);
    expect(pic.acknowledge()).toBe(0x3c);
    expect(readIsr(pic, 'master')).toBe(0x04);
    expect(readIsr(pic, 'slave')).toBe(0x10);
  });

  it('holds back a second slave request until both chips had their EOI', () => {
    const { pic } = setup();
    pic.setIrq(12, 1);
    pic.acknowledge();
    pic.setIrq(9, 1);
    expect(pic.pending()).toBe(false);
    pic.slave.write(0, 1, 0x20);
    expect(pic.pending()).toBe(false);
    pic.master.write(0, 1, 0x20);
    expect(pic.acknowledge()).toBe(0x39);
  });

  it('lets a higher slave request through in special fully nested mode (8259A "Special fully nested mode")', () => {
    const { pic } = setup(0x11);
    pic.setIrq(12, 1);
    pic.acknowledge();
    pic.setIrq(9, 1);
    expect(pic.acknowledge()).toBe(0x39);
    pic.setIrq(7, 1);
    expect(pic.pending()).toBe(false);
  });

  it('withdraws INTR when the guest masks the request, without a spurious interrupt later', () => {
    const { pic, intr } = setup();
    pic.setIrq(10, 1);
    pic.slave.write(1, 1, 0x04);
    expect(pic.pending()).toBe(false);
    expect(intr).toEqual([1, 0]);
    pic.slave.write(1, 1, 0);
    expect(pic.acknowledge()).toBe(0x3a);
  });

  it('keeps a pulse that came while interrupts were off', () => {
    const { pic } = setup();
    pic.setIrq(4, 1);
    pic.setIrq(4, 0);
    expect(pic.acknowledge()).toBe(0x34);
  });

  it('reports delivered, coalesced and masked', () => {
    const { pic } = setup();
    expect(pic.setIrq(4, 1)).toBe(1);
    pic.setIrq(4, 0);
    expect(pic.setIrq(4, 1)).toBe(0);
    pic.master.write(1, 1, 0x20);
    expect(pic.setIrq(5, 1)).toBe(-1);
  });

  it('property: acknowledges any set of edges in priority order, each once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff }), (raw) => {
        const set = raw & ~4;
        const { pic } = setup(0x03);
        for (let pin = 0; pin < 16; pin++) if (set & (1 << pin)) pic.setIrq(pin, 1);
        const order = [0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 3, 4, 5, 6, 7].filter((pin) => set & (1 << pin));
        const taken: number[] = [];
        while (pic.pending()) taken.push(pic.acknowledge() - BASE[0]);
        expect(taken).toEqual(order);
      }),
    );
  });
});

describe('8259A spurious interrupts', () => {
  it('gives IR7 without ISR when a level request went away before INTA (8259A "Interrupt sequence")', () => {
    const { pic } = setup();
    pic.elcr.write(0, 1, 0x20);
    pic.setIrq(5, 1);
    pic.setIrq(5, 0);
    expect(pic.pending()).toBe(false);
    expect(pic.acknowledge()).toBe(0x37);
    expect(readIsr(pic, 'master')).toBe(0);
  });

  it('gives IR15 with IR2 in service at the master when the slave has no request', () => {
    const { pic } = setup();
    pic.setIrq(2, 1);
    expect(pic.acknowledge()).toBe(0x3f);
    expect(readIsr(pic, 'slave')).toBe(0);
    expect(readIsr(pic, 'master')).toBe(0x04);
  });
});

describe('8259A end of interrupt', () => {
  it('ends the highest in service on a non-specific EOI, the named one on a specific EOI', () => {
    const { pic, acks } = setup();
    pic.setIrq(4, 1);
    pic.acknowledge();
    pic.setIrq(1, 1);
    pic.acknowledge();
    pic.master.write(0, 1, 0x64);
    expect(readIsr(pic, 'master')).toBe(0x02);
    pic.master.write(0, 1, 0x20);
    expect(readIsr(pic, 'master')).toBe(0);
    expect(acks).toEqual([4, 1]);
  });

  it('sets no ISR bit in automatic EOI mode and rotates if told to', () => {
    const { pic, acks } = setup(0x03);
    pic.master.write(0, 1, 0x80);
    pic.setIrq(3, 1);
    expect(pic.acknowledge()).toBe(0x33);
    expect(readIsr(pic, 'master')).toBe(0);
    expect(acks).toEqual([3]);
    pic.setIrq(0, 1);
    pic.setIrq(4, 1);
    expect(pic.acknowledge()).toBe(0x34);
  });

  it('rotates on non-specific EOI: the input just served becomes the lowest', () => {
    const { pic } = setup();
    pic.setIrq(3, 1);
    pic.acknowledge();
    pic.master.write(0, 1, 0xa0);
    for (const pin of [3, 5]) {
      pic.setIrq(pin, 0);
      pic.setIrq(pin, 1);
    }
    expect(pic.acknowledge()).toBe(0x35);
  });

  it('sets the lowest priority by command, with and without EOI', () => {
    const { pic } = setup();
    pic.master.write(0, 1, 0xc4);
    pic.setIrq(0, 1);
    pic.setIrq(5, 1);
    expect(pic.acknowledge()).toBe(0x35);
    pic.master.write(0, 1, 0xe5);
    expect(readIsr(pic, 'master')).toBe(0);
    pic.setIrq(6, 1);
    expect(pic.acknowledge()).toBe(0x36);
  });

  it('leaves masked ISR bits alone on a non-specific EOI in special mask mode', () => {
    const { pic } = setup();
    pic.setIrq(2 + 1, 1);
    pic.acknowledge();
    pic.master.write(1, 1, 0x08);
    pic.master.write(0, 1, 0x68);
    pic.setIrq(6, 1);
    expect(pic.acknowledge()).toBe(0x36);
    pic.master.write(0, 1, 0x20);
    expect(readIsr(pic, 'master')).toBe(0x08);
  });

  it('does not let lower requests pass an unmasked ISR bit outside special mask mode', () => {
    const { pic } = setup();
    pic.setIrq(3, 1);
    pic.acknowledge();
    pic.master.write(1, 1, 0x08);
    pic.setIrq(6, 1);
    expect(pic.pending()).toBe(false);
  });
});

describe('8259A level triggering and polling', () => {
  it('requests for as long as a level line is high', () => {
    const { pic } = setup();
    pic.elcr.write(0, 2, 0x0800);
    pic.setIrq(11, 1);
    expect(pic.acknowledge()).toBe(0x3b);
    pic.slave.write(0, 1, 0x20);
    pic.master.write(0, 1, 0x20);
    expect(pic.pending()).toBe(true);
    pic.setIrq(11, 0);
    expect(pic.pending()).toBe(false);
  });

  it('keeps IRQ0, 1, 2, 8 and 13 edge-triggered (82371AB ELCR)', () => {
    const { pic } = setup();
    pic.elcr.write(0, 2, 0xffff);
    expect(pic.elcr.read(0, 2)).toBe(0xdef8);
  });

  it('takes the request with the read after a poll command, and reads 0 without one', () => {
    const { pic, intr } = setup();
    pic.master.write(0, 1, 0x0c);
    expect(pic.master.read(0, 1)).toBe(0);
    pic.setIrq(6, 1);
    pic.master.write(0, 1, 0x0c);
    expect(pic.master.read(0, 1)).toBe(0x86);
    expect(readIsr(pic, 'master')).toBe(0x40);
    expect(intr).toEqual([1, 0]);
  });

  it('pulses INT again when an unacknowledged edge repeats, so that an NMI watchdog on LINT0 keeps counting', () => {
    const { pic, intr } = setup();
    pic.setIrq(0, 1);
    pic.setIrq(0, 0);
    pic.setIrq(0, 1);
    expect(intr).toEqual([1, 0, 1]);
  });
});

describe('8259A on the bus', () => {
  it('takes a word as two byte cycles and lets missing bytes float high', () => {
    const { pic } = setup();
    pic.master.write(0, 2, 0xab0b);
    expect(pic.master.read(1, 1)).toBe(0xab);
    expect(pic.master.read(1, 2)).toBe(0xffab);
    expect(pic.master.read(0, 4)).toBe(0xffffab00);
  });

  it('property: no sequence of guest writes and line changes throws or leaves INT wrong', () => {
    const step = fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { pic } = setup();
        for (const [what, value] of steps) {
          if (what < 2) pic.master.write(what, 1, value);
          else if (what < 4) pic.slave.write(what - 2, 1, value);
          else if (what === 4) pic.elcr.write(value & 1, 1, value);
          else if (what === 5) pic.setIrq(value & 15, value & 16 ? 1 : 0);
          else if (what === 6) pic.master.read(value & 1, 1);
          else if (pic.pending()) expect(pic.acknowledge()).toBeLessThan(256);
        }
        const copy = createPicPair({ state: place(PIC_LAYOUT.size) });
        copy.restore(pic.save());
        expect(copy.save()).toEqual(pic.save());
        expect(copy.acknowledge()).toBe(pic.acknowledge());
      }),
    );
  });
});

describe('8259A saved state', () => {
  it('continues after restore where it was saved, INTR included', () => {
    const { pic } = setup();
    pic.setIrq(4, 1);
    pic.acknowledge();
    pic.setIrq(1, 1);
    const intr: number[] = [];
    const other = createPicPair({ state: place(PIC_LAYOUT.size), onIntr: (level) => intr.push(level) });
    other.restore(pic.save());
    expect(intr).toEqual([1]);
    expect(other.acknowledge()).toBe(0x31);
  });

  it.each([
    ['not bytes', () => ({})],
    ['truncated', (image: Uint8Array) => image.slice(1)],
    ['another version', (image: Uint8Array) => image.with(8, 9)],
    ['a foreign signature', (image: Uint8Array) => image.with(0, 0)],
    ['an impossible initialisation step', (image: Uint8Array) => image.with(24 + PIC_LAYOUT.offset.expectedIcw, 1)],
  ])('refuses %s and stays as it was', (_, spoil) => {
    const { pic } = setup();
    const before = pic.save();
    expect(() => pic.restore(spoil(before))).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_STATE' }));
    expect(pic.save()).toEqual(before);
  });
});

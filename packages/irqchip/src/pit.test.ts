import { describe, expect, it } from 'vitest';
import type { Pit } from './pit.ts';
import { createPit, PIT_LAYOUT } from './pit.ts';
import { NS_PER_TICK, PIT_HZ } from './pit-counter.ts';
import { place, TestClock } from './testing/clock.ts';

type Bench = { pit: Pit; clock: TestClock; edges: number[]; level: () => number; result: { value: number | undefined } };

function setup(reinject = false): Bench {
  const clock = new TestClock();
  const edges: number[] = [];
  const result: { value: number | undefined } = { value: undefined };
  let line = 0;
  const pit = createPit({
    state: place(PIT_LAYOUT.size),
    clock,
    reinject,
    output: {
      setLevel: (level) => {
        if (level && !line) edges.push(clock.now);
        line = level;
        return level ? result.value : undefined;
      },
    },
  });
  return { pit, clock, edges, level: () => line, result };
}

function program(pit: Pit, counter: number, mode: number, count: number, bcd = 0): void {
  pit.device.write(3, 1, (counter << 6) | 0x30 | (mode << 1) | bcd);
  pit.device.write(counter, 1, count & 0xff);
  pit.device.write(counter, 1, count >> 8);
}

const ticks = (n: number): number => Math.ceil(n * NS_PER_TICK) + 1;
const read16 = (pit: Pit, counter: number): number => pit.device.read(counter, 1) | (pit.device.read(counter, 1) << 8);
const latch16 = (pit: Pit, counter: number): number => {
  pit.device.write(3, 1, counter << 6);
  return read16(pit, counter);
};
const status = (pit: Pit, counter: number): number => {
  pit.device.write(3, 1, 0xe0 | (2 << counter));
  return pit.device.read(counter, 1);
};
const gate2 = (pit: Pit, on: boolean): void => pit.systemControl.write(0, 1, on ? 1 : 0);
const out2 = (pit: Pit): number => (pit.systemControl.read(0, 1) >> 5) & 1;

describe('8254 modes on counter 0', () => {
  it('mode 0: OUT rises at terminal count, once, and counting goes on below zero', () => {
    const { pit, clock, edges, level } = setup();
    program(pit, 0, 0, 1000);
    clock.advance(ticks(999));
    expect(level()).toBe(0);
    clock.advance(ticks(1));
    expect(level()).toBe(1);
    clock.advance(ticks(100_000));
    expect(edges).toHaveLength(1);
    program(pit, 0, 0, 10);
    clock.advance(ticks(12));
    expect(latch16(pit, 0)).toBeGreaterThan(0xfff0);
  });

  it('mode 0: the first byte of a new count stops counting and lowers OUT', () => {
    const { pit, clock, level } = setup();
    program(pit, 0, 0, 10);
    clock.advance(ticks(11));
    pit.device.write(0, 1, 20);
    expect(level()).toBe(0);
    clock.advance(ticks(100_000));
    expect(level()).toBe(0);
    pit.device.write(0, 1, 0);
    clock.advance(ticks(21));
    expect(level()).toBe(1);
  });

  it('a control word alone stops the counter: no interrupt without a count', () => {
    const { pit, clock, edges } = setup();
    program(pit, 0, 2, 1193);
    pit.device.write(3, 1, 0x30);
    edges.length = 0;
    clock.advance(1e9);
    expect(edges).toEqual([]);
  });

  it('mode 2: one rising edge each period, exactly count / 1193182 s apart', () => {
    const { pit, clock, edges } = setup();
    program(pit, 0, 2, 11932);
    edges.length = 0;
    const start = clock.now;
    clock.advance(1e9);
    expect(edges).toHaveLength(Math.floor(PIT_HZ / 11932));
    expect(edges[98] - start).toBeGreaterThanOrEqual(99 * 11932 * NS_PER_TICK);
    expect(edges[98] - start).toBeLessThan(99 * 11932 * NS_PER_TICK + 2);
  });

  it('mode 3: one rising edge each period', () => {
    const { pit, clock, edges } = setup();
    program(pit, 0, 3, 0);
    edges.length = 0;
    clock.advance(ticks(65536 * 3));
    expect(edges).toHaveLength(3);
  });

  it('mode 4: one strobe after the count, OUT high before', () => {
    const { pit, clock, edges, level } = setup();
    program(pit, 0, 4, 500);
    expect(level()).toBe(1);
    edges.length = 0;
    clock.advance(ticks(500));
    expect(edges).toHaveLength(0);
    clock.advance(1e9);
    expect(edges).toHaveLength(1);
  });

  it.each([1, 5])('mode %i: never starts on counter 0, whose gate has no edge', (mode) => {
    const { pit, clock, edges } = setup();
    program(pit, 0, mode, 100);
    edges.length = 0;
    clock.advance(1e9);
    expect(edges).toEqual([]);
  });

  it('mode 2: a new count takes effect at the end of the period', () => {
    const { pit, clock, edges } = setup();
    program(pit, 0, 2, 10_000);
    edges.length = 0;
    clock.advance(ticks(5000));
    const start = clock.now - ticks(5000);
    pit.device.write(0, 1, 2000 & 0xff);
    pit.device.write(0, 1, 2000 >> 8);
    clock.advance(ticks(9500));
    const at = edges.map((ns) => Math.round((ns - start) / NS_PER_TICK));
    expect(at).toEqual([10_000, 12_000, 14_000]);
  });
});

describe('8254 count and status registers', () => {
  it('reads a running count LSB then MSB', () => {
    const { pit, clock } = setup();
    program(pit, 1, 2, 0x1234);
    clock.advance(ticks(0x34));
    expect(read16(pit, 1)).toBe(0x1200);
  });

  it('keeps a latched count until read and ignores further latch commands', () => {
    const { pit, clock } = setup();
    program(pit, 1, 2, 50_000);
    clock.advance(ticks(1000));
    pit.device.write(3, 1, 0x40);
    clock.advance(ticks(1000));
    pit.device.write(3, 1, 0x40);
    expect(read16(pit, 1)).toBe(49_000);
    expect(read16(pit, 1)).toBe(48_000);
  });

  it('forgets a latched count when the counter is programmed', () => {
    const { pit, clock } = setup();
    program(pit, 1, 2, 50_000);
    clock.advance(ticks(1000));
    pit.device.write(3, 1, 0x40);
    program(pit, 1, 2, 300);
    expect(read16(pit, 1)).toBe(300);
  });

  it('gives the status before the count when read-back latches both', () => {
    const { pit, clock } = setup();
    program(pit, 1, 3, 1000);
    clock.advance(ticks(10));
    pit.device.write(3, 1, 0xc4);
    expect(pit.device.read(1, 1)).toBe(0x80 | 0x30 | (3 << 1));
    expect(read16(pit, 1)).toBe(980);
  });

  it('read-back latches only the counters selected', () => {
    const { pit, clock } = setup();
    program(pit, 0, 2, 1000);
    program(pit, 1, 2, 1000);
    pit.device.write(3, 1, 0xd0 | 2);
    clock.advance(ticks(100));
    expect(read16(pit, 0)).toBe(1000);
    expect(read16(pit, 1)).toBe(900);
  });

  it('shows NULL COUNT between the control word and the count', () => {
    const { pit } = setup();
    pit.device.write(3, 1, 0x34);
    expect(status(pit, 0)).toBe(0x80 | 0x40 | 0x34);
    pit.device.write(0, 1, 0);
    pit.device.write(0, 1, 1);
    expect(status(pit, 0)).toBe(0x80 | 0x34);
  });

  it('counts in BCD when told to', () => {
    const { pit, clock } = setup();
    program(pit, 1, 2, 0x1000, 1);
    clock.advance(ticks(1));
    expect(latch16(pit, 1)).toBe(0x0999);
    program(pit, 1, 0, 0, 1);
    clock.advance(ticks(1));
    expect(latch16(pit, 1)).toBe(0x9999);
  });

  it('accesses one byte only in LSB and MSB modes, clearing the other', () => {
    const { pit } = setup();
    pit.device.write(3, 1, 0x54);
    pit.device.write(1, 1, 0x80);
    expect([pit.device.read(1, 1), pit.device.read(1, 1)]).toEqual([0x80, 0x80]);
    pit.device.write(3, 1, 0x64);
    pit.device.write(1, 1, 0x12);
    expect(pit.device.read(1, 1)).toBe(0x12);
    expect(latch16(pit, 1) & 0xff).toBe(0x12);
  });

  it('treats modes 6 and 7 as 2 and 3, and 0 as 65536', () => {
    const { pit, clock } = setup();
    program(pit, 1, 6, 0);
    expect((status(pit, 1) >> 1) & 7).toBe(2);
    clock.advance(ticks(1));
    expect(latch16(pit, 1)).toBe(0xffff);
  });

  it('the control word register cannot be read', () => {
    expect(setup().pit.device.read(3, 1)).toBe(0xff);
  });
});

describe('8254 gate of counter 2 and port 0x61', () => {
  it('mode 0 as calibration uses it: OUT2 appears in bit 5 when the count is done', () => {
    const { pit, clock } = setup();
    gate2(pit, true);
    program(pit, 2, 0, 11932);
    clock.advance(ticks(11931));
    expect(out2(pit)).toBe(0);
    clock.advance(ticks(1));
    expect(out2(pit)).toBe(1);
  });

  it('mode 0: a closed gate holds the count', () => {
    const { pit, clock } = setup();
    gate2(pit, true);
    program(pit, 2, 0, 1000);
    clock.advance(ticks(100));
    gate2(pit, false);
    clock.advance(ticks(5000));
    expect(latch16(pit, 2)).toBe(900);
    gate2(pit, true);
    clock.advance(ticks(100));
    expect(latch16(pit, 2)).toBe(800);
  });

  it('mode 1: a gate edge starts a pulse and restarts it', () => {
    const { pit, clock } = setup();
    program(pit, 2, 1, 1000);
    expect(out2(pit)).toBe(1);
    gate2(pit, true);
    clock.advance(ticks(600));
    expect(out2(pit)).toBe(0);
    gate2(pit, false);
    gate2(pit, true);
    clock.advance(ticks(600));
    expect(out2(pit)).toBe(0);
    clock.advance(ticks(401));
    expect(out2(pit)).toBe(1);
  });

  it('mode 2: OUT is high while the gate is closed; opening it reloads', () => {
    const { pit, clock } = setup();
    gate2(pit, true);
    program(pit, 2, 2, 100);
    clock.advance(ticks(99));
    expect(out2(pit)).toBe(0);
    gate2(pit, false);
    expect(out2(pit)).toBe(1);
    gate2(pit, true);
    expect(latch16(pit, 2)).toBe(100);
  });

  it('mode 3: OUT is high for (n + 1) / 2 ticks of an odd count', () => {
    const { pit, clock } = setup();
    gate2(pit, true);
    program(pit, 2, 3, 5);
    const seen: number[] = [];
    clock.advance(NS_PER_TICK / 2);
    for (let i = 0; i < 10; i++) {
      seen.push(out2(pit));
      clock.advance(NS_PER_TICK);
    }
    expect(seen).toEqual([1, 1, 1, 0, 0, 1, 1, 1, 0, 0]);
  });

  it('mode 5: a gate edge makes one strobe after the count', () => {
    const { pit, clock } = setup();
    program(pit, 2, 5, 3);
    gate2(pit, true);
    clock.advance(NS_PER_TICK / 2);
    const seen: number[] = [];
    for (let i = 0; i < 6; i++) {
      seen.push(out2(pit));
      clock.advance(NS_PER_TICK);
    }
    expect(seen).toEqual([1, 1, 1, 0, 1, 1]);
  });

  it('port 0x61: bits 3–0 read back, bit 4 toggles with refresh, bits 7–6 read 0', () => {
    const { pit, clock } = setup();
    pit.systemControl.write(0, 1, 0xff);
    expect(pit.systemControl.read(0, 1) & 0xcf).toBe(0x0f);
    const first = pit.systemControl.read(0, 1) & 0x10;
    clock.advance(15_085);
    expect(pit.systemControl.read(0, 1) & 0x10).not.toBe(first);
  });
});

describe('8254 missed ticks', () => {
  it('drives coalesced and overslept ticks one by one as the guest acknowledges', () => {
    const { pit, clock, edges, result } = setup(true);
    program(pit, 0, 2, 1193);
    edges.length = 0;
    result.value = 1;
    clock.oversleep(ticks(1193 * 5));
    expect(edges).toHaveLength(1);
    for (let i = 0; i < 10; i++) pit.acknowledged();
    expect(edges).toHaveLength(5);
    result.value = 0;
    clock.advance(ticks(1193));
    result.value = 1;
    pit.acknowledged();
    pit.acknowledged();
    expect(edges).toHaveLength(7);
  });

  it('keeps at most 256', () => {
    const { pit, clock, edges, result } = setup(true);
    program(pit, 0, 2, 1193);
    result.value = 1;
    clock.oversleep(3600e9);
    edges.length = 0;
    for (let i = 0; i < 1000; i++) pit.acknowledged();
    expect(edges).toHaveLength(256);
  });

  it('does not owe ticks that nobody could take', () => {
    const { pit, clock, edges, result } = setup(true);
    program(pit, 0, 2, 1193);
    result.value = -1;
    clock.advance(1e8);
    edges.length = 0;
    pit.acknowledged();
    expect(edges).toHaveLength(0);
  });

  it('a counter of one tick cannot flood the host with timers', () => {
    const { pit, clock, edges } = setup();
    program(pit, 0, 2, 1);
    edges.length = 0;
    clock.advance(1e8);
    expect(edges.length).toBeLessThanOrEqual(500);
    expect(clock.timers.size).toBe(1);
  });
});

describe('8254 saved state', () => {
  it('continues after restore on another clock: same count, next edge after the same time', () => {
    const { pit, clock } = setup();
    program(pit, 0, 2, 11932);
    clock.advance(ticks(5000));
    const image = pit.save();
    const count = latch16(pit, 0);
    const other = setup();
    other.clock.now = 77e9;
    other.pit.restore(image);
    expect(latch16(other.pit, 0)).toBe(count);
    other.edges.length = 0;
    other.clock.advance(ticks(6933));
    expect(other.edges).toHaveLength(1);
    other.pit[Symbol.dispose]();
    expect(other.clock.timers.size).toBe(0);
  });

  it.each([
    ['a mode above 5', PIT_LAYOUT.offset.mode, 6],
    ['an access width of 0', PIT_LAYOUT.offset.access, 0],
    ['a closed gate 0', PIT_LAYOUT.offset.gate, 0],
    ['a count that is not a number', PIT_LAYOUT.offset.startNs + 7, 0x7f],
  ])('refuses %s', (_, offset, value) => {
    const { pit } = setup();
    program(pit, 0, 2, 100);
    const image = pit.save().with(24 + offset, value);
    const broken = offset === PIT_LAYOUT.offset.startNs + 7 ? image.with(24 + offset - 1, 0xf8) : image;
    expect(() => pit.restore(broken)).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_STATE' }));
  });
});

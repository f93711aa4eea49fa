import { describe, expect, it } from 'vitest';
import { createRandom, createSlot, createTestClock, createTestLine, hammer } from '../testing/harness.ts';
import { createRtc } from './device.ts';
import * as R from './registers.ts';
import { rtcLayout } from './state.ts';

const SECOND = 1_000_000_000;
/** Friday 2026-11-20 23:59:58.25 UTC. */
const FRIDAY_NIGHT = BigInt(Date.UTC(2026, 10, 20, 23, 59, 58)) * 1_000_000n + 250_000_000n;
const MIB = 1024 * 1024;

function setup(realtimeNs = FRIDAY_NIGHT, memoryBelow4G = 512 * MIB, memoryAbove4G = 0) {
  const clock = createTestClock({ realtimeNs });
  const irq = createTestLine();
  const nmi: boolean[] = [];
  const state = createSlot(rtcLayout.size);
  const rtc = createRtc({
    state,
    clock,
    irq,
    machine: { memoryBelow4G, memoryAbove4G },
    onNmiMask: (masked) => nmi.push(masked),
  });
  const r = (index: number): number => {
    rtc.io.write(R.INDEX_PORT, 1, index);
    return rtc.io.read(R.DATA_PORT, 1);
  };
  const w = (index: number, value: number): void => {
    rtc.io.write(R.INDEX_PORT, 1, index);
    rtc.io.write(R.DATA_PORT, 1, value);
  };
  const time = (): number[] => [R.CENTURY, R.YEAR, R.MONTH, R.DAY_OF_MONTH, R.HOURS, R.MINUTES, R.SECONDS].map(r);
  return { clock, irq, nmi, state, rtc, r, w, time };
}

describe('MC146818A time', () => {
  it('starts with the host clock, BCD, 24 hours, Sunday = 1', () => {
    const { r, time } = setup();
    expect(time()).toEqual([0x20, 0x26, 0x11, 0x20, 0x23, 0x59, 0x58]);
    expect(r(R.DAY_OF_WEEK)).toBe(6);
  });

  it('carries through midnight, and through the end of a leap February and of a century', () => {
    const { clock, r, w, time } = setup();
    clock.advance(2 * SECOND);
    expect(time()).toEqual([0x20, 0x26, 0x11, 0x21, 0, 0, 0]);
    expect(r(R.DAY_OF_WEEK)).toBe(7);
    for (const [date, next] of [
      [
        [0x20, 0x28, 0x02, 0x28, 0x23, 0x59, 0x59],
        [0x20, 0x28, 0x02, 0x29, 0, 0, 0],
      ],
      [
        [0x20, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59],
        [0x21, 0x00, 0x01, 0x01, 0, 0, 0],
      ],
    ]) {
      const registers = [R.CENTURY, R.YEAR, R.MONTH, R.DAY_OF_MONTH, R.HOURS, R.MINUTES, R.SECONDS];
      w(R.REGISTER_B, R.B_SET | R.B_24H);
      for (const [i, register] of registers.entries()) w(register, date[i]);
      w(R.REGISTER_B, R.B_24H);
      clock.advance(SECOND);
      expect(time()).toEqual(next);
    }
  });

  it('DM chooses binary, and 24/12 the hour format with PM in bit 7 (register B)', () => {
    const { r, w, clock } = setup();
    w(R.REGISTER_B, R.B_DM | R.B_24H);
    expect([r(R.YEAR), r(R.HOURS), r(R.CENTURY)]).toEqual([26, 23, 20]);
    w(R.REGISTER_B, 0);
    expect(r(R.HOURS)).toBe(0x11 | R.HOURS_PM);
    w(R.REGISTER_B, R.B_DM);
    clock.advance(2 * SECOND);
    expect(r(R.HOURS)).toBe(12);
    clock.advance(12 * 3600 * SECOND);
    expect(r(R.HOURS)).toBe(12 | R.HOURS_PM);
  });

  it('SET freezes the registers; clearing it starts from what they hold, in the phase of the divider', () => {
    const { r, w, clock } = setup();
    w(R.REGISTER_B, R.B_SET | R.B_24H);
    clock.advance(10 * SECOND);
    expect(r(R.SECONDS)).toBe(0x58);
    w(R.SECONDS, 0x30);
    w(R.HOURS, 0x12);
    w(R.REGISTER_B, R.B_24H);
    clock.advance(0.74 * SECOND);
    expect([r(R.HOURS), r(R.SECONDS)]).toEqual([0x12, 0x30]);
    clock.advance(0.02 * SECOND);
    expect(r(R.SECONDS)).toBe(0x31);
  });

  it('after the divider is released the first update comes half a second later (divider control)', () => {
    const { r, w, clock } = setup();
    w(R.REGISTER_A, 0x76);
    w(R.SECONDS, 0x10);
    clock.advance(5 * SECOND);
    w(R.REGISTER_A, 0x26);
    clock.advance(0.49 * SECOND);
    expect(r(R.SECONDS)).toBe(0x10);
    clock.advance(0.02 * SECOND);
    expect(r(R.SECONDS)).toBe(0x11);
  });

  it('a time register written while the clock runs changes only that part of the time', () => {
    const { w, time, clock } = setup();
    w(R.MINUTES, 0x10);
    expect(time()).toEqual([0x20, 0x26, 0x11, 0x20, 0x23, 0x10, 0x58]);
    clock.advance(60 * SECOND);
    expect(time()).toEqual([0x20, 0x26, 0x11, 0x20, 0x23, 0x11, 0x58]);
  });

  it('UIP is set in the last 2.2 ms before each update, never while SET is', () => {
    const { r, w, clock } = setup();
    expect(r(R.REGISTER_A)).toBe(0x26);
    clock.advance(0.7475 * SECOND);
    expect(r(R.REGISTER_A)).toBe(0x26);
    clock.advance(0.001 * SECOND);
    expect(r(R.REGISTER_A)).toBe(0xa6);
    w(R.REGISTER_B, R.B_SET | R.B_24H);
    expect(r(R.REGISTER_A)).toBe(0x26);
    w(R.REGISTER_B, R.B_24H);
    clock.advance(0.0016 * SECOND);
    expect(r(R.REGISTER_A)).toBe(0x26);
  });
});

describe('MC146818A interrupts', () => {
  it('update-ended: every second, one line level until register C is read', () => {
    const { r, w, clock, irq } = setup();
    w(R.REGISTER_B, R.B_UIE | R.B_24H);
    clock.advance(0.7 * SECOND);
    expect(irq.level()).toBe(0);
    clock.advance(0.1 * SECOND);
    expect(irq.level()).toBe(1);
    expect(r(R.REGISTER_C) & ~R.C_PF).toBe(R.C_IRQF | R.C_UF);
    expect([irq.level(), r(R.REGISTER_C)]).toEqual([0, 0]);
    clock.advance(SECOND);
    expect(irq.edges()).toBe(2);
    clock.advance(10 * SECOND);
    expect(irq.edges()).toBe(2);
  });

  it.each([
    [6, 1024],
    [15, 2],
    [1, 256],
    [2, 128],
    [3, 8192],
  ])('periodic: rate %i is %i Hz (table 5)', (rate, hz) => {
    const { r, w, clock, irq } = setup();
    w(R.REGISTER_A, R.A_DIVIDER_32KHZ | rate);
    w(R.REGISTER_B, R.B_PIE | R.B_24H);
    const step = SECOND / 32_768;
    let seen = 0;
    for (let i = 0; i < 32_768; i++) {
      clock.advance(step);
      if (irq.level() === 1) {
        seen++;
        r(R.REGISTER_C);
      }
    }
    expect(Math.abs(seen - hz)).toBeLessThanOrEqual(1);
  });

  it('rate 0 gives no periodic interrupt and runs no timer', () => {
    const { w, clock } = setup();
    w(R.REGISTER_A, R.A_DIVIDER_32KHZ);
    w(R.REGISTER_B, R.B_PIE | R.B_24H);
    expect(clock.timers()).toBe(0);
  });

  it('alarm: at its time of day, with C0h and above for any (alarm bytes)', () => {
    const { r, w, clock, irq } = setup();
    w(R.SECONDS_ALARM, 0x05);
    w(R.MINUTES_ALARM, 0x00);
    w(R.HOURS_ALARM, 0xff);
    w(R.REGISTER_B, R.B_AIE | R.B_24H);
    clock.advance(6 * SECOND);
    expect(irq.level()).toBe(0);
    clock.advance(SECOND);
    expect(irq.level()).toBe(1);
    expect(r(R.REGISTER_C) & (R.C_IRQF | R.C_AF)).toBe(R.C_IRQF | R.C_AF);
    clock.advance(3599 * SECOND);
    expect(irq.level()).toBe(0);
    clock.advance(SECOND);
    expect(irq.edges()).toBe(2);
  });

  it('flags appear without their enables, without IRQF and without the line (register C)', () => {
    const { r, clock, irq } = setup();
    r(R.REGISTER_C);
    clock.advance(SECOND);
    expect([r(R.REGISTER_C), irq.edges(), clock.timers()]).toEqual([R.C_PF | R.C_UF, 0, 0]);
    clock.advance(3 * 86_400 * SECOND);
    expect(r(R.REGISTER_C)).toBe(R.C_PF | R.C_UF | R.C_AF);
  });

  it('enabling an interrupt whose flag is up raises the line at once; SET going high clears UIE', () => {
    const { r, w, clock, irq } = setup();
    clock.advance(SECOND);
    w(R.REGISTER_B, R.B_UIE | R.B_24H);
    expect(irq.level()).toBe(1);
    w(R.REGISTER_B, R.B_SET | R.B_UIE | R.B_24H);
    expect([irq.level(), r(R.REGISTER_B)]).toEqual([0, R.B_SET | R.B_24H]);
  });
});

describe('CMOS RAM', () => {
  it('registers C and D are read-only, D says that RAM and time are valid', () => {
    const { r, w } = setup();
    w(R.REGISTER_D, 0);
    w(R.REGISTER_C, 0xff);
    expect([r(R.REGISTER_D), r(R.REGISTER_C)]).toEqual([R.D_VRT, 0]);
  });

  it('keeps bytes in both banks apart', () => {
    const { r, w, rtc } = setup();
    w(0x40, 0xaa);
    rtc.io.write(R.EXTENDED_INDEX_PORT, 1, 0x40);
    rtc.io.write(R.EXTENDED_DATA_PORT, 1, 0xbb);
    expect([r(0x40), rtc.io.read(R.EXTENDED_DATA_PORT, 1), rtc.io.read(R.EXTENDED_INDEX_PORT, 1)]).toEqual([0xaa, 0xbb, 0x40]);
  });

  it('a word written to the index port reaches index, then data', () => {
    const { rtc, r } = setup();
    rtc.io.write(R.INDEX_PORT, 2, 0x5541);
    expect(r(0x41)).toBe(0x55);
  });

  it('bit 7 of the index port masks NMIs and is no part of the index; the port reads as ones', () => {
    const { rtc, nmi } = setup();
    rtc.io.write(R.INDEX_PORT, 1, 0x8d);
    rtc.io.write(R.INDEX_PORT, 1, 0x0d);
    expect(nmi).toEqual([true, false]);
    expect([rtc.io.read(R.DATA_PORT, 1), rtc.io.read(R.INDEX_PORT, 1)]).toEqual([R.D_VRT, 0xff]);
  });

  it.each([
    [8 * MIB, 0, 7 * 1024, 0, 0],
    [512 * MIB, 0, 0xffff, (496 * MIB) / 65_536, 0],
    [3072 * MIB, 5120 * MIB, 0xffff, (3056 * MIB) / 65_536, (5120 * MIB) / 65_536],
  ])('describes %i bytes below and %i above 4 GiB', (below, above, extendedKb, above16M, above4G) => {
    const { r } = setup(FRIDAY_NIGHT, below, above);
    const word = (cell: number): number => r(cell) | (r(cell + 1) << 8);
    expect(word(R.BASE_MEMORY_KB)).toBe(640);
    expect([word(R.EXTENDED_MEMORY_KB), word(R.EXTENDED_MEMORY_KB_FOUND)]).toEqual([extendedKb, extendedKb]);
    expect(word(R.MEMORY_ABOVE_16M)).toBe(above16M);
    expect(word(R.MEMORY_ABOVE_4G) | (r(R.MEMORY_ABOVE_4G + 2) << 16)).toBe(above4G);
    let sum = 0;
    for (let cell = 0x10; cell <= 0x2d; cell++) sum += r(cell);
    expect((r(R.CHECKSUM) << 8) | r(R.CHECKSUM + 1)).toBe(sum);
  });
});

describe('MC146818A state', () => {
  it('save, restore, continue: set time, alarm and pending flags go on elsewhere', () => {
    const a = setup();
    a.w(R.HOURS, 0x10);
    a.w(R.SECONDS_ALARM, 0x03);
    a.w(R.MINUTES_ALARM, 0xff);
    a.w(R.HOURS_ALARM, 0xff);
    a.w(R.REGISTER_B, R.B_AIE | R.B_24H);
    const saved = a.rtc.save();
    const b = setup();
    b.rtc.restore(saved);
    expect([...b.rtc.save()]).toEqual([...saved]);
    b.clock.advance(4.8 * SECOND);
    expect([b.irq.level(), b.r(R.HOURS), b.r(R.SECONDS)]).toEqual([1, 0x11, 0x03]);
  });

  it('refuses impossible state', () => {
    const { rtc } = setup();
    const broken = rtc.save();
    new DataView(broken.buffer).setFloat64(16 + rtcLayout.offset.offsetSeconds, Number.NaN, true);
    expect(() => rtc.restore(broken)).toThrow(expect.objectContaining({ code: 'DEVICES_PC_BAD_STATE' }));
    expect(() => rtc.restore(null)).toThrow(expect.objectContaining({ code: 'DEVICES_PC_BAD_STATE' }));
  });

  it('survives a hostile guest, and whatever it left can be saved and restored', () => {
    const { rtc, clock, state } = setup();
    const random = createRandom(11);
    for (let i = 0; i < 100; i++) {
      hammer(rtc.io, R.PORT_COUNT, 100, random);
      clock.advance(random(2_000_000_000));
    }
    rtc.restore(rtc.save());
    const all = new Uint8Array(state.buffer);
    expect(all.subarray(0, 64).every((byte) => byte === 0)).toBe(true);
  });
});

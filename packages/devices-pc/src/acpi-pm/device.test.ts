import { describe, expect, it } from 'vitest';
import { createRandom, createSlot, createTestClock, createTestLine, hammer } from '../testing/harness.ts';
import { createAcpiPm } from './device.ts';
import * as R from './registers.ts';
import { acpiPmLayout } from './state.ts';

const SECOND = 1_000_000_000;

function setup(timerBits: 24 | 32 = 32, monotonicNs = 5 * SECOND) {
  const clock = createTestClock({ monotonicNs });
  const sci = createTestLine();
  const events: string[] = [];
  const pm = createAcpiPm({
    state: createSlot(acpiPmLayout.size),
    clock,
    sci,
    timerBits,
    onPowerOff: () => events.push('off'),
    onReset: (powerCycle) => events.push(powerCycle ? 'cycle' : 'reset'),
  });
  const status = (): number => pm.event.read(R.PM1_STS, 2);
  const enable = (bits: number): void => pm.event.write(R.PM1_EN, 2, bits);
  const timer = (): number => pm.timer.read(0, 4);
  return { clock, sci, events, pm, status, enable, timer };
}

describe('PM timer', () => {
  it('counts at 3.579545 MHz from power-on', () => {
    const { clock, timer } = setup();
    expect(timer()).toBe(0);
    clock.advance(SECOND / 2);
    expect(timer()).toBe(1_789_772);
    clock.advance(SECOND / 2);
    expect(timer()).toBe(R.PM_TIMER_HZ);
  });

  it.each([
    [24, 2 ** 24],
    [32, 2 ** 32],
  ] as const)('with %i bits wraps at %i and keeps its rate over days', (bits, modulus) => {
    const { clock, timer } = setup(bits);
    clock.advance(3 * 86_400 * SECOND);
    expect(timer()).toBe((3 * 86_400 * R.PM_TIMER_HZ) % modulus);
  });

  it('is read-only, and narrower reads give its bytes', () => {
    const { clock, pm, timer } = setup();
    clock.advance(20 * SECOND);
    const value = timer();
    pm.timer.write(0, 4, 0);
    expect(timer()).toBe(value);
    expect([pm.timer.read(0, 1), pm.timer.read(2, 2)]).toEqual([value & 0xff, value >>> 16]);
  });

  it('sets TMR_STS when its top bit changes, with an SCI where enabled (ACPI 6.4 §4.8.3.3)', () => {
    const { clock, sci, status, enable, pm } = setup(24);
    clock.advance(2.34 * SECOND);
    expect(status()).toBe(0);
    clock.advance(0.01 * SECOND);
    expect(status()).toBe(R.TMR_STS);
    pm.event.write(R.PM1_STS, 2, R.TMR_STS);
    enable(R.TMR_STS);
    expect(sci.level()).toBe(0);
    clock.advance(2.35 * SECOND);
    expect(sci.level()).toBe(1);
    pm.event.write(R.PM1_STS, 2, R.TMR_STS);
    expect(sci.level()).toBe(0);
    clock.advance(2.35 * SECOND);
    expect(sci.edges()).toBe(2);
  });
});

describe('PM1 event registers', () => {
  it('the power button raises the SCI while enabled, until its status is cleared by writing one', () => {
    const { pm, sci, status, enable } = setup();
    pm.pressPowerButton();
    expect([status(), sci.level()]).toEqual([R.PWRBTN_STS, 0]);
    enable(R.PWRBTN_STS);
    expect(sci.level()).toBe(1);
    pm.event.write(R.PM1_STS, 2, R.TMR_STS);
    expect(sci.level()).toBe(1);
    pm.event.write(R.PM1_STS, 2, R.PWRBTN_STS);
    expect([status(), sci.level()]).toEqual([0, 0]);
  });

  it('can be reached by bytes and as one doubleword', () => {
    const { pm } = setup();
    pm.event.write(R.PM1_EN + 1, 1, 0x01);
    pm.event.write(R.PM1_EN, 1, 0x21);
    pm.pressPowerButton();
    expect(pm.event.read(0, 4)).toBe(0x0121_0100);
    pm.event.write(1, 1, 0x01);
    expect(pm.event.read(0, 4)).toBe(0x0121_0000);
  });

  it('enable bits without an event stay zero', () => {
    const { pm, enable } = setup();
    enable(0xffff);
    expect(pm.event.read(R.PM1_EN, 2)).toBe(R.EN_MASK);
  });
});

describe('PM1 control register', () => {
  it('SCI_EN reads as one whatever is written: there is no legacy mode (§4.8.2.5)', () => {
    const { pm } = setup();
    pm.control.write(0, 2, 0);
    expect(pm.control.read(0, 2)).toBe(R.SCI_EN);
  });

  it('SLP_EN with the type of S5 powers off, as a word or by its high byte; SLP_EN reads as zero', () => {
    const { pm, events } = setup();
    const value = (R.SLP_TYP_S5 << R.SLP_TYP_SHIFT) | R.SCI_EN;
    pm.control.write(0, 2, value);
    expect([pm.control.read(0, 2), events.length]).toEqual([value, 0]);
    pm.control.write(0, 2, value | R.SLP_EN);
    expect([pm.control.read(0, 2), events]).toEqual([value, ['off']]);
    pm.control.write(1, 1, (value | R.SLP_EN) >> 8);
    expect(events).toEqual(['off', 'off']);
  });

  it('SLP_EN with another type does nothing', () => {
    const { pm, events } = setup();
    for (let type = 0; type < 8; type++) if (type !== R.SLP_TYP_S5) pm.control.write(0, 2, (type << R.SLP_TYP_SHIFT) | R.SLP_EN);
    expect(events).toEqual([]);
  });
});

describe('reset control register', () => {
  it('resets when bit 2 rises, by a power cycle with bit 3', () => {
    const { pm, events } = setup();
    pm.resetControl.write(0, 1, 0x02);
    expect(events).toEqual([]);
    pm.resetControl.write(0, 1, 0x06);
    pm.resetControl.write(0, 1, 0x06);
    expect(events).toEqual(['reset']);
    pm.resetControl.write(0, 1, 0x0a);
    pm.resetControl.write(0, 1, 0x0e);
    expect([events, pm.resetControl.read(0, 1)]).toEqual([['reset', 'cycle'], 0x0e]);
  });

  it('resets on the value the FADT gives, whatever the register held at power-on', () => {
    const { pm, events } = setup();
    pm.resetControl.write(0, 1, R.RESET_VALUE);
    expect(events).toEqual(['reset']);
  });
});

describe('ACPI fixed hardware state', () => {
  it('save, restore, continue: the timer goes on from its count under another clock', () => {
    const a = setup();
    a.clock.advance(1.5 * SECOND);
    a.enable(R.PWRBTN_STS);
    a.pm.pressPowerButton();
    const before = a.timer();
    const saved = a.pm.save();
    expect(a.timer()).toBe(before);
    const b = setup(32, 77 * SECOND);
    b.clock.advance(9 * SECOND);
    b.pm.restore(saved);
    expect([b.timer(), b.sci.level(), b.status()]).toEqual([before, 1, R.PWRBTN_STS]);
    expect([...b.pm.save()]).toEqual([...saved]);
    b.clock.advance(SECOND);
    expect(b.timer()).toBe(before + R.PM_TIMER_HZ);
  });

  it('refuses impossible counts', () => {
    const { pm } = setup();
    for (const value of [Number.NaN, -1, 0.5, 2 ** 60]) {
      const broken = pm.save();
      new DataView(broken.buffer).setFloat64(16 + acpiPmLayout.offset.baseTicks, value, true);
      expect(() => pm.restore(broken)).toThrow(expect.objectContaining({ code: 'DEVICES_PC_BAD_STATE' }));
    }
  });

  it('survives a hostile guest', () => {
    const { pm, clock } = setup(24);
    const random = createRandom(5);
    for (let i = 0; i < 200; i++) {
      hammer(pm.event, R.PM1_EVT_LEN, 20, random);
      hammer(pm.control, R.PM1_CNT_LEN, 20, random);
      hammer(pm.timer, R.PM_TMR_LEN, 20, random);
      hammer(pm.resetControl, 1, 20, random);
      clock.advance(random(SECOND));
    }
    pm.restore(pm.save());
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ApicBus } from './apic-bus.ts';
import { createApicBus } from './apic-bus.ts';
import type { LocalApic } from './lapic.ts';
import { createLocalApic } from './lapic.ts';
import * as R from './lapic-registers.ts';
import { place, TestClock } from './testing/clock.ts';

type Bench = { lapic: LocalApic; clock: TestClock; events: () => number; eois: [number, boolean][]; bus: ApicBus };

function setup(
  options: { id?: number; enable?: boolean; tscOffsetNs?: number; tscDeadline?: boolean; x2apic?: boolean } = {},
): Bench {
  const clock = new TestClock();
  const eois: [number, boolean][] = [];
  const bus = createApicBus({ onEoi: (vector, level) => eois.push([vector, level]) });
  let events = 0;
  const lapic = createLocalApic({
    state: place(R.LAPIC_LAYOUT.size),
    id: options.id ?? 0,
    clock,
    tsc: { deadlineNs: (lo, hi) => hi * 2 ** 32 + lo + (options.tscOffsetNs ?? 0) },
    bus,
    onEvent: () => events++,
    tscDeadline: options.tscDeadline ?? true,
    x2apic: options.x2apic ?? true,
  });
  bus.attach(lapic);
  if (options.enable !== false) write(lapic, R.APIC_SVR, 0x1ff);
  events = 0;
  return { lapic, clock, events: () => events, eois, bus };
}

const write = (lapic: LocalApic, register: number, value: number): void => lapic.device.write(register, 4, value);
const read = (lapic: LocalApic, register: number): number => lapic.device.read(register, 4);
const rdmsr = (lapic: LocalApic, index: number): number | undefined => {
  const value = { lo: 0, hi: 0 };
  return lapic.readMsr(index, value) ? value.hi * 2 ** 32 + value.lo : undefined;
};
const enterX2apic = (lapic: LocalApic): void => {
  expect(lapic.writeMsr(R.MSR_APIC_BASE, 0xfee00d00, 0)).toBe(true);
};
const fixed = (lapic: LocalApic, vector: number, level = false): number => lapic.accept(R.DELIVERY_FIXED, vector, level);

describe('local APIC after reset (SDM vol. 3 §12.4.7.1)', () => {
  it('has version 0x14 with six LVT entries, SVR 0xff, DFR all ones, entries masked', () => {
    const { lapic } = setup({ id: 3, enable: false });
    expect(read(lapic, R.APIC_VERSION)).toBe(0x50014);
    expect(read(lapic, R.APIC_SVR)).toBe(0xff);
    expect(read(lapic, R.APIC_DFR)).toBe(0xffffffff);
    expect(read(lapic, R.APIC_ID)).toBe(3 << 24);
    for (let lvt = R.APIC_LVT_TIMER; lvt <= R.APIC_LVT_ERROR; lvt += 16) expect(read(lapic, lvt)).toBe(0x10000);
    expect(rdmsr(lapic, R.MSR_APIC_BASE)).toBe(0xfee00800);
  });

  it('leaves the boot processor in virtual wire mode: LINT0 is ExtINT and open', () => {
    const { lapic } = setup({ enable: false });
    expect(read(lapic, R.APIC_LVT_LINT0)).toBe(0x700);
    expect(lapic.acceptsPicInterrupts()).toBe(true);
    expect(rdmsr(lapic, R.MSR_APIC_BASE)).toBe(0xfee00900);
    expect(setup({ id: 1, enable: false }).lapic.acceptsPicInterrupts()).toBe(false);
  });

  it('INIT resets all but IA32_APIC_BASE and the ID (§12.4.7.3)', () => {
    const { lapic } = setup();
    write(lapic, R.APIC_ID, 5 << 24);
    fixed(lapic, 0x40);
    lapic.init();
    expect(lapic.hasInterrupt()).toBe(false);
    expect(read(lapic, R.APIC_SVR)).toBe(0xff);
    expect(read(lapic, R.APIC_ID)).toBe(5 << 24);
  });
});

describe('local APIC acceptance and dispensing (SDM vol. 3 §12.8)', () => {
  it('moves the highest vector from IRR to ISR and back to idle with EOI', () => {
    const { lapic, events, eois } = setup();
    expect(fixed(lapic, 0x31)).toBe(1);
    expect(fixed(lapic, 0x82)).toBe(1);
    expect(events()).toBe(2);
    expect(lapic.acknowledge()).toBe(0x82);
    expect(read(lapic, R.APIC_ISR + 0x40)).toBe(4);
    expect(read(lapic, R.APIC_PPR)).toBe(0x80);
    expect(lapic.hasInterrupt()).toBe(false);
    write(lapic, R.APIC_EOI, 0);
    expect(eois).toEqual([[0x82, false]]);
    expect(lapic.acknowledge()).toBe(0x31);
    expect(lapic.acknowledge()).toBe(-1);
  });

  it('coalesces a vector that is requested already and queues one behind the one in service', () => {
    const { lapic } = setup();
    expect(fixed(lapic, 0x50)).toBe(1);
    expect(fixed(lapic, 0x50)).toBe(0);
    lapic.acknowledge();
    expect(fixed(lapic, 0x50)).toBe(1);
    lapic.eoi();
    expect(lapic.acknowledge()).toBe(0x50);
  });

  it('holds vectors of the class of TPR or below, and dispenses them when CR8 falls', () => {
    const { lapic, events } = setup();
    lapic.cr8 = 5;
    expect(read(lapic, R.APIC_TPR)).toBe(0x50);
    fixed(lapic, 0x5f);
    expect(lapic.hasInterrupt()).toBe(false);
    const before = events();
    lapic.cr8 = 4;
    expect(events()).toBe(before + 1);
    expect(lapic.acknowledge()).toBe(0x5f);
  });

  it('broadcasts the EOI of a level-triggered vector as such (TMR)', () => {
    const { lapic, eois } = setup();
    fixed(lapic, 0x60, true);
    expect(read(lapic, R.APIC_TMR + 0x30)).toBe(1);
    lapic.acknowledge();
    lapic.eoi();
    fixed(lapic, 0x60, false);
    lapic.acknowledge();
    lapic.eoi();
    expect(eois).toEqual([
      [0x60, true],
      [0x60, false],
    ]);
  });

  it('ignores an EOI with nothing in service', () => {
    const { lapic, eois } = setup();
    write(lapic, R.APIC_EOI, 0);
    expect(eois).toEqual([]);
  });

  it('accepts nothing while disabled by software but keeps what it had (§12.4.7.2)', () => {
    const { lapic } = setup();
    fixed(lapic, 0x40);
    write(lapic, R.APIC_SVR, 0xff);
    expect(fixed(lapic, 0x41)).toBe(-1);
    expect(lapic.acknowledge()).toBe(0x40);
    expect(lapic.accept(R.DELIVERY_NMI, 0, false)).toBe(1);
  });

  it('masks every LVT entry while disabled by software and refuses to unmask', () => {
    const { lapic } = setup();
    write(lapic, R.APIC_LVT_ERROR, 0xfe);
    write(lapic, R.APIC_SVR, 0xff);
    expect(read(lapic, R.APIC_LVT_ERROR)).toBe(0x100fe);
    write(lapic, R.APIC_LVT_ERROR, 0xfd);
    expect(read(lapic, R.APIC_LVT_ERROR)).toBe(0x100fd);
  });

  it('property: dispenses by priority class, never one at or below the class in service, and each vector once', () => {
    const vector = fc.integer({ min: 16, max: 255 });
    fc.assert(
      fc.property(
        fc.array(fc.oneof(vector, fc.constant('eoi' as const), fc.constant('ack' as const)), { maxLength: 120 }),
        (steps) => {
          const { lapic } = setup();
          const irr = new Set<number>();
          const isr: number[] = [];
          for (const step of steps) {
            if (step === 'eoi') {
              lapic.eoi();
              isr.pop();
            } else if (step === 'ack') {
              const best = Math.max(-1, ...irr);
              const want = best >> 4 > (isr.at(-1) ?? 0) >> 4 ? best : -1;
              expect(lapic.hasInterrupt()).toBe(want >= 0);
              expect(lapic.acknowledge()).toBe(want);
              if (want >= 0) {
                irr.delete(want);
                isr.push(want);
              }
            } else {
              expect(fixed(lapic, step)).toBe(irr.has(step) ? 0 : 1);
              irr.add(step);
            }
          }
        },
      ),
    );
  });
});

describe('local APIC timer (SDM vol. 3 §12.5.4)', () => {
  const start = (lapic: LocalApic, lvt: number, divide: number, count: number): void => {
    write(lapic, R.APIC_LVT_TIMER, lvt);
    write(lapic, R.APIC_TDCR, divide);
    write(lapic, R.APIC_TMICT, count);
  };

  it.each([
    [0x0, 2],
    [0x1, 4],
    [0x2, 8],
    [0x3, 16],
    [0x8, 32],
    [0x9, 64],
    [0xa, 128],
    [0xb, 1],
  ])('divide configuration %i counts every %i ns', (tdcr, divisor) => {
    const { lapic, clock } = setup();
    start(lapic, 0x30, tdcr, 10_000);
    clock.advance(divisor * 1000);
    expect(read(lapic, R.APIC_TMCCT)).toBe(9000);
  });

  it('one-shot: fires once at zero and stays there', () => {
    const { lapic, clock } = setup();
    start(lapic, 0x30, 0xb, 1_000_000);
    clock.advance(999_999);
    expect(lapic.hasInterrupt()).toBe(false);
    clock.advance(1);
    expect(lapic.acknowledge()).toBe(0x30);
    lapic.eoi();
    clock.advance(1e9);
    expect(lapic.hasInterrupt()).toBe(false);
    expect(read(lapic, R.APIC_TMCCT)).toBe(0);
    expect(read(lapic, R.APIC_TMICT)).toBe(1_000_000);
  });

  it('periodic: fires every period without drift; periods slept through are one interrupt', () => {
    const { lapic, clock } = setup();
    const begin = clock.now;
    start(lapic, 0x20030, 0xb, 1_000_000);
    let count = 0;
    for (let i = 0; i < 10; i++) {
      clock.advance(1_000_000);
      while (lapic.acknowledge() >= 0) {
        lapic.eoi();
        count++;
      }
    }
    expect(count).toBe(10);
    clock.oversleep(3_500_000);
    expect(lapic.acknowledge()).toBe(0x30);
    lapic.eoi();
    expect(lapic.hasInterrupt()).toBe(false);
    expect([...clock.timers][0].deadlineNs).toBe(begin + 14_000_000);
  });

  it('masked: counts, wraps and stays silent', () => {
    const { lapic, clock } = setup();
    start(lapic, 0x30030, 0xb, 0xffff_ffff);
    clock.advance(1e6);
    expect(read(lapic, R.APIC_TMCCT)).toBe(0xffff_ffff - 1e6);
    clock.advance(5e9);
    expect(lapic.hasInterrupt()).toBe(false);
    expect(read(lapic, R.APIC_TMCCT)).toBeGreaterThan(0);
  });

  it('initial count 0 stops it', () => {
    const { lapic, clock } = setup();
    start(lapic, 0x30, 0xb, 1000);
    write(lapic, R.APIC_TMICT, 0);
    clock.advance(1e9);
    expect(lapic.hasInterrupt()).toBe(false);
    expect(clock.timers.size).toBe(0);
  });

  it('keeps the present count when the divisor changes', () => {
    const { lapic, clock } = setup();
    start(lapic, 0x30, 0xb, 10_000);
    clock.advance(4000);
    write(lapic, R.APIC_TDCR, 0);
    clock.advance(4000);
    expect(read(lapic, R.APIC_TMCCT)).toBe(4000);
  });

  it('a periodic timer of 1 ns cannot flood the host', () => {
    const { lapic, clock, events } = setup();
    start(lapic, 0x20030, 0xb, 1);
    clock.advance(1e8);
    expect(clock.timers.size).toBe(1);
    expect(events()).toBe(1);
  });

  it('TSC deadline: fires when the TSC reaches it, then reads 0', () => {
    const { lapic, clock } = setup({ tscOffsetNs: 500 });
    write(lapic, R.APIC_LVT_TIMER, 0x400ec);
    expect(lapic.writeMsr(R.MSR_TSC_DEADLINE, 2_000_000, 0)).toBe(true);
    expect(rdmsr(lapic, R.MSR_TSC_DEADLINE)).toBe(2_000_000);
    clock.advance(1_000_499);
    expect(lapic.hasInterrupt()).toBe(false);
    clock.advance(1);
    expect(lapic.acknowledge()).toBe(0xec);
    expect(rdmsr(lapic, R.MSR_TSC_DEADLINE)).toBe(0);
  });

  it('TSC deadline: one in the past fires at once, 0 disarms', () => {
    const { lapic, clock } = setup();
    write(lapic, R.APIC_LVT_TIMER, 0x400ec);
    lapic.writeMsr(R.MSR_TSC_DEADLINE, 1, 0);
    expect(lapic.acknowledge()).toBe(0xec);
    lapic.eoi();
    lapic.writeMsr(R.MSR_TSC_DEADLINE, 5_000_000, 0);
    lapic.writeMsr(R.MSR_TSC_DEADLINE, 0, 0);
    clock.advance(1e9);
    expect(lapic.hasInterrupt()).toBe(false);
  });

  it('TSC deadline: ignored in the other modes, and changing mode disarms (§12.5.4.1)', () => {
    const { lapic, clock } = setup();
    lapic.writeMsr(R.MSR_TSC_DEADLINE, 1, 0);
    expect(rdmsr(lapic, R.MSR_TSC_DEADLINE)).toBe(0);
    start(lapic, 0x30, 0xb, 1000);
    write(lapic, R.APIC_LVT_TIMER, 0x40030);
    expect(read(lapic, R.APIC_TMICT)).toBe(0);
    write(lapic, R.APIC_TMICT, 1000);
    expect(read(lapic, R.APIC_TMICT)).toBe(0);
    lapic.writeMsr(R.MSR_TSC_DEADLINE, 0xffff_ffff, 0);
    write(lapic, R.APIC_LVT_TIMER, 0x30);
    clock.advance(1e10);
    expect(lapic.hasInterrupt()).toBe(false);
  });

  it('TSC deadline: #GP without the feature, and the LVT mode bit does not stick', () => {
    const { lapic } = setup({ tscDeadline: false });
    expect(lapic.writeMsr(R.MSR_TSC_DEADLINE, 1, 0)).toBe(false);
    expect(rdmsr(lapic, R.MSR_TSC_DEADLINE)).toBe(undefined);
    write(lapic, R.APIC_LVT_TIMER, 0x400ec);
    expect(read(lapic, R.APIC_LVT_TIMER)).toBe(0xec);
  });
});

describe('local vector table', () => {
  it('LINT1 as NMI delivers on a rising edge', () => {
    const { lapic } = setup();
    write(lapic, R.APIC_LVT_LINT1, 0x400);
    lapic.setLint(1, 1);
    lapic.setLint(1, 1);
    expect(lapic.takeEvent(R.EVENT_NMI)).toBe(true);
    expect(lapic.takeEvent(R.EVENT_NMI)).toBe(false);
  });

  it('a level-triggered LINT asks again after EOI while its pin is high, with remote IRR in between', () => {
    const { lapic } = setup();
    write(lapic, R.APIC_LVT_LINT0, 0x8040);
    lapic.setLint(0, 1);
    expect(read(lapic, R.APIC_LVT_LINT0)).toBe(0xc040);
    expect(lapic.acknowledge()).toBe(0x40);
    lapic.eoi();
    expect(lapic.acknowledge()).toBe(0x40);
    lapic.setLint(0, 0);
    lapic.eoi();
    expect(lapic.hasInterrupt()).toBe(false);
    expect(read(lapic, R.APIC_LVT_LINT0)).toBe(0x8040);
  });

  it('delivers performance and thermal interrupts, the former as NMI when set so', () => {
    const { lapic } = setup();
    write(lapic, R.APIC_LVT_PERF, 0x400);
    write(lapic, R.APIC_LVT_THERMAL, 0xf9);
    lapic.raiseLocal(R.APIC_LVT_PERF);
    lapic.raiseLocal(R.APIC_LVT_THERMAL);
    expect(lapic.takeEvent(R.EVENT_NMI)).toBe(true);
    expect(lapic.acknowledge()).toBe(0xf9);
  });
});

describe('error status register (SDM vol. 3 §12.5.3)', () => {
  it('shows what was recorded only after a write, and signals the error interrupt', () => {
    const { lapic } = setup();
    write(lapic, R.APIC_LVT_ERROR, 0xfe);
    write(lapic, R.APIC_ICR, 0x40005);
    expect(read(lapic, R.APIC_ESR)).toBe(0);
    expect(lapic.acknowledge()).toBe(0xfe);
    write(lapic, R.APIC_ESR, 0);
    expect(read(lapic, R.APIC_ESR)).toBe(R.ESR_SEND_ILLEGAL_VECTOR);
    write(lapic, R.APIC_ESR, 0);
    expect(read(lapic, R.APIC_ESR)).toBe(0);
  });

  it('records received vectors below 16 and reserved registers', () => {
    const { lapic } = setup();
    expect(fixed(lapic, 15)).toBe(-1);
    read(lapic, 0x2f0);
    write(lapic, 0x000, 0);
    write(lapic, R.APIC_ESR, 0);
    expect(read(lapic, R.APIC_ESR)).toBe(R.ESR_RECEIVE_ILLEGAL_VECTOR | R.ESR_ILLEGAL_REGISTER);
  });

  it('an error vector that is itself illegal does not recurse', () => {
    const { lapic } = setup();
    write(lapic, R.APIC_LVT_ERROR, 3);
    fixed(lapic, 2);
    expect(lapic.hasInterrupt()).toBe(false);
  });
});

describe('IA32_APIC_BASE and x2APIC (SDM vol. 3 §12.12)', () => {
  it('goes xAPIC → x2APIC → disabled → xAPIC', () => {
    const { lapic } = setup();
    enterX2apic(lapic);
    expect(lapic.x2apic).toBe(true);
    expect(read(lapic, R.APIC_ID)).toBe(0xffffffff);
    expect(lapic.writeMsr(R.MSR_APIC_BASE, 0xfee00100, 0)).toBe(true);
    expect(lapic.enabled).toBe(false);
    expect(read(lapic, R.APIC_VERSION)).toBe(0xffffffff);
    expect(lapic.writeMsr(R.MSR_APIC_BASE, 0xfee00900, 0)).toBe(true);
    expect(read(lapic, R.APIC_SVR)).toBe(0xff);
  });

  it.each([
    ['x2APIC to xAPIC', 0xfee00d00, 0xfee00900],
    ['disabled to x2APIC', 0xfee00100, 0xfee00d00],
    ['EXTD without EN', 0xfee00900, 0xfee00500],
    ['reserved bits', 0xfee00900, 0xfee00901],
  ])('refuses %s', (_, from, to) => {
    const { lapic } = setup();
    expect(lapic.writeMsr(R.MSR_APIC_BASE, from, 0)).toBe(true);
    expect(lapic.writeMsr(R.MSR_APIC_BASE, to, 0)).toBe(false);
    expect(rdmsr(lapic, R.MSR_APIC_BASE)).toBe(from);
  });

  it('refuses EXTD when the processor has no x2APIC, and addresses beyond MAXPHYADDR', () => {
    const { lapic } = setup({ x2apic: false });
    expect(lapic.writeMsr(R.MSR_APIC_BASE, 0xfee00d00, 0)).toBe(false);
    expect(lapic.writeMsr(R.MSR_APIC_BASE, 0xfee00900, 0x100)).toBe(false);
    expect(lapic.writeMsr(R.MSR_APIC_BASE, 0xd0000900, 0xff)).toBe(true);
    expect(lapic.pageAddress).toBe(0xff_d000_0000);
  });

  it('derives ID and LDR from the initial ID, read-only (§12.12.10.2)', () => {
    const { lapic } = setup({ id: 0x23 });
    enterX2apic(lapic);
    expect(rdmsr(lapic, 0x802)).toBe(0x23);
    expect(rdmsr(lapic, 0x80d)).toBe(0x20008);
    expect(lapic.writeMsr(0x802, 1, 0)).toBe(false);
    expect(lapic.writeMsr(0x80d, 1, 0)).toBe(false);
  });

  it.each([
    ['TPR above 8 bits', 0x808, 0x100],
    ['non-zero EOI', 0x80b, 1],
    ['reserved SVR bits', 0x80f, 0x1000],
    ['non-zero ESR', 0x828, 1],
    ['reserved ICR bits', 0x830, 0x100000],
    ['reserved LVT bits', 0x835, 0x100000],
    ['ISR', 0x810, 0],
    ['version', 0x803, 0],
    ['current count', 0x839, 0],
    ['reserved divide bits', 0x83e, 4],
    ['self IPI above 8 bits', 0x83f, 0x100],
    ['DFR, which does not exist', 0x80e, 0],
    ['ICR2, which does not exist', 0x831, 0],
  ])('gives #GP for a write of %s', (_, msr, value) => {
    const { lapic } = setup();
    enterX2apic(lapic);
    expect(lapic.writeMsr(msr, value, 0)).toBe(false);
  });

  it('gives #GP for upper halves, write-only reads, and every x2APIC MSR in xAPIC mode', () => {
    const { lapic } = setup();
    expect(rdmsr(lapic, 0x802)).toBe(undefined);
    enterX2apic(lapic);
    expect(lapic.writeMsr(0x808, 0, 1)).toBe(false);
    expect(rdmsr(lapic, 0x80b)).toBe(undefined);
    expect(rdmsr(lapic, 0x83f)).toBe(undefined);
    expect(rdmsr(lapic, 0x80e)).toBe(undefined);
  });

  it('sends a self IPI with one write', () => {
    const { lapic } = setup();
    enterX2apic(lapic);
    expect(lapic.writeMsr(0x83f, 0x77, 0)).toBe(true);
    expect(lapic.acknowledge()).toBe(0x77);
    expect(lapic.writeMsr(0x80b, 0, 0)).toBe(true);
    expect(rdmsr(lapic, 0x817)).toBe(0);
  });

  it('ignores narrow and unaligned stores to the page and reads parts of a register', () => {
    const { lapic } = setup();
    lapic.device.write(R.APIC_TPR, 1, 0x20);
    lapic.device.write(R.APIC_TPR + 4, 4, 0x20);
    expect(read(lapic, R.APIC_TPR)).toBe(0);
    expect(lapic.device.read(R.APIC_VERSION + 2, 1)).toBe(5);
    expect(lapic.device.read(R.APIC_VERSION + 3, 2)).toBe(0);
  });
});

describe('local APIC saved state', () => {
  it('continues after restore: requests, service, running timer on another clock', () => {
    const { lapic, clock } = setup();
    write(lapic, R.APIC_LVT_TIMER, 0x20030);
    write(lapic, R.APIC_TDCR, 0xb);
    write(lapic, R.APIC_TMICT, 1_000_000);
    fixed(lapic, 0x80);
    lapic.acknowledge();
    clock.advance(400_000);
    const image = lapic.save();
    const other = setup({ enable: false });
    other.clock.now = 9e12;
    other.lapic.restore(image);
    expect(read(other.lapic, R.APIC_TMCCT)).toBe(600_000);
    other.clock.advance(600_000);
    expect(other.lapic.hasInterrupt()).toBe(false);
    other.lapic.eoi();
    expect(other.lapic.acknowledge()).toBe(0x30);
    expect(other.events()).toBeGreaterThan(0);
  });

  it.each([
    ['reserved LVT bits', R.LAPIC_LAYOUT.offset.regs + 4 * (R.APIC_LVT_ERROR >> 4) + 3],
    ['a target that is not a number', R.LAPIC_LAYOUT.offset.timerTargetNs],
    ['impossible events', R.LAPIC_LAYOUT.offset.events + 1],
  ])('refuses %s', (_, offset) => {
    const { lapic } = setup();
    const image = lapic.save();
    const spoiled = image.with(24 + offset, 0xff);
    expect(() => lapic.restore(spoiled)).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_STATE' }));
  });

  it('property: no register or MSR write throws or breaks saving', () => {
    const access = fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 0xff }), fc.integer({ min: 0, max: 0xffff_ffff }));
    fc.assert(
      fc.property(fc.array(access, { maxLength: 80 }), (accesses) => {
        const { lapic, clock } = setup();
        for (const [msr, index, value] of accesses) {
          if (msr) lapic.writeMsr(index < 0x40 ? 0x800 + index : index < 0x80 ? 0x1b : 0x6e0, value, 0);
          else write(lapic, (index << 4) & 0xff0, value);
          lapic.acknowledge();
          clock.advance(value & 0xffff);
        }
        lapic.restore(lapic.save());
      }),
    );
  });
});

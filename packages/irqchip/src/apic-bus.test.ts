import { describe, expect, it } from 'vitest';
import type { ApicBus } from './apic-bus.ts';
import { createApicBus } from './apic-bus.ts';
import type { LocalApic } from './lapic.ts';
import { createLocalApic } from './lapic.ts';
import * as R from './lapic-registers.ts';
import { place, TestClock } from './testing/clock.ts';

function setup(ids: number[] = [0, 1, 2, 3]): { bus: ApicBus; cpus: LocalApic[]; got: (vector: number) => number[] } {
  const bus = createApicBus();
  const clock = new TestClock();
  const cpus = ids.map((id) => {
    const tsc = { deadlineNs: () => 0 };
    const lapic = createLocalApic({ state: place(R.LAPIC_LAYOUT.size), id, clock, tsc, bus });
    lapic.device.write(R.APIC_SVR, 4, 0x1ff);
    bus.attach(lapic);
    return lapic;
  });
  const requests = (lapic: LocalApic, vector: number): boolean => {
    const register = R.APIC_IRR + (vector >> 5) * 16;
    const value = { lo: 0, hi: 0 };
    if (lapic.x2apic) lapic.readMsr(0x800 + (register >> 4), value);
    else value.lo = lapic.device.read(register, 4);
    return ((value.lo >>> (vector & 31)) & 1) === 1;
  };
  return { bus, cpus, got: (vector) => ids.filter((_, i) => requests(cpus[i], vector)) };
}

const icr = (lapic: LocalApic, low: number, dest: number): void => {
  if (lapic.x2apic) {
    lapic.writeMsr(0x830, low, dest);
    return;
  }
  lapic.device.write(R.APIC_ICR2, 4, dest << 24);
  lapic.device.write(R.APIC_ICR, 4, low);
};
const x2 = (lapic: LocalApic): boolean => lapic.writeMsr(R.MSR_APIC_BASE, (0xfee00c00 | (lapic.initialId ? 0 : 0x100)) >>> 0, 0);

describe('destinations (SDM vol. 3 §12.6.2)', () => {
  it('physical: one APIC by its ID, 0xff all', () => {
    const { bus, got } = setup();
    expect(bus.deliver(2, false, R.DELIVERY_FIXED, 0x40, false)).toBe(1);
    expect(got(0x40)).toEqual([2]);
    expect(bus.deliver(0xff, false, R.DELIVERY_FIXED, 0x41, false)).toBe(4);
    expect(bus.deliver(9, false, R.DELIVERY_FIXED, 0x42, false)).toBe(-1);
  });

  it('logical flat: any APIC that shares a bit with the destination', () => {
    const { bus, cpus, got } = setup();
    for (const cpu of cpus) cpu.device.write(R.APIC_LDR, 4, 1 << (24 + cpu.initialId));
    bus.deliver(0b0101, true, R.DELIVERY_FIXED, 0x40, false);
    expect(got(0x40)).toEqual([0, 2]);
  });

  it('logical cluster: the cluster must equal, then bits are shared; 0xff is all', () => {
    const { bus, cpus, got } = setup();
    for (const cpu of cpus) {
      cpu.device.write(R.APIC_DFR, 4, 0x0fff_ffff);
      cpu.device.write(R.APIC_LDR, 4, (((cpu.initialId >> 1) << 4) | (1 << (cpu.initialId & 1))) << 24);
    }
    bus.deliver(0x13, true, R.DELIVERY_FIXED, 0x40, false);
    expect(got(0x40)).toEqual([2, 3]);
    bus.deliver(0xff, true, R.DELIVERY_FIXED, 0x41, false);
    expect(got(0x41)).toEqual([0, 1, 2, 3]);
  });

  it('x2APIC: 32-bit physical and clustered logical destinations (§12.12.10)', () => {
    const { cpus, got } = setup([0, 1, 17, 18]);
    for (const cpu of cpus) expect(x2(cpu)).toBe(true);
    icr(cpus[0], 0x40, 17);
    expect(got(0x40)).toEqual([17]);
    icr(cpus[0], 0x41 | R.ICR_LOGICAL, 0x1_0006);
    expect(got(0x41)).toEqual([17, 18]);
    icr(cpus[0], 0x42, 0xffff_ffff);
    expect(got(0x42)).toEqual([0, 1, 17, 18]);
    icr(cpus[0], 0x43, 0xff);
    expect(got(0x43)).toEqual([]);
  });

  it('lowest priority: the least busy processor wins, equals take turns, disabled ones never', () => {
    const { bus, cpus, got } = setup();
    cpus[0].cr8 = 3;
    cpus[3].device.write(R.APIC_SVR, 4, 0xff);
    bus.deliver(0xff, false, R.DELIVERY_LOWEST, 0x40, false);
    bus.deliver(0xff, false, R.DELIVERY_LOWEST, 0x41, false);
    expect([got(0x40), got(0x41)]).toEqual([[1], [2]]);
    expect(bus.deliver(3, false, R.DELIVERY_LOWEST, 0x42, false)).toBe(-1);
  });

  it('reports coalesced when every target has it already, masked when none takes it', () => {
    const { bus, cpus } = setup();
    bus.deliver(1, false, R.DELIVERY_FIXED, 0x40, false);
    expect(bus.deliver(1, false, R.DELIVERY_FIXED, 0x40, false)).toBe(0);
    cpus[1].device.write(R.APIC_SVR, 4, 0xff);
    expect(bus.deliver(1, false, R.DELIVERY_FIXED, 0x41, false)).toBe(-1);
  });
});

describe('interrupt command register (SDM vol. 3 §12.6.1)', () => {
  it.each([
    ['self', 1, [1]],
    ['all including self', 2, [0, 1, 2, 3]],
    ['all but self', 3, [0, 2, 3]],
  ])('shorthand %s', (_, shorthand, want) => {
    const { cpus, got } = setup();
    icr(cpus[1], 0x40 | (shorthand << R.ICR_SHORTHAND_SHIFT), 0);
    expect(got(0x40)).toEqual(want);
  });

  it('INIT and start-up: the vector arrives, INIT cancels an earlier start-up, de-assert does nothing', () => {
    const { cpus } = setup();
    icr(cpus[0], 0x600 | 0x12, 1);
    icr(cpus[0], 0x4500, 1);
    expect(cpus[1].pendingEvents()).toBe(R.EVENT_INIT);
    expect(cpus[1].takeEvent(R.EVENT_INIT)).toBe(true);
    icr(cpus[0], 0x8500, 1);
    expect(cpus[1].pendingEvents()).toBe(0);
    icr(cpus[0], 0x600 | 0x9a, 1);
    expect(cpus[1].pendingEvents()).toBe(R.EVENT_SIPI);
    expect(cpus[1].sipiVector).toBe(0x9a);
  });

  it('NMI and SMI reach a software-disabled APIC', () => {
    const { cpus } = setup();
    cpus[2].device.write(R.APIC_SVR, 4, 0xff);
    icr(cpus[0], 0x400, 2);
    icr(cpus[0], 0x200, 2);
    expect(cpus[2].pendingEvents()).toBe(R.EVENT_NMI | R.EVENT_SMI);
  });

  it('ExtINT and the reserved mode are not sent; ICR reads back without delivery status', () => {
    const { cpus } = setup();
    icr(cpus[0], 0x740, 1);
    icr(cpus[0], 0x340, 1);
    expect(cpus[1].pendingEvents()).toBe(0);
    icr(cpus[0], 0x1040, 1);
    expect(cpus[0].device.read(R.APIC_ICR, 4)).toBe(0x40);
  });

  it('a disabled APIC hears nothing', () => {
    const { bus, cpus } = setup();
    cpus[1].writeMsr(R.MSR_APIC_BASE, 0xfee00000, 0);
    expect(bus.deliver(1, false, R.DELIVERY_NMI, 0, false)).toBe(-1);
  });
});

describe('message-signalled interrupts (SDM vol. 3 §12.11)', () => {
  it('takes destination from address bits 19–12 and the vector from the data', () => {
    const { bus, got } = setup();
    expect(bus.signalMsi(0xfee02000, 0, 0x4051)).toBe(1);
    expect(got(0x51)).toEqual([2]);
  });

  it('redirection hint picks one of a logical destination', () => {
    const { bus, cpus, got } = setup();
    for (const cpu of cpus) cpu.device.write(R.APIC_LDR, 4, 1 << (24 + cpu.initialId));
    expect(bus.signalMsi(0xfee0f00c, 0, 0x51)).toBe(1);
    expect(got(0x51)).toHaveLength(1);
  });

  it('reaches APIC IDs above 255 through the upper address bits', () => {
    const { bus, cpus, got } = setup([0, 0x123]);
    x2(cpus[1]);
    expect(bus.signalMsi(0xfee23000, 0x100, 0x51)).toBe(1);
    expect(bus.signalMsi(0xfee23020, 0, 0x52)).toBe(1);
    expect([got(0x51), got(0x52)]).toEqual([[0x123], [0x123]]);
  });

  it('is not an interrupt outside 0xfee00000–0xfeefffff', () => {
    expect(setup().bus.signalMsi(0xfed00000, 0, 0x51)).toBe(-1);
  });
});

import { describe, expect, it } from 'vitest';
import type { IrqChip } from './irqchip.ts';
import { createIrqChip, irqChipLayout } from './irqchip.ts';
import * as R from './lapic-registers.ts';
import { NS_PER_TICK } from './pit-counter.ts';
import { place, TestClock } from './testing/clock.ts';

type Bench = { chip: IrqChip; clock: TestClock; events: number[] };

function setup(cpus = 2): Bench {
  const clock = new TestClock();
  const events: number[] = [];
  const chip = createIrqChip({
    state: place(irqChipLayout(cpus).size),
    clock,
    cpus,
    tsc: () => ({ deadlineNs: (lo, hi) => hi * 2 ** 32 + lo }),
    onEvent: (cpu) => events.push(cpu),
  });
  return { chip, clock, events };
}

function initPic(chip: IrqChip, icw4 = 1): void {
  const { picMaster, picSlave } = chip.devices;
  for (const [pic, base, icw3] of [
    [picMaster, 0x30, 4],
    [picSlave, 0x38, 2],
  ] as const) {
    for (const [a0, value] of [
      [0, 0x11],
      [1, base],
      [1, icw3],
      [1, icw4],
      [1, 0xff],
    ] as const)
      pic.write(a0, 1, value);
  }
}

function startPit(chip: IrqChip, count: number): void {
  chip.devices.pit.write(3, 1, 0x34);
  chip.devices.pit.write(0, 1, count & 0xff);
  chip.devices.pit.write(0, 1, count >> 8);
}

const lapicWrite = (chip: IrqChip, cpu: number, register: number, value: number): void =>
  chip.cpus[cpu].lapic.device.write(register, 4, value);
const enableLapic = (chip: IrqChip, cpu: number): void => lapicWrite(chip, cpu, R.APIC_SVR, 0x1ff);
function redirect(chip: IrqChip, pin: number, low: number, dest = 0): void {
  const { ioapic } = chip.devices;
  ioapic.write(0, 4, 0x11 + 2 * pin);
  ioapic.write(0x10, 4, dest << 24);
  ioapic.write(0, 4, 0x10 + 2 * pin);
  ioapic.write(0x10, 4, low);
}
/** Takes and ends what waits at `cpu` through its local APIC; returns the vectors. */
function serve(chip: IrqChip, cpu: number): number[] {
  const vectors: number[] = [];
  while (chip.cpus[cpu].interruptPending() && vectors.length < 1000) {
    vectors.push(chip.cpus[cpu].acknowledge());
    chip.cpus[cpu].lapic.eoi();
  }
  return vectors;
}
const tick = (n: number): number => Math.ceil(n * NS_PER_TICK) + 1;

describe('virtual wire mode', () => {
  it('8259A requests reach the boot processor before the guest has touched its local APIC', () => {
    const { chip, events } = setup();
    initPic(chip);
    chip.devices.picMaster.write(1, 1, 0xfe);
    startPit(chip, 11932);
    expect(events).toContain(0);
    expect(chip.cpus[0].interruptPending()).toBe(true);
    expect(chip.cpus[1].interruptPending()).toBe(false);
    expect(chip.cpus[0].acknowledge()).toBe(0x30);
    expect(chip.cpus[0].interruptPending()).toBe(false);
  });

  it('reaches it with the local APIC switched off by IA32_APIC_BASE too', () => {
    const { chip } = setup();
    chip.cpus[0].lapic.writeMsr(R.MSR_APIC_BASE, 0xfee00100, 0);
    initPic(chip);
    chip.devices.picMaster.write(1, 1, 0xef);
    chip.setIrq(4, 1);
    expect(chip.cpus[0].acknowledge()).toBe(0x34);
  });

  it('is cut off by masking LINT0', () => {
    const { chip } = setup();
    initPic(chip);
    chip.devices.picMaster.write(1, 1, 0xef);
    lapicWrite(chip, 0, R.APIC_LVT_LINT0, 0x10700);
    chip.setIrq(4, 1);
    expect(chip.cpus[0].interruptPending()).toBe(false);
    expect(chip.cpus[0].acknowledge()).toBe(-1);
    enableLapic(chip, 0);
    lapicWrite(chip, 0, R.APIC_LVT_LINT0, 0x700);
    expect(chip.cpus[0].acknowledge()).toBe(0x34);
  });

  it('tells the processor again when a request remains after the acknowledge cycle under automatic EOI', () => {
    const { chip, events } = setup();
    initPic(chip, 3);
    chip.devices.picMaster.write(1, 1, 0xe7);
    chip.setIrq(3, 1);
    chip.setIrq(4, 1);
    events.length = 0;
    expect(chip.cpus[0].acknowledge()).toBe(0x33);
    expect(events).toEqual([0]);
    expect(chip.cpus[0].acknowledge()).toBe(0x34);
    expect(events).toEqual([0]);
  });

  it('works through the IOAPIC: pin 0 as ExtINT takes the vector from the 8259A', () => {
    const { chip } = setup();
    initPic(chip);
    enableLapic(chip, 1);
    lapicWrite(chip, 0, R.APIC_LVT_LINT0, 0x10700);
    redirect(chip, 0, 0x700, 1);
    chip.devices.picMaster.write(1, 1, 0xef);
    chip.setIrq(4, 1);
    expect(chip.cpus[1].acknowledge()).toBe(0x34);
    expect(chip.cpus[1].interruptPending()).toBe(false);
  });
});

describe('what Linux does while it boots', () => {
  it('check_timer: PIT ticks arrive through IOAPIC pin 2 as edges, none missing', () => {
    const { chip, clock } = setup();
    initPic(chip);
    enableLapic(chip, 0);
    lapicWrite(chip, 0, R.APIC_LVT_LINT0, 0x10700);
    startPit(chip, 4772);
    redirect(chip, 2, 0x30, 0);
    let ticks = 0;
    for (let i = 0; i < 10; i++) {
      clock.advance(tick(4772));
      ticks += serve(chip, 0).filter((vector) => vector === 0x30).length;
    }
    expect(ticks).toBe(10);
  });

  it('makes up for ticks that came while interrupts were off', () => {
    const { chip, clock } = setup();
    enableLapic(chip, 0);
    lapicWrite(chip, 0, R.APIC_LVT_LINT0, 0x10700);
    startPit(chip, 4772);
    redirect(chip, 2, 0x30, 0);
    clock.advance(tick(4772) * 7);
    expect(serve(chip, 0)).toHaveLength(7);
    expect(chip.cpus[0].interruptPending()).toBe(false);
  });

  it('makes up for them through the 8259A as well, tick by tick with each EOI', () => {
    const { chip, clock } = setup();
    initPic(chip);
    startPit(chip, 4772);
    chip.devices.picMaster.write(1, 1, 0xfe);
    chip.cpus[0].acknowledge();
    chip.devices.picMaster.write(0, 1, 0x20);
    clock.advance(tick(4772) * 5);
    let ticks = 0;
    while (chip.cpus[0].interruptPending() && ticks < 100) {
      expect(chip.cpus[0].acknowledge()).toBe(0x30);
      chip.devices.picMaster.write(0, 1, 0x60);
      ticks++;
    }
    expect(ticks).toBe(5);
  });

  it('timer as ExtINT "virtual wire" with automatic EOI: every tick gives one vector', () => {
    const { chip, clock } = setup();
    initPic(chip, 3);
    enableLapic(chip, 0);
    chip.devices.picMaster.write(1, 1, 0xfe);
    lapicWrite(chip, 0, R.APIC_LVT_LINT0, 0x700);
    startPit(chip, 4772);
    let ticks = 0;
    for (let i = 0; i < 10; i++) {
      clock.advance(tick(4772));
      while (chip.cpus[0].interruptPending() && ticks < 100) {
        expect(chip.cpus[0].acknowledge()).toBe(0x30);
        ticks++;
      }
    }
    expect(ticks).toBeGreaterThanOrEqual(10);
    expect(ticks).toBeLessThanOrEqual(11);
  });

  it('LAPIC calibration: a counting APIC timer and the PIT agree on time', () => {
    const { chip, clock } = setup();
    enableLapic(chip, 0);
    const { lapic } = chip.cpus[0];
    lapicWrite(chip, 0, R.APIC_LVT_TIMER, 0x100ec);
    lapicWrite(chip, 0, R.APIC_TDCR, 3);
    lapicWrite(chip, 0, R.APIC_TMICT, 0xffff_ffff);
    chip.devices.systemControl.write(0, 1, 1);
    chip.devices.pit.write(3, 1, 0xb0);
    chip.devices.pit.write(2, 1, 0xff);
    chip.devices.pit.write(2, 1, 0xff);
    clock.advance(10e6);
    const apic = 0xffff_ffff - lapic.device.read(R.APIC_TMCCT, 4);
    const pit = 0xffff - (chip.devices.pit.read(2, 1) | (chip.devices.pit.read(2, 1) << 8));
    expect(Math.abs(apic * 16 - pit * NS_PER_TICK)).toBeLessThan(NS_PER_TICK + 16);
  });

  it('no interrupt at all follows when everything is masked, whatever the devices do', () => {
    const { chip, clock } = setup();
    initPic(chip);
    enableLapic(chip, 0);
    startPit(chip, 1193);
    for (let gsi = 0; gsi < 24; gsi++) {
      chip.setIrq(gsi, 1);
      chip.setIrq(gsi, 0);
    }
    clock.advance(1e8);
    expect(chip.cpus[0].interruptPending()).toBe(false);
    expect(chip.cpus[0].acknowledge()).toBe(-1);
  });

  it('NMI watchdog: PIT ticks at LINT0 as NMI reach every processor, unacknowledged', () => {
    const { chip, clock } = setup();
    initPic(chip, 3);
    for (const cpu of [0, 1]) {
      enableLapic(chip, cpu);
      lapicWrite(chip, cpu, R.APIC_LVT_LINT0, 0x400);
    }
    chip.devices.picMaster.write(1, 1, 0xfe);
    startPit(chip, 4772);
    const count = [0, 0];
    for (let i = 0; i < 5; i++) {
      clock.advance(tick(4772));
      for (const cpu of [0, 1]) if (chip.cpus[cpu].takeNmi()) count[cpu]++;
    }
    expect(count).toEqual([5, 5]);
  });
});

describe('irqchip as a whole', () => {
  it('a level GSI shared by two devices interrupts until both are quiet', () => {
    const { chip } = setup();
    enableLapic(chip, 1);
    redirect(chip, 17, 0x8051, 1);
    const a = chip.irqLine(17);
    const b = chip.irqLine(17);
    expect(a.setLevel(1)).toBe(1);
    expect(b.setLevel(1)).toBe(0);
    expect(chip.cpus[1].acknowledge()).toBe(0x51);
    a.setLevel(0);
    chip.cpus[1].lapic.eoi();
    expect(chip.cpus[1].acknowledge()).toBe(0x51);
    b.setLevel(0);
    chip.cpus[1].lapic.eoi();
    expect(chip.cpus[1].interruptPending()).toBe(false);
  });

  it('a resampling source hears of each end at either controller, until it stops listening', () => {
    const { chip } = setup();
    initPic(chip);
    enableLapic(chip, 1);
    redirect(chip, 10, 0x8051, 1);
    const line = chip.irqLine(10);
    let ends = 0;
    const listening = chip.onEnd(10, () => {
      ends++;
      if (ends === 1) line.setLevel(0);
    });
    line.setLevel(1);
    chip.cpus[1].acknowledge();
    chip.cpus[1].lapic.eoi();
    expect(ends).toBe(1);
    expect(chip.cpus[1].interruptPending()).toBe(false);
    chip.devices.picMaster.write(1, 1, 0xfb);
    chip.devices.picSlave.write(1, 1, 0xfb);
    chip.cpus[0].acknowledge();
    chip.devices.picSlave.write(0, 1, 0x20);
    expect(ends).toBe(2);
    listening[Symbol.dispose]();
    line.setLevel(1);
    chip.cpus[1].acknowledge();
    chip.cpus[1].lapic.eoi();
    expect(ends).toBe(2);
    expect(() => chip.onEnd(-1, () => undefined)).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_ROUTE' }));
  });

  it('INIT and start-up IPIs queue at the target; taking INIT resets its local APIC', () => {
    const { chip, events } = setup();
    enableLapic(chip, 0);
    enableLapic(chip, 1);
    lapicWrite(chip, 0, R.APIC_ICR2, 1 << 24);
    lapicWrite(chip, 0, R.APIC_ICR, 0x4500);
    expect(events).toContain(1);
    expect(chip.cpus[1].takeSipi()).toBe(-1);
    expect(chip.cpus[1].takeInit()).toBe(true);
    expect(chip.cpus[1].lapic.softwareEnabled).toBe(false);
    lapicWrite(chip, 0, R.APIC_ICR, 0x4608);
    expect(chip.cpus[1].takeSipi()).toBe(8);
    expect(chip.cpus[1].pendingEvents()).toBe(0);
  });

  it('SMI and NMI queues are per processor', () => {
    const { chip } = setup();
    chip.cpus[1].raiseNmi();
    expect(chip.cpus[0].takeNmi()).toBe(false);
    expect(chip.cpus[1].takeNmi()).toBe(true);
    expect(chip.cpus[1].takeSmi()).toBe(false);
  });

  it('save, restore and go on: same interrupts as the machine that went on without', () => {
    const one = setup();
    enableLapic(one.chip, 0);
    initPic(one.chip);
    startPit(one.chip, 4772);
    redirect(one.chip, 2, 0x30, 0);
    redirect(one.chip, 10, 0x8040, 0);
    one.chip.setIrq(10, 1);
    one.clock.advance(tick(4772) * 2.5);
    const two = setup();
    two.clock.now = 5e12;
    two.chip.restore(one.chip.save());
    for (const { chip, clock } of [one, two]) {
      chip.setIrq(10, 0);
      clock.advance(tick(4772));
    }
    const first = serve(one.chip, 0);
    expect(first).toContain(0x40);
    expect(serve(two.chip, 0)).toEqual(first);
  });

  it('refuses state of another machine and stays as it was', () => {
    const { chip } = setup();
    const before = chip.save();
    expect(() => chip.restore(setup(1).chip.save())).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_STATE' }));
    expect(() => chip.restore(before.slice(0, -1))).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_STATE' }));
    expect(() => chip.restore('x')).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_STATE' }));
    expect(chip.save()).toEqual(before);
  });

  it.each([0, 255, 1.5])('refuses %d processors', (cpus) => {
    expect(() => setup(cpus)).toThrow(expect.objectContaining({ code: 'IRQCHIP_BAD_ARGUMENT' }));
  });

  it('reset silences everything and stops the timers', () => {
    const { chip, clock } = setup();
    initPic(chip);
    chip.devices.picMaster.write(1, 1, 0xfe);
    startPit(chip, 1193);
    chip.reset();
    expect(chip.cpus[0].interruptPending()).toBe(false);
    expect(clock.timers.size).toBe(0);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KvmClock } from './kvm-clock.ts';
import { createKvmClock, KVM_CLOCK_MSRS, kvmClockLayout } from './kvm-clock.ts';
import { KVM_FEATURES, kvmCpuid } from './kvm-cpuid.ts';
import { decodeTimeInfo, PVCLOCK_GUEST_STOPPED, PVCLOCK_TSC_STABLE, tscScale } from './pvclock.ts';
import type { TscBank } from './tsc.ts';
import { createTscBank, TSC_LAYOUT } from './tsc.ts';

const EPOCH = 1_700_000_000_123_456_789n;

type Bench = {
  kvm: KvmClock;
  tsc: TscBank;
  time: { now: number };
  ram: Uint8Array;
  /** Version seen before each store. */
  stores: { gpa: number; length: number; version: number }[];
  guestNs: (cpu: number, gpa: number) => number;
  flags: (gpa: number) => number;
};

function setup(options: { khz?: number; now?: number } = {}): Bench {
  const time = { now: options.now ?? 1_000_000 };
  const ram = new Uint8Array(0x3000);
  const view = new DataView(ram.buffer);
  const stores: Bench['stores'] = [];
  const clock = { monotonicNs: () => time.now, realtimeNs: () => EPOCH + BigInt(Math.floor(time.now)) };
  const tsc = createTscBank({
    state: { buffer: new ArrayBuffer(2 * TSC_LAYOUT.size), byteOffset: 0 },
    cpus: 2,
    clock,
    onChange: () => kvm.refresh(),
    ...(options.khz === undefined ? {} : { khz: options.khz }),
  });
  const inside = (gpa: number, length: number): void => {
    if (gpa + length > ram.length) throw new RangeError('no memory');
  };
  const kvm = createKvmClock({
    state: { buffer: new SharedArrayBuffer(kvmClockLayout(2).size), byteOffset: 0 },
    cpus: 2,
    clock,
    tsc,
    memory: {
      read: (gpa, into) => {
        inside(gpa, into.length);
        into.set(ram.subarray(gpa, gpa + into.length));
      },
      write: (gpa, from) => {
        inside(gpa, from.length);
        stores.push({ gpa, length: from.length, version: view.getUint32(gpa, true) });
        ram.set(from, gpa);
      },
    },
  });
  const page = (gpa: number): DataView => new DataView(ram.buffer, gpa, 32);
  const guestNs = (cpu: number, gpa: number): number => {
    const pair = { lo: 0, hi: 0 };
    tsc.read(cpu, pair);
    const decoded = decodeTimeInfo(page(gpa), (BigInt(pair.hi) << 32n) | BigInt(pair.lo));
    if (!decoded) throw new Error('page is being written');
    return Number(decoded.ns);
  };
  return { kvm, tsc, time, ram, stores, guestNs, flags: (gpa) => page(gpa).getUint8(29) };
}

const rdmsr = (kvm: KvmClock, cpu: number, index: number): [number, number] | undefined => {
  const pair = { lo: 0, hi: 0 };
  return kvm.readMsr(cpu, index, pair) ? [pair.lo, pair.hi] : undefined;
};

describe('system time page (msr.rst, MSR_KVM_SYSTEM_TIME_NEW)', () => {
  it.each([0x12, 0x4b564d01])('MSR 0x%x: the guest reads the kvm-clock from page and TSC, at any later time', (msr) => {
    const { kvm, time, guestNs } = setup();
    time.now += 500;
    expect(kvm.writeMsr(0, msr, 0x1001, 0)).toBe(true);
    expect(guestNs(0, 0x1000)).toBe(500);
    time.now += 3.6e12;
    expect(guestNs(0, 0x1000)).toBe(3.6e12 + 500);
    expect(kvm.getClock().clockNs).toBe(3.6e12 + 500);
    expect(rdmsr(kvm, 0, msr)).toEqual([0x1001, 0]);
  });

  it('flags a stable TSC while all processors agree, and on every page withdraws it when one moves', () => {
    const { kvm, tsc, flags } = setup();
    kvm.writeMsr(0, 0x4b564d01, 0x1001, 0);
    kvm.writeMsr(1, 0x4b564d01, 0x1041, 0);
    expect([flags(0x1000), flags(0x1040)]).toEqual([PVCLOCK_TSC_STABLE, PVCLOCK_TSC_STABLE]);
    tsc.writeMsr(1, 0x10, 0, 0x100);
    expect([flags(0x1000), flags(0x1040)]).toEqual([0, 0]);
  });

  it('is right after the guest set its TSC', () => {
    const { kvm, tsc, time, guestNs } = setup();
    kvm.writeMsr(0, 0x4b564d01, 0x1001, 0);
    time.now += 1000;
    tsc.writeMsr(0, 0x10, 0, 0x100);
    time.now += 1000;
    expect(guestNs(0, 0x1000)).toBe(2000);
  });

  it('is odd in version while its content changes and even afterwards', () => {
    const { kvm, stores, ram } = setup();
    kvm.writeMsr(0, 0x4b564d01, 0x1001, 0);
    kvm.refresh();
    expect(stores.map(({ length, version }) => [length, version])).toEqual([
      [4, 0],
      [32, 1],
      [4, 1],
      [4, 2],
      [32, 3],
      [4, 3],
    ]);
    expect(ram[0x1000]).toBe(4);
  });

  it('is not written while bit 0 is clear', () => {
    const { kvm, stores } = setup();
    kvm.writeMsr(0, 0x4b564d01, 0x1000, 0);
    kvm.refresh();
    expect(stores).toEqual([]);
  });

  it('an address without memory is accepted and has no effect', () => {
    const { kvm, ram } = setup();
    expect(kvm.writeMsr(0, 0x4b564d01, 0xffff_f001, 0xff)).toBe(true);
    expect(kvm.writeMsr(0, 0x4b564d00, 0xffff_f000, 0xff)).toBe(true);
    expect(ram.some((byte) => byte !== 0)).toBe(false);
  });

  it('tells the guest once that it was stopped', () => {
    const { kvm, flags } = setup();
    kvm.writeMsr(0, 0x4b564d01, 0x1001, 0);
    kvm.notifyStopped();
    expect(flags(0x1000)).toBe(PVCLOCK_TSC_STABLE | PVCLOCK_GUEST_STOPPED);
    kvm.refresh();
    expect(flags(0x1000)).toBe(PVCLOCK_TSC_STABLE);
  });

  it('a processor reset ends the updates of its page only', () => {
    const { kvm, stores } = setup();
    kvm.writeMsr(0, 0x4b564d01, 0x1001, 0);
    kvm.writeMsr(1, 0x4b564d01, 0x1041, 0);
    kvm.resetCpu(1);
    stores.length = 0;
    kvm.refresh();
    expect(new Set(stores.map(({ gpa }) => gpa))).toEqual(new Set([0x1000]));
  });
});

describe('TSC scale', () => {
  it('is exact at 1 GHz', () => {
    expect(tscScale(1_000_000)).toEqual({ mul: 0x8000_0000, shift: 1 });
  });

  it('property: mul has its top bit set, and a second of ticks is a second within a part in 2^30', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 32 - 1 }), (khz) => {
        const { mul, shift } = tscScale(khz);
        expect(mul).toBeGreaterThanOrEqual(0x8000_0000);
        expect(mul).toBeLessThan(0x1_0000_0000);
        expect(Math.abs((khz * 1000 * 2 ** shift * mul) / 2 ** 32 / 1e9 - 1)).toBeLessThan(2 ** -30);
      }),
    );
  });

  it('property: the guest clock never goes backwards across page updates', () => {
    const khz = fc.integer({ min: 100_000, max: 5_000_000 });
    fc.assert(
      fc.property(khz, fc.array(fc.integer({ min: 0, max: 1e9 }), { maxLength: 20 }), (frequency, steps) => {
        const { kvm, time, guestNs } = setup({ khz: frequency });
        kvm.writeMsr(0, 0x4b564d01, 0x1001, 0);
        let last = 0;
        for (const step of steps) {
          time.now += step;
          const before = guestNs(0, 0x1000);
          expect(before).toBeGreaterThanOrEqual(last);
          expect(Math.abs(before - kvm.getClock().clockNs)).toBeLessThanOrEqual(12);
          last = before;
        }
      }),
    );
  });
});

describe('wall clock (msr.rst, MSR_KVM_WALL_CLOCK_NEW)', () => {
  it.each([0x11, 0x4b564d00])('MSR 0x%x: holds the time at which the kvm-clock was zero', (msr) => {
    const { kvm, time, ram, stores } = setup({ now: 7_000 });
    time.now += 5e9;
    kvm.writeMsr(0, msr, 0x2000, 0);
    const view = new DataView(ram.buffer, 0x2000);
    expect(BigInt(view.getUint32(4, true)) * 1_000_000_000n + BigInt(view.getUint32(8, true))).toBe(EPOCH + 7_000n);
    expect(view.getUint32(0, true)).toBe(2);
    expect(stores.map(({ version }) => version)).toEqual([0, 1, 1]);
    kvm.writeMsr(1, msr, 0x2000, 0);
    expect(view.getUint32(0, true)).toBe(4);
  });
});

describe('other KVM MSRs', () => {
  it('async page faults can be left off but not enabled', () => {
    const { kvm } = setup();
    expect(kvm.writeMsr(0, 0x4b564d02, 0, 0)).toBe(true);
    expect(kvm.writeMsr(0, 0x4b564d02, 0x1001, 0)).toBe(false);
    expect(rdmsr(kvm, 0, 0x4b564d02)).toEqual([0, 0]);
  });

  it.each([0x4b564d03, 0x4b564d04])('MSR 0x%x keeps its value and writes no memory', (msr) => {
    const { kvm, stores } = setup();
    expect(kvm.writeMsr(1, msr, 0x1001, 1)).toBe(true);
    expect(rdmsr(kvm, 1, msr)).toEqual([0x1001, 1]);
    expect(rdmsr(kvm, 0, msr)).toEqual([0, 0]);
    expect(stores).toEqual([]);
  });

  it('knows its own MSRs and refuses all others', () => {
    const { kvm } = setup();
    for (const msr of KVM_CLOCK_MSRS) expect(kvm.handles(msr)).toBe(true);
    expect(kvm.handles(0x10)).toBe(false);
    expect(rdmsr(kvm, 0, 0x4b564d05)).toBe(undefined);
    expect(kvm.writeMsr(0, 0x4b564d05, 0, 0)).toBe(false);
  });
});

describe('getClock and setClock', () => {
  it('shows the value set, from then on', () => {
    const { kvm, time, guestNs } = setup();
    kvm.writeMsr(0, 0x4b564d01, 0x1001, 0);
    kvm.setClock(5e12);
    time.now += 10;
    expect(kvm.getClock()).toEqual({ clockNs: 5e12 + 10, realtimeNs: EPOCH + BigInt(time.now), tscStable: true });
    expect(guestNs(0, 0x1000)).toBe(5e12 + 10);
  });

  it('property: setting what was read never goes backwards', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e15, noNaN: true }), fc.double({ min: 0, max: 1e15, noNaN: true }), (a, b) => {
        const source = setup({ now: 0 });
        source.time.now = a;
        const { clockNs } = source.kvm.getClock();
        const target = setup({ now: b });
        target.kvm.setClock(clockNs);
        expect(target.kvm.getClock().clockNs).toBeGreaterThanOrEqual(clockNs);
      }),
    );
  });

  it('refuses flags, negative, fractional and huge times', () => {
    const { kvm } = setup();
    expect(() => kvm.setClock(0, 1)).toThrow(expect.objectContaining({ code: 'KVMCLOCK_BAD_FLAGS' }));
    for (const bad of [-1, 0.5, 2 ** 53, Number.NaN])
      expect(() => kvm.setClock(bad)).toThrow(expect.objectContaining({ code: 'KVMCLOCK_BAD_ARGUMENT' }));
  });
});

describe('kvm-clock saved state', () => {
  it('goes on from the saved time on another machine and writes its pages', () => {
    const one = setup();
    one.kvm.writeMsr(0, 0x4b564d01, 0x1001, 0);
    one.time.now += 123_456;
    const two = setup({ now: 8e12 });
    two.ram.set(one.ram);
    two.tsc.restore(one.tsc.save());
    two.kvm.restore(one.kvm.save());
    expect(two.guestNs(0, 0x1000)).toBe(123_456);
    two.time.now += 44;
    expect(two.guestNs(0, 0x1000)).toBe(123_500);
    expect(new DataView(two.ram.buffer).getUint32(0x1000, true) % 2).toBe(0);
  });

  it.each([
    ['not bytes', () => ({})],
    ['truncated', (image: Uint8Array) => image.slice(0, -1)],
    ['with async page faults on', (image: Uint8Array) => image.with(24 + 24 + 8, 1)],
    ['never started', (image: Uint8Array) => image.with(24 + 16, 0)],
  ])('refuses state %s', (_, spoil) => {
    const { kvm } = setup();
    const before = kvm.save();
    const spoiled = spoil(before);
    if (spoiled instanceof Uint8Array && spoiled.length === before.length) expect(spoiled).not.toEqual(before);
    expect(() => kvm.restore(spoiled)).toThrow(expect.objectContaining({ code: 'KVMCLOCK_BAD_STATE' }));
    expect(kvm.save()).toEqual(before);
  });
});

describe('CPUID leaves (cpuid.rst)', () => {
  it('0x40000000 gives the highest leaf and KVMKVMKVM', () => {
    const leaf = kvmCpuid(0x40000000);
    if (!leaf) throw new Error('no leaf');
    const bytes = new DataView(new ArrayBuffer(12));
    bytes.setUint32(0, leaf.ebx, true);
    bytes.setUint32(4, leaf.ecx, true);
    bytes.setUint32(8, leaf.edx, true);
    expect(new TextDecoder().decode(bytes)).toBe('KVMKVMKVM\0\0\0');
    expect(leaf.eax).toBe(0x40000001);
  });

  it('0x40000001 announces both clock sources, no I/O delay and the stable bit, nothing else', () => {
    expect(kvmCpuid(0x40000001)).toEqual({ eax: 0x0100_000b, ebx: 0, ecx: 0, edx: 0 });
    expect(kvmCpuid(0x40000001, KVM_FEATURES & ~2, 1)).toEqual({ eax: 0x0100_0009, ebx: 0, ecx: 0, edx: 1 });
  });

  it('has no other leaf', () => {
    expect(kvmCpuid(0x40000002)).toBe(undefined);
    expect(kvmCpuid(1)).toBe(undefined);
  });
});

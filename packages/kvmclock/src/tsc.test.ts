import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TscBank } from './tsc.ts';
import { createTscBank, TSC_LAYOUT } from './tsc.ts';

function setup(options: { khz?: number; cpus?: number; now?: number } = {}): {
  bank: TscBank;
  time: { now: number };
  changes: number[];
} {
  const time = { now: options.now ?? 5_000 };
  const changes: number[] = [];
  const cpus = options.cpus ?? 2;
  const bank = createTscBank({
    state: { buffer: new SharedArrayBuffer(cpus * TSC_LAYOUT.size), byteOffset: 0 },
    cpus,
    clock: { monotonicNs: () => time.now },
    ...(options.khz === undefined ? {} : { khz: options.khz }),
    onChange: (cpu) => changes.push(cpu),
  });
  return { bank, time, changes };
}

const read = (bank: TscBank, cpu = 0): bigint => {
  const pair = { lo: 0, hi: 0 };
  bank.read(cpu, pair);
  return (BigInt(pair.hi) << 32n) | BigInt(pair.lo);
};
const rdmsr = (bank: TscBank, index: number, cpu = 0): bigint => {
  const pair = { lo: 0, hi: 0 };
  expect(bank.readMsr(cpu, index, pair)).toBe(true);
  return (BigInt(pair.hi) << 32n) | BigInt(pair.lo);
};
const wrmsr = (bank: TscBank, index: number, value: bigint, cpu = 0): boolean =>
  bank.writeMsr(cpu, index, Number(value & 0xffff_ffffn), Number(value >> 32n));

describe('time stamp counters (SDM vol. 3 §19.17)', () => {
  it('begin at zero together and count nanoseconds by default', () => {
    const { bank, time } = setup();
    expect([read(bank, 0), read(bank, 1)]).toEqual([0n, 0n]);
    time.now += 1234;
    expect([read(bank, 0), read(bank, 1)]).toEqual([1234n, 1234n]);
    expect(bank.khz(0)).toBe(1_000_000);
  });

  it('count at the configured frequency', () => {
    const { bank, time } = setup({ khz: 2_500_000, now: 0 });
    time.now += 1_000_000;
    expect(read(bank)).toBe(2_500_000n);
  });

  it('carry from the low into the high half', () => {
    const { bank, time } = setup();
    wrmsr(bank, 0x10, 0xffff_ffffn);
    time.now += 1;
    expect(read(bank)).toBe(0x1_0000_0000n);
  });

  it('a write of IA32_TSC moves IA32_TSC_ADJUST by the same amount (§19.17.3)', () => {
    const { bank, time, changes } = setup();
    time.now += 1000;
    wrmsr(bank, 0x10, 5000n, 1);
    expect(rdmsr(bank, 0x3b, 1)).toBe(4000n);
    expect(rdmsr(bank, 0x3b, 0)).toBe(0n);
    expect(read(bank, 1)).toBe(5000n);
    expect(changes).toEqual([1]);
    expect(bank.uniform()).toBe(false);
  });

  it('a write of IA32_TSC_ADJUST moves the counter by the difference, negative included', () => {
    const { bank, time } = setup();
    time.now += 1000;
    wrmsr(bank, 0x3b, 500n);
    expect(read(bank)).toBe(1500n);
    wrmsr(bank, 0x3b, 0xffff_ffff_ffff_ff9cn);
    expect(read(bank)).toBe(900n);
    wrmsr(bank, 0x3b, 0n);
    expect(bank.uniform()).toBe(true);
  });

  it('property: reads back whatever 64-bit value is written, and goes on from there', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.integer({ min: 0, max: 2 ** 40 }), (value, later) => {
        const { bank, time } = setup();
        wrmsr(bank, 0x10, value);
        expect(read(bank)).toBe(value);
        time.now += later;
        expect(read(bank)).toBe(BigInt.asUintN(64, value + BigInt(later)));
      }),
    );
  });

  it('knows no other MSR', () => {
    const { bank } = setup();
    expect(bank.readMsr(0, 0x11, { lo: 0, hi: 0 })).toBe(false);
    expect(bank.writeMsr(0, 0x11, 0, 0)).toBe(false);
  });
});

describe('TSC deadlines', () => {
  it.each([1_000_000, 2_399_987, 999_999])(
    'at %i kHz the counter has reached the deadline at its time, and not a tick earlier',
    (khz) => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 2 ** 45 }), fc.integer({ min: 0, max: 2 ** 45 }), (ahead, start) => {
          const { bank, time } = setup({ khz });
          time.now += start;
          const target = read(bank) + BigInt(ahead);
          const at = bank.deadlineNs(0, Number(target & 0xffff_ffffn), Number(target >> 32n));
          time.now = at;
          const late = read(bank) - target;
          expect(late >= -1n && late <= BigInt(Math.ceil(khz / 1e6))).toBe(true);
        }),
      );
    },
  );

  it('one that has passed is now', () => {
    const { bank, time } = setup();
    time.now += 1000;
    expect(bank.deadlineNs(0, 10, 0)).toBe(time.now);
    expect(bank.deadlinePort(1).deadlineNs(2000, 0)).toBe(time.now + 1000);
  });

  it('one at the end of the range is far away, not now', () => {
    const { bank, time } = setup();
    expect(bank.deadlineNs(0, 0xffff_ffff, 0xffff_ffff)).toBeGreaterThan(time.now + 1e18);
  });
});

describe('TSC frequency', () => {
  it('changes without a jump of the value (KVM_SET_TSC_KHZ)', () => {
    const { bank, time, changes } = setup();
    time.now += 1000;
    bank.setKhz(0, 2_000_000);
    expect(read(bank)).toBe(1000n);
    time.now += 1000;
    expect(read(bank)).toBe(3000n);
    expect(changes).toEqual([0]);
    expect(bank.uniform()).toBe(false);
  });

  it.each([0, -1, 1.5, 2 ** 32, Number.NaN])('refuses %d kHz', (khz) => {
    expect(() => setup({ khz })).toThrow(expect.objectContaining({ code: 'KVMCLOCK_BAD_ARGUMENT' }));
    expect(() => setup().bank.setKhz(0, khz)).toThrow(expect.objectContaining({ code: 'KVMCLOCK_BAD_ARGUMENT' }));
  });
});

describe('TSC saved state', () => {
  it('goes on from the saved value on another clock', () => {
    const { bank, time } = setup({ khz: 2_000_000 });
    time.now += 1000;
    wrmsr(bank, 0x10, 0xdead_beef_0000n, 1);
    const other = setup({ now: 9e12 });
    other.bank.restore(bank.save());
    expect([read(other.bank, 0), read(other.bank, 1)]).toEqual([read(bank, 0), read(bank, 1)]);
    time.now += 77;
    other.time.now += 77;
    expect(read(other.bank, 1)).toBe(read(bank, 1));
    expect(other.changes).toEqual([0, 1]);
  });

  it.each([
    ['not bytes', () => null],
    ['truncated', (image: Uint8Array) => image.slice(0, -1)],
    ['of another version', (image: Uint8Array) => image.with(8, 7)],
    ['with a frequency of zero', (image: Uint8Array) => image.with(24 + 7, 0).with(24 + 6, 0)],
  ])('refuses state %s', (_, spoil) => {
    const { bank } = setup();
    const before = bank.save();
    expect(() => bank.restore(spoil(before))).toThrow(expect.objectContaining({ code: 'KVMCLOCK_BAD_STATE' }));
    expect(bank.save()).toEqual(before);
  });
});

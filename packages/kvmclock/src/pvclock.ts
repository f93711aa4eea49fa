/** The structures that kvm-clock shares with a guest. Linux: Documentation/virt/kvm/x86/msr.rst, asm/pvclock-abi.h */
import type { Pair } from './ports.ts';

/** struct pvclock_vcpu_time_info: version, tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, flags. */
export const TIME_INFO_SIZE = 32;
export const PVCLOCK_TSC_STABLE = 1;
export const PVCLOCK_GUEST_STOPPED = 2;

export type Scale = { readonly mul: number; readonly shift: number };

/** Multiplier and shift with which a guest turns ticks of a `khz` TSC into ns: ((ticks << shift) × mul) >> 32. */
export function tscScale(khz: number): Scale {
  const hz = khz * 1000;
  // mul is to lie in [2^31, 2^32): find 2^shift next below the ratio ns / tick, times two.
  let shift = Math.floor(Math.log2(1e9 / hz)) + 1;
  let mul = scaled(hz, shift);
  while (mul >= 0x1_0000_0000n) mul = scaled(hz, ++shift);
  while (mul < 0x8000_0000n) mul = scaled(hz, --shift);
  return { mul: Number(mul), shift };
}

/** floor(10^9 × 2^(32 − shift) / hz) */
function scaled(hz: number, shift: number): bigint {
  return (1_000_000_000n << BigInt(32 - shift)) / BigInt(hz);
}

/** Fills `page` (32 bytes) but for its version. `systemNs` is the kvm-clock at the moment when the TSC shows `tsc`. */
export function encodeTimeInfo(page: DataView, tsc: Pair, systemNs: number, scale: Scale, flags: number): void {
  page.setUint32(8, tsc.lo, true);
  page.setUint32(12, tsc.hi, true);
  page.setUint32(16, systemNs % 0x1_0000_0000, true);
  page.setUint32(20, Math.floor(systemNs / 0x1_0000_0000), true);
  page.setUint32(24, scale.mul, true);
  page.setInt8(28, scale.shift);
  page.setUint8(29, flags);
}

/** What a guest makes of a page at a TSC value: the reading side of the protocol, for tests and debuggers. Null: being written. */
export function decodeTimeInfo(page: DataView, tsc: bigint): { ns: bigint; flags: number } | null {
  if (page.getUint32(0, true) & 1) return null;
  const delta = tsc - page.getBigUint64(8, true);
  const shift = page.getInt8(28);
  const shifted = shift >= 0 ? delta << BigInt(shift) : delta >> BigInt(-shift);
  const ns = page.getBigUint64(16, true) + ((shifted * BigInt(page.getUint32(24, true))) >> 32n);
  return { ns, flags: page.getUint8(29) };
}

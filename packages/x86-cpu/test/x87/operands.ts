/** Random x87 states and operands, thick with special cases. */
import { Rec } from './host.ts';

/** xorshift32: tests need the same cases every time. */
export class Random {
  #s: number;
  constructor(seed: number) {
    this.#s = seed | 1;
  }
  u32(): number {
    let s = this.#s;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    this.#s = s;
    return s >>> 0;
  }
  below(n: number): number {
    return this.u32() % n;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }
}

const TOP = 1n << 63n;
const ALL = (1n << 64n) - 1n;

function significand(r: Random): bigint {
  switch (r.below(8)) {
    case 0:
      return TOP;
    case 1:
      return ALL;
    case 2:
      return TOP | (1n << BigInt(r.below(63)));
    case 3:
      return ALL ^ (1n << BigInt(r.below(63)));
    case 4:
      return (ALL << BigInt(r.below(63))) & ALL;
    case 5:
      return TOP | (r.u64() >> BigInt(r.below(63)));
    case 6:
      return TOP | ((r.u64() << BigInt(r.below(63))) & ALL);
    default:
      return TOP | r.u64();
  }
}

/** [significand, sign and exponent]. */
export function extended(r: Random, centre: number): [bigint, number] {
  const sign = r.chance(50) ? 0x8000 : 0;
  const sig = significand(r);
  const kind = r.below(100);
  if (kind < 4) return [0n, sign];
  if (kind < 8) return [TOP, sign | 0x7fff];
  if (kind < 11) return [sig | (1n << 62n), sign | 0x7fff];
  if (kind < 14) return [(sig & ~(1n << 62n)) | 1n, sign | 0x7fff];
  if (kind < 18) return [(sig & (TOP - 1n)) >> BigInt(r.below(62)), sign];
  if (kind < 19) return [sig, sign];
  if (kind < 20) return [sig & (TOP - 1n), sign | (1 + r.below(0x7fff))];
  if (kind < 24) return [sig, sign | (1 + r.below(70))];
  if (kind < 28) return [sig, sign | (0x7ffe - r.below(70))];
  if (kind < 34) return [sig, sign | (1 + r.below(0x7ffe))];
  if (kind < 60) return [sig, sign | (0x3fff + r.below(66))];
  if (kind < 68) return [sig, sign | (0x3fff - 1022 - r.below(60))];
  if (kind < 76) return [sig, sign | (0x3fff - 126 - r.below(30))];
  if (kind < 80) return [sig, sign | (0x3fff + (r.chance(50) ? 1023 : 127) - r.below(3))];
  const exp = centre + r.below(9) - 4;
  return [sig, sign | Math.min(Math.max(exp, 1), 0x7ffe)];
}

function memory(r: Random, view: DataView, at: number): void {
  const bits = [r.u64(), 0n, 1n, 0x7ff0n << 48n, 0x7f80_0000n, 0xffffn, 0x8000_0000n, 1n << 63n, 0x3ff0n << 48n, 0x3f80_0000n];
  view.setBigUint64(at, r.chance(60) ? bits[0] : r.pick(bits) ^ (r.chance(30) ? BigInt(r.u32()) : 0n), true);
  view.setUint16(at + 8, r.u32(), true);
  if (r.chance(30)) view.setFloat64(at, (r.below(2000) - 1000) / 8, true);
  if (r.chance(30)) view.setFloat32(at, (r.below(2000) - 1000) / 8, true);
  // Exponents at the edges: denormals, infinities and NaNs of both formats.
  if (r.chance(20)) view.setUint32(at, (r.u32() & 0x807f_ffff) | (r.chance(50) ? 0x7f80_0000 : 0), true);
  if (r.chance(20)) view.setUint32(at + 4, (r.u32() & 0x800f_ffff) | (r.chance(50) ? 0x7ff0_0000 : 0), true);
}

/** Fills one record's initial state. Exceptions that the control word unmasks are not yet flagged. */
export function fillState(r: Random, record: DataView, bcd: boolean): void {
  const masked = r.chance(70) ? 0x3f : r.u32() & 0x3f;
  const cw = 0x40 | masked | (r.pick([0, 1, 2, 3, 3]) << 8) | (r.below(4) << 10);
  const flags = r.chance(50) ? 0 : r.u32() & masked & 0x3f;
  const sw = flags | (r.u32() & 0x4740) | (r.below(8) << 11);
  let tags = 0;
  const crowded = r.chance(50);
  for (let i = 0; i < 8; i++) if (r.chance(crowded ? 4 : 45)) tags |= 3 << (2 * i);
  // The register a push goes to is free more often than not.
  if (r.chance(75)) tags |= 3 << (2 * (((sw >> 11) + 7) & 7));
  record.setUint32(0, cw, true);
  record.setUint32(4, sw, true);
  record.setUint32(8, tags, true);
  for (let at = 12; at < 28; at += 4) record.setUint32(at, 0, true);
  const centre = r.pick([0x3fff, 0x3fff, 1 + r.below(0x7ffe), 0x3fff + r.below(64)]);
  for (let i = 0; i < 8; i++) {
    const [sig, se] = extended(r, centre);
    record.setBigUint64(28 + 10 * i, sig, true);
    record.setUint16(36 + 10 * i, se, true);
  }
  for (let i = 0; i < Rec.memorySize; i += 4) record.setUint32(Rec.memory + i, r.u32(), true);
  memory(r, record, Rec.memory);
  if (bcd) for (let i = 0; i < 10; i++) record.setUint8(Rec.memory + i, r.below(10) | (r.below(10) << 4));
  record.setBigUint64(Rec.rflags, 0x202n | (r.chance(50) ? 0x8d5n : 0n), true);
}

/** Random numbers of the kind that finds bugs: as often at the edges as anywhere. */
import { type Rng, xorshift32 } from '../../src/decode/encodings.ts';

const EDGES = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x10000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
  0xffff_ffff_ffff_ff80n,
  0xffff_ffff_ffff_8000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_fffen,
  0x5555_5555_5555_5555n,
  0xaaaa_aaaa_aaaa_aaaan,
];

const words = new Uint32Array(2);
const quad = new BigUint64Array(words.buffer);

export class Random {
  readonly u32: Rng;

  constructor(seed: number) {
    this.u32 = xorshift32(seed);
    // Neighbouring seeds begin alike.
    for (let i = 0; i < 16; i++) this.u32();
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * n);
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  /** 64 even bits. */
  u64(): bigint {
    words[0] = this.u32();
    words[1] = this.u32();
    return quad[0];
  }

  /** A register value: anything, something small, a boundary, a single bit or a run of ones. */
  value(): bigint {
    switch (this.u32() >>> 29) {
      case 0:
        return BigInt(this.u32() >>> 24);
      case 1:
        return BigInt.asUintN(64, -BigInt(this.u32() >>> 24));
      case 2:
      case 3:
        return this.pick(EDGES);
      case 4:
        return BigInt.asUintN(64, (1n << BigInt(this.below(65))) - BigInt(this.below(3)));
      default:
        return this.u64();
    }
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) out[i] = this.u32() >>> 13;
    return out;
  }
}

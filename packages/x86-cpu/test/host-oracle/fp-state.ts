/** Random x87, MMX and vector state. */
import type { Insn } from '../../src/decode/instruction.ts';
import type { FpState } from './case.ts';
import { hostFeatures } from './host.ts';
import type { Random } from './random.ts';

/** FXSAVE image offsets (SDM vol. 1 §10.5.1). */
export const Image = {
  fcw: 0,
  fsw: 2,
  ftw: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  mxcsrMask: 28,
  st: 32,
  xmm: 160,
  bytes: 512,
} as const;

const DOUBLES = [
  0,
  -0,
  1,
  -1,
  1.5,
  2,
  0.1,
  Math.PI,
  1e300,
  -1e-300,
  5e-324,
  2.2e-308,
  Number.MAX_VALUE,
  Infinity,
  -Infinity,
  NaN,
  2147483648,
  9.3e18,
  4294967295.5,
];
const SINGLE_BITS = [
  0, 0x8000_0000, 0x3f80_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7fa0_0000, 1, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff,
  0x4f00_0000,
];

/** Sixteen bytes as bytes, words, singles, doubles or anything. */
export function randomVector(random: Random, into: DataView, at: number): void {
  const kind = random.below(6);
  for (let i = 0; i < 16; i += 8) {
    if (kind === 0) into.setFloat64(at + i, random.pick(DOUBLES) * random.pick([1, 1, 3, -0.3]), true);
    else if (kind === 1) {
      into.setUint32(at + i, random.pick(SINGLE_BITS), true);
      into.setUint32(at + i + 4, random.pick(SINGLE_BITS), true);
    } else if (kind === 2) {
      into.setFloat32(at + i, random.pick(DOUBLES), true);
      into.setFloat32(at + i + 4, (random.u32() | 0) / (1 << random.below(31)), true);
    } else into.setBigUint64(at + i, kind === 3 ? random.value() : random.u64(), true);
  }
}

/** An 80-bit number: finite of any size, special, or an encoding that is not one. */
function randomExtended(random: Random, into: DataView, at: number): void {
  const sign = random.below(2) << 15;
  const exponent = random.pick([
    0,
    1,
    0x3fff,
    0x3fff,
    0x4000,
    0x3fff + random.below(70) - 35,
    0x7ffe,
    0x7fff,
    random.below(0x8000),
  ]);
  const significand = random.value() | (exponent !== 0 && random.chance(95) ? 1n << 63n : 0n);
  into.setBigUint64(at, significand, true);
  into.setUint16(at + 8, sign | exponent, true);
}

/** MXCSR: any rounding, DAZ, FTZ and sticky flags; exceptions masked, or now and then not. */
function randomMxcsr(random: Random): number {
  const masks = random.chance(80) ? 0x1f80 : random.u32() & 0x1f80;
  return masks | (random.below(4) << 13) | (random.chance(20) ? 0x40 : 0) | (random.chance(20) ? 0x8000 : 0) | random.below(64);
}

/** State for any instruction: x87 in a consistent state with some registers empty, random vectors, whole where the host has AVX. */
export function randomFpState(random: Random, insn: Insn): FpState {
  const image = new Uint8Array(Image.bytes);
  const view = new DataView(image.buffer);
  const masks = random.chance(85) ? 0x3f : random.below(64);
  view.setUint16(Image.fcw, 0x40 | masks | (random.pick([0, 2, 3, 3, 3]) << 8) | (random.below(4) << 10), true);
  // No exception pending: one would come before anything else. The condition codes and the sticky flags of masked exceptions are free.
  view.setUint16(Image.fsw, (random.below(8) << 11) | (random.u32() & 0x4700) | (random.u32() & masks), true);
  image[Image.ftw] = random.chance(60) ? 0xff : random.u32();
  view.setUint32(Image.mxcsr, randomMxcsr(random), true);
  for (let i = 0; i < 8; i++) randomExtended(random, view, Image.st + 16 * i);
  for (let i = 0; i < 16; i++) randomVector(random, view, Image.xmm + 16 * i);
  if (!HAS_AVX) return { image };
  const ymmHigh = new Uint8Array(256);
  for (let i = 0; i < 16; i++) randomVector(random, new DataView(ymmHigh.buffer), 16 * i);
  if (insn.row.vsib && random.chance(90)) nearbyIndices(random, insn, view, new DataView(ymmHigh.buffer));
  return { image, ymmHigh };
}

const HAS_AVX = hostFeatures().has('avx');

/** Gathers from around where the base points: with any index nearly all would fault. */
function nearbyIndices(random: Random, insn: Insn, low: DataView, high: DataView): void {
  const wide = /gatherq/.test(insn.row.sem);
  for (const [view, at] of [
    [low, Image.xmm + 16 * insn.index],
    [high, 16 * insn.index],
  ] as const) {
    for (let i = 0; i < 16; i += wide ? 8 : 4) {
      const index = random.below(200) - 100;
      view.setInt32(at + i, index, true);
      if (wide) view.setInt32(at + i + 4, index >> 31, true);
    }
  }
}

/** Data movement of AVX and AVX2: whole vectors, single elements, broadcasts, halves (SDM vol. 1 §14.1, §14.7). */
import type { Emitter } from '../emit/emitter.ts';
import { HIGH_HALF } from '../emit/lane-emitter.ts';
import { replaceElement } from '../numeric/vector-element.ts';
import { CPU } from '../state.ts';
import { immediateByte, lowVector, readHigh, zeroVector } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';
import { readHalves, readRegisterHalf, storeHalves, vectorBytes, writeRegister } from './vex-operands.ts';

const move =
  (aligned: boolean): Semantics =>
  (e) => {
    const halves = readHalves(e, 1, vectorBytes(e), aligned);
    if (e.isMemory(0)) storeHalves(e, halves, aligned);
    else writeRegister(e, 0, halves);
  };

/** VMOVSS, VMOVSD: a load clears the rest, a register form takes it from the first source. */
const moveScalar =
  (size: 4 | 8): Semantics =>
  (e) => {
    const { f } = e;
    const source = e.form.classes.length === 3 ? 2 : 1;
    const value = e.let(e.read(source, size));
    if (e.isMemory(0)) e.write(0, value, size);
    else if (source === 1) writeRegister(e, 0, [e.letV(lowVector(f, () => f.get(value)))]);
    else writeRegister(e, 0, [e.letV(replaceElement(f, readRegisterHalf(e, 1, 0), size, 0, f.get(value)))]);
  };

/** VMOVLPS, VMOVHPS and their doubles: 8 bytes to memory, or into one half of a copy of the first source. */
const moveHalf =
  (high: boolean): Semantics =>
  (e) => {
    const { f } = e;
    if (e.isMemory(0)) {
      e.write(0, e.let(high ? readHigh(e, 1) : e.read(1, 8)), 8);
      return;
    }
    const value = e.let(e.read(2, 8));
    const rest = readRegisterHalf(e, 1, 0);
    writeRegister(e, 0, [e.letV(f.v128.replace('i64x2', rest, high ? 1 : 0, f.get(value)))]);
  };

/** VMOVHLPS, VMOVLHPS. */
const crossHalves =
  (lanes: readonly number[]): Semantics =>
  (e) => {
    const a = readRegisterHalf(e, 1, 0);
    writeRegister(e, 0, [e.letV(e.f.v128.shuffle(a, readRegisterHalf(e, 2, 0), lanes))]);
  };

const broadcast =
  (shape: 'i8x16' | 'i16x8' | 'i32x4' | 'i64x2', size: 1 | 2 | 4 | 8): Semantics =>
  (e) => {
    const { f } = e;
    const value = e.let(e.isMemory(1) ? e.read(1, size) : e.loadHost(e.registerAddress(1), size));
    const all = e.letV(shape === 'i64x2' ? f.v128.splat(shape, f.get(value)) : f.v128.splat(shape, f.i32.wrap_i64(f.get(value))));
    writeRegister(e, 0, vectorBytes(e) === 32 ? [all, all] : [all]);
  };

const broadcastHalf: Semantics = (e) => {
  const [half] = readHalves(e, 1, 16);
  writeRegister(e, 0, [half, half]);
};

/** VINSERTF128: immediate bit 0 says which half. */
const insertHalf: Semantics = (e) => {
  const { f } = e;
  const [inserted] = readHalves(e, 2, 16);
  const high = e.let32(f.i32.and(immediateByte(e, 3), f.i32.const(1)));
  const old = readRegisterHalf(e, 1, 0);
  const low = e.letV(f.select(old, f.get(inserted), f.get(high)));
  const given = f.get(inserted);
  writeRegister(e, 0, [low, e.letV(f.select(given, readRegisterHalf(e, 1, 1), f.get(high)))]);
};

const extractHalf: Semantics = (e) => {
  const { f } = e;
  const high = readRegisterHalf(e, 1, 1);
  const half = e.letV(f.select(high, readRegisterHalf(e, 1, 0), f.i32.and(immediateByte(e, 2), f.i32.const(1))));
  if (e.isMemory(0)) storeHalves(e, [half]);
  else writeRegister(e, 0, [half]);
};

/** VZEROUPPER; VZEROALL clears the low halves too. Only the registers that the mode has (SDM vol. 2C). */
const clear =
  (all: boolean): Semantics =>
  (e) => {
    const { f } = e;
    for (let reg = 0; reg < (e.form.mode === 64 ? 16 : 8); reg++) {
      f.v128.store(e.cpu(), zeroVector(f), CPU.offset.ymmHigh + 16 * reg);
      if (all) f.v128.store(e.cpu(), zeroVector(f), CPU.offset.xmm + 16 * reg);
    }
  };

/** Sign bits of all elements as an integer. */
const signMask =
  (op: 'i8x16_bitmask' | 'i32x4_bitmask' | 'i64x2_bitmask', elements: number): Semantics =>
  (e) => {
    const { f } = e;
    const mask = e.let(f.i64.extend_i32_u(f.v128[op](readRegisterHalf(e, 1, 0))));
    if (vectorBytes(e) === 32) {
      const upper = f.i64.shl(f.i64.extend_i32_u(f.v128[op](readRegisterHalf(e, 1, 1))), f.i64.const(elements));
      f.set(mask, f.i64.or(upper, f.get(mask)));
    }
    e.write(0, mask);
  };

/** Upper half of XMM0, which VPCMPESTRM and VPCMPISTRM write without naming it. */
export const clearAboveXmm0 = (e: Emitter): void => e.f.v128.store(e.cpu(), zeroVector(e.f), CPU.offset.xmm + HIGH_HALF);

export const vexMoveSemantics: SemanticsTable = {
  vmovaps: move(true),
  vmovapd: move(true),
  vmovdqa: move(true),
  vmovntps: move(true),
  vmovntpd: move(true),
  vmovntdq: move(true),
  vmovntdqa: move(true),
  vmovups: move(false),
  vmovupd: move(false),
  vmovdqu: move(false),
  vlddqu: move(false),
  vmovss: moveScalar(4),
  vmovsd: moveScalar(8),
  vmovlps: moveHalf(false),
  vmovlpd: moveHalf(false),
  vmovhps: moveHalf(true),
  vmovhpd: moveHalf(true),
  vmovhlps: crossHalves([24, 25, 26, 27, 28, 29, 30, 31, 8, 9, 10, 11, 12, 13, 14, 15]),
  vmovlhps: crossHalves([0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]),
  vbroadcastss: broadcast('i32x4', 4),
  vbroadcastsd: broadcast('i64x2', 8),
  vpbroadcastb: broadcast('i8x16', 1),
  vpbroadcastw: broadcast('i16x8', 2),
  vpbroadcastd: broadcast('i32x4', 4),
  vpbroadcastq: broadcast('i64x2', 8),
  vbroadcastf128: broadcastHalf,
  vbroadcasti128: broadcastHalf,
  vinsertf128: insertHalf,
  vinserti128: insertHalf,
  vextractf128: extractHalf,
  vextracti128: extractHalf,
  vzeroupper: clear(false),
  vzeroall: clear(true),
  vpmovmskb: signMask('i8x16_bitmask', 16),
  vmovmskps: signMask('i32x4_bitmask', 4),
  vmovmskpd: signMask('i64x2_bitmask', 2),
};

/** Packs, unpacks, shuffles, inserts and extracts of MMX, SSE and SSE2. */
import type { FunctionBuilder, I32, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import type { VectorOp } from './sse-operands.ts';
import { checkPending, enterMmx, immediateByte, isMmx, packed, readAligned, writeMmx } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

// --- pack and unpack ---------------------------------------------------------------------------------------------------------

type Narrow = 'i8x16_narrow_i16x8_s' | 'i8x16_narrow_i16x8_u' | 'i16x8_narrow_i32x4_s' | 'i16x8_narrow_i32x4_u';

const LOW_HALVES = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23] as const;

/** The first operand's elements go to the low half. In MMX both operands together are one vector. */
function pack(op: Narrow): Semantics {
  return packed((f, a, b) => f.v128[op](f.get(a), f.get(b)), {
    op: (f, a, b) => {
      f.set(a, f.v128.shuffle(f.get(a), f.get(b), LOW_HALVES));
      return f.v128[op](f.get(a), f.get(a));
    },
    half: 0,
  });
}

/** Byte indices that interleave elements of `width` bytes from one half of two vectors. */
function interleaved(width: number, high: boolean): number[] {
  const bytes: number[] = [];
  for (let element = 0; element < 8 / width; element++)
    for (const operand of [0, 16])
      for (let byte = 0; byte < width; byte++) bytes.push(operand + (high ? 8 : 0) + element * width + byte);
  return bytes;
}

/** The MMX forms are the halves of the vectors' low interleave. */
function unpack(width: number, high: boolean): Semantics {
  const interleave =
    (lanes: readonly number[]): VectorOp =>
    (f, a, b) =>
      f.v128.shuffle(f.get(a), f.get(b), lanes);
  return packed(interleave(interleaved(width, high)), { op: interleave(interleaved(width, false)), half: high ? 1 : 0 });
}

// --- shuffles by an immediate ------------------------------------------------------------------------------------------------

/**
 * Byte indices for a swizzle from an immediate read at run time: 32-bit lane i of the result selects field i, `bits` wide, of the
 * immediate. SIMD has no per-lane shift, so the fields are moved to a common place by multiplying.
 */
function fields(
  f: FunctionBuilder,
  immediate: I32,
  multipliers: readonly [number, number, number, number],
  shift: number,
  mask: number,
): V128 {
  const { v128, i32 } = f;
  const moved = v128.i32x4_mul(v128.splat('i32x4', immediate), v128.const(...multipliers));
  return v128.and(v128.i32x4_shr_u(moved, i32.const(shift)), v128.const(mask, mask, mask, mask));
}

/** Indices of the four dwords named by four two-bit fields. */
function dwordIndices(f: FunctionBuilder, immediate: I32): V128 {
  const { v128 } = f;
  const numbers = fields(f, immediate, [64, 16, 4, 1], 6, 3);
  const scaled = v128.i32x4_mul(numbers, v128.const(0x04040404, 0x04040404, 0x04040404, 0x04040404));
  return v128.i32x4_add(scaled, v128.const(0x03020100, 0x03020100, 0x03020100, 0x03020100));
}

/** Indices of four words named by four two-bit fields, for one half; the other half keeps its place. */
function wordIndices(e: Emitter, immediate: Local<I32>, high: boolean): V128 {
  const { f } = e;
  const { i64, i32 } = f;
  const field = (n: number) => {
    const bits = i32.and(i32.shr_u(f.get(immediate), i32.const(2 * n)), i32.const(3));
    return i64.shl(i64.extend_i32_u(bits), i64.const(16 * n + 1));
  };
  const doubled = i64.or(i64.or(i64.or(field(0), field(1)), field(2)), field(3));
  // Twice the word's number in every word: its bytes are that and one more, eight further on in the high half.
  const bytes = i64.mul(doubled, i64.const(0x101));
  const index = e.let(i64.add(bytes, i64.const(high ? 0x0908_0908_0908_0908n : 0x0100_0100_0100_0100n)));
  return f.v128.replace('i64x2', f.v128.const(...IDENTITY), high ? 1 : 0, f.get(index));
}

const IDENTITY = [0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c] as const;

/** Indices of two qwords named by two one-bit fields. */
function qwordIndices(f: FunctionBuilder, immediate: I32): V128 {
  const { v128 } = f;
  const numbers = fields(f, immediate, [2, 2, 1, 1], 1, 1);
  const scaled = v128.i32x4_mul(numbers, v128.const(0x08080808, 0x08080808, 0x08080808, 0x08080808));
  return v128.i32x4_add(scaled, v128.const(0x03020100, 0x07060504, 0x03020100, 0x07060504));
}

/** Byte numbers of elements of `width` bytes chosen by fields of a known immediate. */
function knownBytes(immediate: number, width: number, count: number): number[] {
  const bits = count === 2 ? 1 : 2;
  return Array.from({ length: count * width }, (_, byte) => {
    const field = (immediate >> (bits * Math.floor(byte / width))) & ((1 << bits) - 1);
    return field * width + (byte % width);
  });
}

/** `op0 = swizzle(op1)` with indices from the immediate, operand 2; `lanes` are they where it is known. */
const swizzled =
  (indices: (e: Emitter, immediate: Local<I32>) => V128, lanes: (immediate: number) => number[]): Semantics =>
  (e) => {
    const { f } = e;
    const mmx = isMmx(e);
    if (mmx) checkPending(e);
    const value = e.letV(mmx ? f.v128.splat('i64x2', e.read(1, 8)) : readAligned(e, 1));
    const known = e.immediate(2);
    const result = e.tmpV();
    if (known === undefined) {
      const immediate = e.let32(immediateByte(e, 2));
      f.set(result, f.v128.i8x16_swizzle(f.get(value), indices(e, immediate)));
    } else {
      f.set(result, f.v128.shuffle(f.get(value), f.get(value), lanes(known)));
    }
    if (mmx) {
      enterMmx(e);
      writeMmx(e, 0, e.let(f.v128.extract_i64(f.get(result), 0)));
    } else {
      e.writeV(0, result);
    }
  };

const range = (from: number): number[] => Array.from({ length: 8 }, (_, n) => from + n);

/** SHUFPS, SHUFPD: the low half of the result is chosen from the first operand, the high half from the second. */
const shuffleTwo =
  (indices: (f: FunctionBuilder, immediate: I32) => V128, width: number): Semantics =>
  (e) => {
    const { f } = e;
    const b = e.letV(readAligned(e, 1));
    const a = e.letV(e.readV(0));
    const known = e.immediate(2);
    if (known !== undefined) {
      const lanes = knownBytes(known, width, 16 / width).map((byte, n) => (n < 8 ? byte : byte + 16));
      e.writeV(0, e.letV(f.v128.shuffle(f.get(a), f.get(b), lanes)));
      return;
    }
    const index = e.letV(indices(f, immediateByte(e, 2)));
    const [low, high] = [f.v128.i8x16_swizzle(f.get(a), f.get(index)), f.v128.i8x16_swizzle(f.get(b), f.get(index))];
    e.writeV(0, e.letV(f.v128.shuffle(low, high, [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31])));
  };

// --- single elements and masks -----------------------------------------------------------------------------------------------

/** Address of the word of register operand `n` that the immediate, operand 2, names. */
function wordAddress(e: Emitter, n: number): I32 {
  const { f } = e;
  const register = e.registerAddress(n);
  const word = f.i32.and(immediateByte(e, 2), f.i32.const(isMmx(e) ? 3 : 7));
  return f.i32.add(register, f.i32.shl(word, f.i32.const(1)));
}

const insertWord: Semantics = (e) => {
  if (isMmx(e)) checkPending(e);
  const value = e.let(e.read(1, 2));
  e.f.i64.store16(wordAddress(e, 0), e.f.get(value));
  if (isMmx(e)) {
    enterMmx(e);
    writeMmx(e, 0, e.let(e.read(0, 8)));
  }
};

const extractWord: Semantics = (e) => {
  if (isMmx(e)) checkPending(e);
  const value = e.let(e.f.i64.load16_u(wordAddress(e, 1)));
  if (isMmx(e)) enterMmx(e);
  e.write(0, value);
};

type BitMask = 'i8x16_bitmask' | 'i32x4_bitmask' | 'i64x2_bitmask';

/** Sign bits of the elements as an integer. */
const signMask =
  (op: BitMask): Semantics =>
  (e) => {
    const { f } = e;
    if (isMmx(e)) {
      checkPending(e);
      enterMmx(e);
      const low = f.v128.replace('i64x2', f.v128.const(0, 0, 0, 0), 0, e.read(1, 8));
      e.write(0, e.let(f.i64.extend_i32_u(f.v128[op](low))));
      return;
    }
    e.write(0, e.let(f.i64.extend_i32_u(f.v128[op](e.readV(1)))));
  };

export const sseShuffleSemantics: SemanticsTable = {
  packsswb: pack('i8x16_narrow_i16x8_s'),
  packuswb: pack('i8x16_narrow_i16x8_u'),
  packssdw: pack('i16x8_narrow_i32x4_s'),
  packusdw: pack('i16x8_narrow_i32x4_u'),
  punpcklbw: unpack(1, false),
  punpcklwd: unpack(2, false),
  punpckldq: unpack(4, false),
  punpcklqdq: unpack(8, false),
  punpckhbw: unpack(1, true),
  punpckhwd: unpack(2, true),
  punpckhdq: unpack(4, true),
  punpckhqdq: unpack(8, true),
  unpcklps: unpack(4, false),
  unpcklpd: unpack(8, false),
  unpckhps: unpack(4, true),
  unpckhpd: unpack(8, true),
  pshufd: swizzled(
    (e, immediate) => dwordIndices(e.f, e.f.get(immediate)),
    (known) => knownBytes(known, 4, 4),
  ),
  pshuflw: swizzled(
    (e, immediate) => wordIndices(e, immediate, false),
    (known) => [...knownBytes(known, 2, 4), ...range(8)],
  ),
  pshufhw: swizzled(
    (e, immediate) => wordIndices(e, immediate, true),
    (known) => [...range(0), ...knownBytes(known, 2, 4).map((byte) => byte + 8)],
  ),
  pshufw: swizzled(
    (e, immediate) => wordIndices(e, immediate, false),
    (known) => [...knownBytes(known, 2, 4), ...range(8)],
  ),
  shufps: shuffleTwo(dwordIndices, 4),
  shufpd: shuffleTwo(qwordIndices, 8),
  pinsrw: insertWord,
  pextrw: extractWord,
  pmovmskb: signMask('i8x16_bitmask'),
  movmskps: signMask('i32x4_bitmask'),
  movmskpd: signMask('i64x2_bitmask'),
};

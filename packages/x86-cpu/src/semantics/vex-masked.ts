/** Masked loads and stores, and gathers: elements whose mask bit is clear are not accessed at all (SDM vol. 2C, VMASKMOV, VPGATHERDD). */
import type { I32, I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { HIGH_HALF } from '../emit/lane-emitter.ts';
import { AddressMode } from '../form.ts';
import { replaceElement } from '../numeric/vector-element.ts';
import { withoutAlignmentCheck } from './alignment-check.ts';
import { zeroVector } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';
import { readRegisterHalf, vectorBytes, writeRegister } from './vex-operands.ts';

type Width = 4 | 8;

/** Sign bits of a mask's elements, one bit each. */
function maskBits(e: Emitter, operand: number, width: Width): Local<I32> {
  const { f } = e;
  const bits = (half: number): I32 =>
    width === 4
      ? f.v128.i32x4_bitmask(readRegisterHalf(e, operand, half))
      : f.v128.i64x2_bitmask(readRegisterHalf(e, operand, half));
  const low = e.let32(bits(0));
  if (vectorBytes(e) === 32) {
    const upper = f.i32.shl(bits(1), f.i32.const(16 / width));
    f.set(low, f.i32.or(upper, f.get(low)));
  }
  return low;
}

const bit = (e: Emitter, mask: Local<I32>, n: number): I32 => e.f.i32.and(e.f.get(mask), e.f.i32.const(1 << n));

/** Linear addresses of the memory operand's elements, each checked for itself alone. */
function elementAddresses(e: Emitter, width: Width, write: boolean): (n: number) => Local<I64> {
  const { f } = e;
  const behind = (start: Local<I64>, n: number): I64 => f.i64.add(f.get(start), f.i64.const(n * width));
  if (e.form.address === AddressMode.Segmented) {
    const offset = e.let(e.effectiveAddress());
    return (n) => e.stringAddress(e.let(behind(offset, n)), width, write);
  }
  const first = e.address(width, write);
  return (n) => e.let(e.truncate(behind(first, n), e.form.mode === 64 ? 8 : 4));
}

/** Where element `n` is within a register. */
const place = (n: number, width: number): number => (n * width < 16 ? n * width : n * width - 16 + HIGH_HALF);

/** VMASKMOVPS and its kin from memory: the other elements become zero. */
const maskedLoad =
  (width: Width): Semantics =>
  (e) => {
    const { f } = e;
    const mask = maskBits(e, 1, width);
    const address = elementAddresses(e, width, false);
    const halves: Local<V128>[] = [];
    for (let half = 0; half < vectorBytes(e) / 16; half++) {
      const r = e.letV(zeroVector(f));
      for (let lane = 0; lane < 16 / width; lane++) {
        const n = (half * 16) / width + lane;
        f.if(bit(e, mask, n), () => {
          const value = e.let(e.load(address(n), width));
          const old = f.get(r);
          f.set(r, replaceElement(f, old, width, lane, f.get(value)));
        });
      }
      halves.push(r);
    }
    writeRegister(e, 0, halves);
  };

/** The same to memory: no element is written before all are known to be writable. */
const maskedStore =
  (width: Width): Semantics =>
  (e) => {
    const { f } = e;
    const mask = maskBits(e, 1, width);
    const address = elementAddresses(e, width, true);
    const count = vectorBytes(e) / width;
    const each = (body: (n: number) => void): void => {
      for (let n = 0; n < count; n++) f.if(bit(e, mask, n), () => body(n));
    };
    each((n) => void e.reference(address(n), width, true));
    each((n) => {
      const register = e.registerAddress(2);
      const value = e.let(e.loadHost(register, width, place(n, width)));
      e.store(address(n), width, value);
    });
  };

const maskedMove =
  (width: Width): Semantics =>
  (e) =>
    (e.isMemory(0) ? maskedStore(width) : maskedLoad(width))(e);

/**
 * VPGATHERDD and its kin. Of the masks only sign bits count, and the rest of them stays as it is until then, as AMD's processors have it
 * (the SDM's pseudocode spreads the signs first). An element that is done has its mask cleared, so that after a fault the rest can be gathered: the one kind of
 * instruction that changes registers before an access that may fault.
 */
const gather =
  (index: Width, width: Width): Semantics =>
  (e) => {
    const { f } = e;
    const { i64 } = f;
    const bytes = vectorBytes(e);
    // With wide indices and narrow elements only half of the elements exist.
    const count = bytes / Math.max(index, width);
    const store = (operand: number, n: number, value: Local<I64>): void =>
      e.storeHost(() => e.registerAddress(operand), width, value, place(n, width));
    const zero = e.let(i64.const(0));
    for (let n = 0; n < count; n++) {
      const mask = (): I64 => {
        const register = e.registerAddress(2);
        return width === 4 ? i64.load32_s(register, place(n, width)) : i64.load(register, place(n, width));
      };
      f.if(i64.lt_s(mask(), i64.const(0)), () => {
        const register = e.vectorIndex();
        const at = place(n, index);
        const raw = index === 4 ? i64.load32_s(register, at) : i64.load(register, at);
        const distance = e.let(i64.shl(raw, i64.extend_i32_u(e.vectorScale())));
        store(0, n, e.let(e.load(e.address(width, false, distance), width)));
      });
      store(2, n, zero);
    }
    // What no element fills is cleared, in the mask as in the destination.
    const filled = count * width;
    if (filled === 8) for (const operand of [0, 2]) e.writeHigh(operand, zero);
    if (filled <= 16) for (const operand of [0, 2]) f.v128.store(e.registerAddress(operand), zeroVector(f), HIGH_HALF);
  };

/** Elements need not be aligned, whatever RFLAGS.AC says (SDM vol. 2C, VMASKMOV; AMD's processors treat gathers alike). */
const unaligned =
  (semantics: Semantics): Semantics =>
  (e) =>
    withoutAlignmentCheck(
      e,
      () => e.f.i32.const(1),
      () => semantics(e),
    );

const maskedMoves = unaligned(maskedMove(4));
const maskedWideMoves = unaligned(maskedMove(8));
const gathers = (index: Width, width: Width): Semantics => unaligned(gather(index, width));

export const vexMaskedSemantics: SemanticsTable = {
  vmaskmovps: maskedMoves,
  vmaskmovpd: maskedWideMoves,
  vpmaskmovd: maskedMoves,
  vpmaskmovq: maskedWideMoves,
  vpgatherdd: gathers(4, 4),
  vpgatherdq: gathers(4, 8),
  vpgatherqd: gathers(8, 4),
  vpgatherqq: gathers(8, 8),
  vgatherdps: gathers(4, 4),
  vgatherdpd: gathers(4, 8),
  vgatherqps: gathers(8, 4),
  vgatherqpd: gathers(8, 8),
};

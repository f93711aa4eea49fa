/** Data movement of MMX, SSE and SSE2 (SDM vol. 1 §10.4.1, §11.4.1). */
import type { I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { withoutAlignmentCheck } from './alignment-check.ts';
import { checkPending, enterMmx, isMmx, lowVector, readAligned, readHigh, writeAligned, writeMmx } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const moveAligned: Semantics = (e) => writeAligned(e, 0, e.letV(readAligned(e, 1)));
const moveUnaligned: Semantics = (e) => e.writeV(0, e.letV(e.readV(1)));

/** MOVSS, MOVSD: a load clears the rest of the register, a register source leaves it. */
const moveScalar =
  (size: 4 | 8): Semantics =>
  (e) => {
    const value = e.let(e.read(1, size));
    if (e.isMemory(0)) e.write(0, value, size);
    else if (e.isMemory(1)) e.writeV(0, e.letV(lowVector(e.f, () => e.f.get(value))));
    else e.writeLow(0, size, value);
  };

/** MOVLPS, MOVHPS and their doubles: 8 bytes to or from one half. */
const moveHalf =
  (high: boolean): Semantics =>
  (e) => {
    if (e.isMemory(0)) {
      e.write(0, e.let(high ? readHigh(e, 1) : e.read(1, 8)), 8);
      return;
    }
    const value = e.let(e.read(1, 8));
    if (high) e.writeHigh(0, value);
    else e.writeLow(0, 8, value);
  };

const writeZeroed = (e: Emitter, value: () => I64): void => e.writeV(0, e.letV(lowVector(e.f, value)));

/** MOVD, MOVQ between general and vector registers: into a vector the rest is cleared. */
const moveGeneral: Semantics = (e) => {
  const mmx = isMmx(e);
  if (mmx) checkPending(e);
  if (e.form.classes[0] === 'x') {
    writeZeroed(e, () => e.read(1));
  } else if (e.form.classes[0] === 't') {
    const value = e.let(e.read(1));
    enterMmx(e);
    writeMmx(e, 0, value);
  } else {
    const size = e.size(0);
    const value = e.let(e.truncate(e.read(1, 8), size));
    // A store may fault, and then the x87 state is as it was.
    if (!e.isMemory(0) && mmx) enterMmx(e);
    e.write(0, value, size);
    if (e.isMemory(0) && mmx) enterMmx(e);
  }
};

/** MOVQ and MOVNTQ with MMX registers and memory. */
const moveMmx: Semantics = (e) => {
  checkPending(e);
  const value = e.let(e.read(1, 8));
  if (e.isMemory(0)) {
    e.write(0, value, 8);
    enterMmx(e);
  } else {
    enterMmx(e);
    writeMmx(e, 0, value);
  }
};

const moveQuad: Semantics = (e) => {
  if (e.isMemory(0)) e.write(0, e.let(e.read(1, 8)), 8);
  else writeZeroed(e, () => e.read(1, 8));
};

const fromMmx: Semantics = (e) => {
  checkPending(e);
  enterMmx(e);
  writeZeroed(e, () => e.read(1, 8));
};

const toMmx: Semantics = (e) => {
  checkPending(e);
  enterMmx(e);
  writeMmx(e, 0, e.let(e.read(1, 8)));
};

/**
 * Bytes whose mask byte has its top bit set are written; the others keep what they have, but must be writable all the same, as AMD's
 * processors have it (SDM vol. 2B, MASKMOVDQU, leaves that open).
 */
function maskedStore(e: Emitter, size: 8 | 16, value: () => V128, mask: () => V128): void {
  const { f } = e;
  const va = e.address(size, true);
  const select = e.letV(f.v128.i8x16_shr_s(mask(), f.i32.const(7)));
  const store = (): void => {
    const host = e.reference(va, size, true);
    if (e.helpers.atomic) {
      storeSelectedBytes(e, va, size, value, select);
      return;
    }
    const old = e.letV(size === 16 ? f.v128.load(f.get(host)) : lowVector(f, () => f.i64.load(f.get(host))));
    const merged = e.letV(f.v128.bitselect(value(), f.get(old), f.get(select)));
    if (size === 16) f.v128.store(f.get(host), f.get(merged));
    else f.i64.store(f.get(host), f.v128.extract_i64(f.get(merged), 0));
    e.commit(host);
  };
  // 16 bytes are two accesses of 8 where RFLAGS.AC asks for alignment, as processors have it.
  if (size === 16) withoutAlignmentCheck(e, () => f.i32.eqz(f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(7))), store);
  else store();
}

/** One by one: a byte that is not selected may be another processor's at this moment. */
function storeSelectedBytes(e: Emitter, va: Local<I64>, size: 8 | 16, value: () => V128, select: Local<V128>): void {
  const { f } = e;
  const bytes = e.letV(value());
  const bits = e.let32(f.v128.i8x16_bitmask(f.get(select)));
  const at = e.tmp();
  const byte = e.tmp();
  for (let n = 0; n < size; n++)
    f.if(f.i32.and(f.get(bits), f.i32.const(1 << n)), () => {
      f.set(at, e.truncate(f.i64.add(f.get(va), f.i64.const(n)), e.form.mode === 64 ? 8 : 4));
      f.set(byte, f.i64.extend_i32_u(f.v128.extract_i32('i8x16_u', f.get(bytes), n)));
      e.store(at, 1, byte);
    });
}

const maskedMmx: Semantics = (e) => {
  checkPending(e);
  // Unlike MOVQ's, its store comes after the change of the x87 state.
  enterMmx(e);
  const half = (n: number) => () => lowVector(e.f, () => e.read(n, 8));
  maskedStore(e, 8, half(1), half(2));
};

const lanes =
  (...bytes: number[]): Semantics =>
  (e) => {
    const value = e.letV(readAligned(e, 1));
    e.writeV(0, e.letV(e.f.v128.shuffle(e.f.get(value), e.f.get(value), bytes)));
  };

const movddup: Semantics = (e) => e.writeV(0, e.letV(e.f.v128.splat('i64x2', e.read(1, 8))));

export const sseMoveSemantics: SemanticsTable = {
  movaps: moveAligned,
  movapd: moveAligned,
  movdqa: moveAligned,
  movntps: moveAligned,
  movntpd: moveAligned,
  movntdq: moveAligned,
  movntdqa: moveAligned,
  movups: moveUnaligned,
  movupd: moveUnaligned,
  movdqu: moveUnaligned,
  lddqu: moveUnaligned,
  movss: moveScalar(4),
  movsd: moveScalar(8),
  movlps: moveHalf(false),
  movlpd: moveHalf(false),
  movhps: moveHalf(true),
  movhpd: moveHalf(true),
  movhlps: (e) => e.writeLow(0, 8, e.let(readHigh(e, 1))),
  movlhps: (e) => e.writeHigh(0, e.let(e.read(1, 8))),
  movd: moveGeneral,
  movq: moveMmx,
  movntq: moveMmx,
  movq_xmm: moveQuad,
  movq2dq: fromMmx,
  movdq2q: toMmx,
  movnti: (e) => e.write(0, e.let(e.read(1))),
  maskmovq: maskedMmx,
  maskmovdqu: (e) =>
    maskedStore(
      e,
      16,
      () => e.readV(1),
      () => e.readV(2),
    ),
  movsldup: lanes(0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11),
  movshdup: lanes(4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15),
  movddup,
};

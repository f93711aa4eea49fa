/** EMMS, MXCSR, and the 512-byte FXSAVE image (SDM vol. 1 §10.5, vol. 2A, table 3-43). */
import type { I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { CPU } from '../state.ts';
import { alignedAddress, checkPending } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const GP = 13;
/** Bits LDMXCSR accepts: all of the low word, DAZ included (SDM vol. 1 §11.6.6). */
const MXCSR_MASK = 0xffff;
/** FSW.ES and FSW.B, which follow from the flags and the masks (SDM vol. 1 §8.1.3.3). */
const FSW_ES_B = 0x8080;

/** Offsets in the image. */
const Image = {
  fcw: 0,
  fsw: 2,
  tags: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  stack: 32,
  xmm: 160,
  written: 416,
  size: 512,
} as const;

const emms: Semantics = (e) => {
  checkPending(e);
  e.store32('fempty', () => e.f.i32.const(0xff));
  e.store32('ftop', () => e.f.i32.const(0));
};

const refuseReserved = (e: Emitter, mxcsr: Local<I64>): void =>
  e.f.if(e.f.i32.and(e.f.i32.wrap_i64(e.f.get(mxcsr)), e.f.i32.const(~MXCSR_MASK)), () => e.raise(GP, 0));

const ldmxcsr: Semantics = (e) => {
  const value = e.let(e.read(0, 4));
  refuseReserved(e, value);
  e.store32('mxcsr', () => e.f.i32.wrap_i64(e.f.get(value)));
};

const stmxcsr: Semantics = (e) => e.write(0, e.let(e.f.i64.extend_i32_u(e.load32('mxcsr'))), 4);

/** Address of an image, with both of its ends known to be accessible, the last first as processors do: nothing after this faults. */
function imageAddress(e: Emitter, write: boolean, size: number): Local<I64> {
  const va = alignedAddress(e, 16, write);
  probeEnds(e, va, write, size);
  return va;
}

/** An image is in two pages at most. */
export function probeEnds(e: Emitter, va: Local<I64>, write: boolean, size: number): void {
  const last = e.address(1, write, e.let(e.f.i64.const(size - 1)));
  e.reference(last, 1, write);
  e.reference(va, 8, write);
}

/** Repeats `body` with a counter in 0, `step`, … below `end`. */
export function forOffsets(e: Emitter, end: number, step: number, body: (offset: Local<I64>) => void): void {
  const { f } = e;
  const offset = e.let(f.i64.const(0));
  f.loop((again) => {
    body(offset);
    f.set(offset, f.i64.add(f.get(offset), f.i64.const(step)));
    f.brIf(again, f.i64.lt_u(f.get(offset), f.i64.const(end)));
  });
}

export const at = (e: Emitter, va: Local<I64>, base: number, offset?: Local<I64>): Local<I64> => {
  const { i64 } = e.f;
  const fixed = i64.add(e.f.get(va), i64.const(base));
  return e.let(offset ? i64.add(fixed, e.f.get(offset)) : fixed);
};

/** State address of x87 register ST(offset / 16): the physical register is found from TOP. */
function stackRegister(e: Emitter, offset: Local<I64>) {
  const { f } = e;
  const { i32 } = f;
  const top = i32.shl(e.load32('ftop'), i32.const(4));
  const place = i32.and(i32.add(top, i32.wrap_i64(f.get(offset))), i32.const(0x70));
  return e.let32(i32.add(i32.add(e.cpu(), place), i32.const(CPU.offset.fpr)));
}

/** XMM8–15 exist in 64-bit mode only. */
export const xmmBytes = (e: Emitter): number => (e.form.mode === 64 ? 256 : 128);
const isWide = (e: Emitter): boolean => e.form.opSize === 8;

/** Pointer field of the image: 64 bits with REX.W, else a 32-bit offset and a selector. */
function pointer(e: Emitter, offset: 'fip' | 'fdp', selector: 'fcs' | 'fds'): I64 {
  const { i64 } = e.f;
  if (isWide(e)) return e.load64(offset);
  const low = i64.and(e.load64(offset), i64.const(0xffff_ffff));
  return i64.or(low, i64.shl(i64.extend_i32_u(e.load32(selector)), i64.const(32)));
}

/** FCW to FDP and the eight registers. */
export function saveX87(e: Emitter, va: Local<I64>): void {
  const { f } = e;
  const { i32, i64 } = f;
  const status = () => i32.or(e.load32('fsw'), i32.shl(e.load32('ftop'), i32.const(11)));
  const low = () => i32.or(i32.shl(status(), i32.const(16)), i32.and(e.load32('fcw'), i32.const(0xffff)));
  const tags = () => i32.and(i32.xor(e.load32('fempty'), i32.const(-1)), i32.const(0xff));
  const high = () => i32.or(tags(), i32.shl(e.load32('fop'), i32.const(16)));
  const control = e.let(i64.or(i64.extend_i32_u(low()), i64.shl(i64.extend_i32_u(high()), i64.const(32))));
  e.store(va, 8, control);
  e.store(at(e, va, Image.fip), 8, e.let(pointer(e, 'fip', 'fcs')));
  e.store(at(e, va, Image.fdp), 8, e.let(pointer(e, 'fdp', 'fds')));
  forOffsets(e, 128, 16, (offset) => {
    const register = stackRegister(e, offset);
    e.store(at(e, va, Image.stack, offset), 8, e.let(i64.load(f.get(register))));
    e.store(at(e, va, Image.stack + 8, offset), 8, e.let(i64.load16_u(f.get(register), 8)));
  });
}

/** MXCSR and its mask. */
export function saveMxcsr(e: Emitter, va: Local<I64>): void {
  const { i64 } = e.f;
  const mxcsr = e.let(i64.or(i64.extend_i32_u(e.load32('mxcsr')), i64.shl(i64.const(MXCSR_MASK), i64.const(32))));
  e.store(at(e, va, Image.mxcsr), 8, mxcsr);
}

/** Halves of the vector registers that the mode has, 16 bytes each, from `place` in the image on. */
export function saveHalves(e: Emitter, va: Local<I64>, field: 'xmm' | 'ymmHigh', place: number = Image.xmm): void {
  const { i64, i32 } = e.f;
  forOffsets(e, xmmBytes(e), 8, (offset) => {
    const word = i64.load(i32.add(e.cpu(), i32.wrap_i64(e.f.get(offset))), CPU.offset[field]);
    e.store(at(e, va, place, offset), 8, e.let(word));
  });
}

const fxsave: Semantics = (e) => {
  const va = imageAddress(e, true, Image.size);
  saveX87(e, va);
  saveMxcsr(e, va);
  saveHalves(e, va, 'xmm');
};

function restorePointer(e: Emitter, value: Local<I64>, offset: 'fip' | 'fdp', selector: 'fcs' | 'fds'): void {
  const { f } = e;
  const { i64, i32 } = f;
  if (isWide(e)) {
    e.store64(offset, () => f.get(value));
    return;
  }
  e.store64(offset, () => i64.and(f.get(value), i64.const(0xffff_ffff)));
  e.store32(selector, () => i32.and(i32.wrap_i64(i64.shr_u(f.get(value), i64.const(32))), i32.const(0xffff)));
}

/** FCW to FDP and the eight registers, from memory that is known to be there. */
export function restoreX87(e: Emitter, va: Local<I64>): void {
  const { f } = e;
  const { i32, i64 } = f;
  const control = e.let(e.load(va, 8));
  const fip = e.let(e.load(at(e, va, Image.fip), 8));
  const fdp = e.let(e.load(at(e, va, Image.fdp), 8));
  const field = (shift: number, mask: number) =>
    i32.and(i32.wrap_i64(i64.shr_u(f.get(control), i64.const(shift))), i32.const(mask));
  e.store32('fcw', () => i32.or(field(0, 0x1f3f), i32.const(0x40)));
  e.store32('ftop', () => i32.and(field(27, 7), i32.const(7)));
  e.store32('fempty', () => i32.xor(field(32, 0xff), i32.const(0xff)));
  e.store32('fop', () => field(48, 0x7ff));
  const pending = () => i32.and(field(16, 0x3f), i32.xor(field(0, 0x3f), i32.const(0x3f)));
  const summary = e.let32(f.select(i32.const(FSW_ES_B), i32.const(0), pending()));
  e.store32('fsw', () => i32.or(field(16, 0xffff & ~0x3800 & ~FSW_ES_B), f.get(summary)));
  restorePointer(e, fip, 'fip', 'fcs');
  restorePointer(e, fdp, 'fdp', 'fds');
  forOffsets(e, 128, 16, (offset) => {
    const register = stackRegister(e, offset);
    const significand = e.let(e.load(at(e, va, Image.stack, offset), 8));
    const rest = e.let(e.load(at(e, va, Image.stack + 8, offset), 2));
    i64.store(f.get(register), f.get(significand));
    i64.store(f.get(register), f.get(rest), 8);
  });
}

/** MXCSR of an image, which must not have reserved bits. */
export function readMxcsr(e: Emitter, va: Local<I64>): Local<I64> {
  const mxcsr = e.let(e.load(at(e, va, Image.mxcsr), 4));
  refuseReserved(e, mxcsr);
  return mxcsr;
}

export function restoreHalves(e: Emitter, va: Local<I64>, field: 'xmm' | 'ymmHigh', place: number = Image.xmm): void {
  const { i64, i32 } = e.f;
  forOffsets(e, xmmBytes(e), 8, (offset) => {
    const word = e.let(e.load(at(e, va, place, offset), 8));
    i64.store(i32.add(e.cpu(), i32.wrap_i64(e.f.get(offset))), e.f.get(word), CPU.offset[field]);
  });
}

const fxrstor: Semantics = (e) => {
  const va = imageAddress(e, false, Image.size);
  const mxcsr = readMxcsr(e, va);
  e.store32('mxcsr', () => e.f.i32.wrap_i64(e.f.get(mxcsr)));
  restoreX87(e, va);
  restoreHalves(e, va, 'xmm');
};

export const sseStateSemantics: SemanticsTable = { emms, ldmxcsr, stmxcsr, fxsave, fxrstor };

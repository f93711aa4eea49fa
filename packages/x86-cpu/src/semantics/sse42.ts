/** SSE4.2: string comparison and CRC32 (SDM vol. 1 §12.10, vol. 2B §4.1). */
import type { I32, I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { CPU, Reg } from '../state.ts';
import { immediateByte, lowVector, routine } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

/** Bits of the immediate (SDM vol. 2B §4.1.1–4.1.5). */
const Control = { Words: 1, Select: 0x40 } as const;

/** Number of elements of an operand whose length is explicit: |EAX| or |EDX|, at most what fits. */
function explicitLength(e: Emitter, reg: number, capacity: Local<I32>): Local<I32> {
  const { f } = e;
  const { i64, i32 } = f;
  const wide = e.form.opSize === 8;
  const value = e.let(wide ? e.gpr(reg, 8) : i64.extend32_s(e.gpr(reg, 4)));
  const sign = e.let(i64.shr_s(f.get(value), i64.const(63)));
  const magnitude = e.let(i64.sub(i64.xor(f.get(value), f.get(sign)), f.get(sign)));
  const fits = () => i64.lt_u(f.get(magnitude), i64.extend_i32_u(f.get(capacity)));
  return e.let32(f.select(i32.wrap_i64(f.get(magnitude)), f.get(capacity), fits()));
}

/** Number of elements before the first that is zero. */
function implicitLength(e: Emitter, vector: Local<V128>, words: () => I32, capacity: Local<I32>): Local<I32> {
  const { f } = e;
  const { v128, i32 } = f;
  const zeros = f.ifOf(
    'i32',
    words(),
    () => v128.i16x8_bitmask(v128.i16x8_eq(f.get(vector), v128.const(0, 0, 0, 0))),
    () => v128.i8x16_bitmask(v128.i8x16_eq(f.get(vector), v128.const(0, 0, 0, 0))),
  );
  return e.let32(i32.ctz(i32.or(zeros, i32.shl(i32.const(1), f.get(capacity)))));
}

type Instruction = { readonly explicit: boolean; readonly index: boolean };

/** PCMPESTRI and its three kin. Memory operands need not be aligned. */
const compareStrings =
  ({ explicit, index }: Instruction): Semantics =>
  (e) => {
    const { f } = e;
    const { v128, i32, i64 } = f;
    const b = e.letV(e.readV(1));
    const a = e.letV(e.readV(0));
    const control = e.let32(immediateByte(e, 2));
    const has = (bit: number): I32 => i32.and(f.get(control), i32.const(bit));
    const capacity = e.let32(i32.shr_u(i32.const(16), has(Control.Words)));
    const lengthA = explicit ? explicitLength(e, Reg.RAX, capacity) : implicitLength(e, a, () => has(Control.Words), capacity);
    const lengthB = explicit ? explicitLength(e, Reg.RDX, capacity) : implicitLength(e, b, () => has(Control.Words), capacity);
    const matches = e.let32(
      f.call(
        routine<[V128, V128, I32, I32, I32], I32>(e, 'string_compare'),
        f.get(a),
        f.get(b),
        f.get(lengthA),
        f.get(lengthB),
        f.get(control),
      ),
    );
    if (index) {
      const last = i32.sub(i32.const(31), i32.clz(f.get(matches)));
      const chosen = f.select(last, i32.ctz(f.get(matches)), has(Control.Select));
      const place = e.let(i64.extend_i32_u(f.select(chosen, f.get(capacity), f.get(matches))));
      e.setGpr(1, 4, place);
    } else {
      const expanded = e.letV(
        f.ifOf(
          'v128',
          has(Control.Words),
          () => v128.i16x8_ne(v128.and(v128.splat('i16x8', f.get(matches)), v128.const(...WORD_BITS)), v128.const(0, 0, 0, 0)),
          () => {
            const halves = v128.i8x16_swizzle(v128.splat('i32x4', f.get(matches)), v128.const(0, 0, 0x01010101, 0x01010101));
            return v128.i8x16_ne(v128.and(halves, v128.const(...BYTE_BITS)), v128.const(0, 0, 0, 0));
          },
        ),
      );
      const plain = e.letV(lowVector(f, () => i64.extend_i32_u(f.get(matches))));
      f.v128.store(e.cpu(), f.select(f.get(expanded), f.get(plain), has(Control.Select)), CPU.offset.xmm);
    }
    setStringFlags(e, matches, lengthA, lengthB, capacity);
  };

const WORD_BITS = [0x0002_0001, 0x0008_0004, 0x0020_0010, 0x0080_0040] as const;
const BYTE_BITS = [0x0804_0201, 0x8040_2010 | 0, 0x0804_0201, 0x8040_2010 | 0] as const;

/** CF: a match; ZF: the second operand ends early; SF: the first does; OF: the first element matches; AF = PF = 0. */
function setStringFlags(e: Emitter, matches: Local<I32>, lengthA: Local<I32>, lengthB: Local<I32>, capacity: Local<I32>): void {
  const { f } = e;
  const { i32, i64 } = f;
  const short = (length: Local<I32>) => i64.extend_i32_u(i32.lt_u(f.get(length), f.get(capacity)));
  // The result is 0 or 1: odd parity only of 1. SF by its inverting bit, PF inverted where the result is zero.
  const zero = e.let(short(lengthB));
  const result = e.let(i64.xor(f.get(zero), i64.const(1)));
  const carry = e.let(i64.extend_i32_u(i32.ne(f.get(matches), i32.const(0))));
  const overflow = i64.xor(f.get(carry), i64.extend_i32_u(i32.and(f.get(matches), i32.const(1))));
  const top = i64.or(i64.shl(overflow, i64.const(62)), i64.shl(f.get(carry), i64.const(63)));
  const inverting = i64.or(i64.shl(f.get(zero), i64.const(1)), short(lengthA));
  const vector = e.let(i64.or(top, inverting));
  e.setFlags({ carry: () => f.get(vector), aux: () => f.get(result), result: () => f.get(result) });
}

const crc32: Semantics = (e) => {
  const { f } = e;
  const size = e.size(1);
  const value = e.let(e.read(1));
  const crc = f.i32.wrap_i64(e.read(0, 4));
  const sum = f.call(routine<[I32, I64, I32], I32>(e, 'crc32c'), crc, f.get(value), f.i32.const(8 * size));
  // With REX.W the upper half of the destination is cleared all the same.
  e.write(0, e.let(f.i64.extend_i32_u(sum)));
};

export const sse42Semantics: SemanticsTable = {
  pcmpestri: compareStrings({ explicit: true, index: true }),
  pcmpestrm: compareStrings({ explicit: true, index: false }),
  pcmpistri: compareStrings({ explicit: false, index: true }),
  pcmpistrm: compareStrings({ explicit: false, index: false }),
  crc32,
};

/** AES-NI, PCLMULQDQ and the SHA extensions. */
import type { FunctionBuilder, I32, I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { immediateByte, readAligned, routine } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const step = (e: Emitter, name: string, value: V128): V128 => e.f.call(routine<[V128], V128>(e, name), value);

const SHIFT_ROWS = [0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11] as const;
const INVERSE_SHIFT_ROWS = [0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3] as const;

/** One round on the first operand with the second as its key; rows are shifted before the substitution, which commutes with it. */
const round =
  (inverse: boolean, last: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const key = e.letV(readAligned(e, 1));
    const state = e.letV(e.readV(0));
    const shifted = f.v128.shuffle(f.get(state), f.get(state), inverse ? INVERSE_SHIFT_ROWS : SHIFT_ROWS);
    const substituted = step(e, inverse ? 'aes_inv_sub' : 'aes_sub', shifted);
    const mixed = last ? substituted : step(e, inverse ? 'aes_inv_mix' : 'aes_mix', substituted);
    e.writeV(0, e.letV(f.v128.xor(mixed, f.get(key))));
  };

/** AESKEYGENASSIST: words 1 and 3 substituted, and the same rotated with the round constant. */
const keyAssist: Semantics = (e) => {
  const { f } = e;
  const { v128, i64 } = f;
  const words = e.letV(step(e, 'aes_sub', readAligned(e, 1)));
  const spread = v128.shuffle(f.get(words), f.get(words), [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12]);
  const constant = v128.splat('i64x2', i64.shl(i64.extend_i32_u(immediateByte(e, 2)), i64.const(32)));
  e.writeV(0, e.letV(v128.xor(spread, constant)));
};

/** Half of a vector chosen by a bit of the immediate. */
function half(e: Emitter, vector: Local<V128>, bit: number): Local<I64> {
  const { f } = e;
  const high = f.v128.extract_i64(f.get(vector), 1);
  const chosen = f.select(high, f.v128.extract_i64(f.get(vector), 0), f.i32.and(immediateByte(e, 2), f.i32.const(bit)));
  return e.let(chosen);
}

const carryless: Semantics = (e) => {
  const { f } = e;
  const source = e.letV(readAligned(e, 1));
  const b = half(e, source, 0x10);
  const a = half(e, e.letV(e.readV(0)), 1);
  const product = (name: string): I64 => f.call(routine<[I64, I64], I64>(e, name), f.get(a), f.get(b));
  const low = f.v128.splat('i64x2', product('clmul_low'));
  e.writeV(0, e.letV(f.v128.replace('i64x2', low, 1, product('clmul_high'))));
};

// --- SHA: memory operands need not be aligned, as AMD's processors have it ---------------------------------------------------

const rotateRight = (f: FunctionBuilder, value: Local<V128>, count: number): V128 => {
  const right = f.v128.i32x4_shr_u(f.get(value), f.i32.const(count));
  return f.v128.or(right, f.v128.i32x4_shl(f.get(value), f.i32.const(32 - count)));
};

/** `op0 = compute(op0, op1)`. */
const two =
  (compute: (e: Emitter, a: Local<V128>, b: Local<V128>) => V128): Semantics =>
  (e) => {
    const b = e.letV(e.readV(1));
    const a = e.letV(e.readV(0));
    e.writeV(0, e.letV(compute(e, a, b)));
  };

const byRoutine = (name: string): Semantics =>
  two((e, a, b) => e.f.call(routine<[V128, V128], V128>(e, name), e.f.get(a), e.f.get(b)));

/** SHA1NEXTE: the old A, rotated, is the next E; it is added to the first message word. */
const sha1Next = two(({ f }, a, b) => {
  const { v128, i32 } = f;
  const message = f.get(b);
  const rotated = v128.or(v128.i32x4_shl(f.get(a), i32.const(30)), v128.i32x4_shr_u(f.get(a), i32.const(2)));
  return v128.i32x4_add(message, v128.and(rotated, v128.const(0, 0, 0, -1)));
});

const sha1Message = two(({ f }, a, b) => {
  const own = f.get(a);
  const later = [24, 25, 26, 27, 28, 29, 30, 31, 0, 1, 2, 3, 4, 5, 6, 7];
  return f.v128.xor(own, f.v128.shuffle(f.get(a), f.get(b), later));
});

/** SHA256MSG1: every word plus σ0 of the next. */
const sha256Message = two((e, a, b) => {
  const { f } = e;
  const { v128 } = f;
  const next = e.letV(v128.shuffle(f.get(a), f.get(b), [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]));
  const turned = v128.xor(rotateRight(f, next, 7), rotateRight(f, next, 18));
  return v128.i32x4_add(v128.xor(turned, v128.i32x4_shr_u(f.get(next), f.i32.const(3))), f.get(a));
});

const sha1Rounds: Semantics = (e) => {
  const { f } = e;
  const b = e.letV(e.readV(1));
  const rounds = routine<[V128, V128, I32], V128>(e, 'sha1_rounds');
  const state = e.readV(0);
  e.writeV(0, e.letV(f.call(rounds, state, f.get(b), f.i32.and(immediateByte(e, 2), f.i32.const(3)))));
};

const sha256Rounds: Semantics = (e) => {
  const { f } = e;
  const b = e.letV(e.readV(1));
  const state = e.readV(0);
  const rounds = routine<[V128, V128, V128], V128>(e, 'sha256_rounds');
  e.writeV(0, e.letV(f.call(rounds, state, f.get(b), e.readV(2))));
};

export const sseCryptoSemantics: SemanticsTable = {
  aesenc: round(false, false),
  aesenclast: round(false, true),
  aesdec: round(true, false),
  aesdeclast: round(true, true),
  aesimc: (e) => e.writeV(0, e.letV(step(e, 'aes_inv_mix', readAligned(e, 1)))),
  aeskeygenassist: keyAssist,
  pclmulqdq: carryless,
  sha1nexte: sha1Next,
  sha1msg1: sha1Message,
  sha1msg2: byRoutine('sha1_schedule'),
  sha1rnds4: sha1Rounds,
  sha256msg1: sha256Message,
  sha256msg2: byRoutine('sha256_schedule'),
  sha256rnds2: sha256Rounds,
};

/**
 * Lazy status flags.
 *
 * Three 64-bit values stand for CF, PF, AF, ZF, SF and OF; no operation code is kept, so nothing ever dispatches on "how were the
 * flags made":
 *
 * - `flagResult`: the result, sign-extended from the operand size. ZF: it is zero. SF: its sign. PF: parity of its low byte.
 * - `flagCarry`: the carries out of the top bits. CF: bit 63. OF: bit 63 ^ bit 62 (carry out of, and into, the sign).
 *   Bit 0 inverts SF and bit 1 inverts PF, for combinations no result has (POPF, SAHF, COMISD); arithmetic leaves them 0.
 * - `flagAux`: AF is bit 4 of `flagAux ^ flagResult`; arithmetic stores a ^ b, everything else the result itself (AF = 0).
 */
import type { FunctionBuilder, I32, I64, Local } from '@tsvisor/wasm-codegen';

export type FlagLocals = { readonly result: () => I64; readonly carry: () => I64; readonly aux: () => I64 };

/** Condition numbers without their low (negating) bit (SDM vol. 2, appendix B, table B-10). */
const Condition = { O: 0, C: 2, Z: 4, BE: 6, S: 8, P: 10, L: 12, LE: 14 } as const;

/** CF as 0 or 1. */
export function carryFlag(f: FunctionBuilder, flags: FlagLocals): I32 {
  return f.i32.wrap_i64(f.i64.shr_u(flags.carry(), f.i64.const(63)));
}

const overflowSign = (f: FunctionBuilder, flags: FlagLocals): I64 => {
  const c = flags.carry();
  return f.i64.xor(c, f.i64.shl(flags.carry(), f.i64.const(1)));
};

/** A value whose sign bit is SF. */
const signSign = (f: FunctionBuilder, flags: FlagLocals): I64 =>
  f.i64.xor(flags.result(), f.i64.shl(flags.carry(), f.i64.const(63)));

export function parityFlag(f: FunctionBuilder, flags: FlagLocals): I32 {
  const odd = f.i32.popcnt(f.i32.and(f.i32.wrap_i64(flags.result()), f.i32.const(0xff)));
  const inverted = f.i32.xor(odd, f.i32.shr_u(f.i32.wrap_i64(flags.carry()), f.i32.const(1)));
  return f.i32.and(f.i32.xor(inverted, f.i32.const(1)), f.i32.const(1));
}

/** Pushes the condition `cc` (0–15, as in Jcc's opcode) as 0 or 1. */
export function condition(f: FunctionBuilder, cc: number, flags: FlagLocals): I32 {
  const zero = f.i64;
  const negative = (value: I64): I32 => f.i64.lt_s(value, f.i64.const(0));
  const positive = (): I32 => {
    switch (cc & ~1) {
      case Condition.O:
        return negative(overflowSign(f, flags));
      case Condition.C:
        return negative(flags.carry());
      case Condition.Z:
        return zero.eqz(flags.result());
      case Condition.BE:
        return f.i32.or(negative(flags.carry()), zero.eqz(flags.result()));
      case Condition.S:
        return negative(signSign(f, flags));
      case Condition.P:
        return parityFlag(f, flags);
      case Condition.L:
        return negative(f.i64.xor(signSign(f, flags), overflowSign(f, flags)));
      default:
        return f.i32.or(negative(f.i64.xor(signSign(f, flags), overflowSign(f, flags))), zero.eqz(flags.result()));
    }
  };
  return cc & 1 ? f.i32.eqz(positive()) : positive();
}

/** The six status flags at their RFLAGS positions. */
export function statusFlags(f: FunctionBuilder, flags: FlagLocals): I32 {
  const bit = (value: I32, position: number): I32 => f.i32.shl(value, f.i32.const(position));
  const sign = (value: I64): I32 => f.i32.wrap_i64(f.i64.shr_u(value, f.i64.const(63)));
  const cf = carryFlag(f, flags);
  const pf = f.i32.or(cf, bit(parityFlag(f, flags), 2));
  const aux = f.i32.and(f.i32.wrap_i64(f.i64.xor(flags.aux(), flags.result())), f.i32.const(0x10));
  const af = f.i32.or(pf, aux);
  const zf = f.i32.or(af, bit(f.i64.eqz(flags.result()), 6));
  const sf = f.i32.or(zf, bit(sign(signSign(f, flags)), 7));
  return f.i32.or(sf, bit(sign(overflowSign(f, flags)), 11));
}

/** Carry vector of an addition: for operands and result zero-extended from `size` bytes, carries moved up to bit 63. */
export function addCarries(f: FunctionBuilder, size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): I64 {
  const both = f.i64.and(f.get(a), f.get(b));
  const either = f.i64.and(f.i64.or(f.get(a), f.get(b)), f.i64.xor(f.get(r), f.i64.const(-1)));
  return align(f, size, f.i64.or(both, either));
}

/** Borrow vector of a subtraction a - b. */
export function subCarries(f: FunctionBuilder, size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): I64 {
  const below = f.i64.and(f.i64.xor(f.get(a), f.i64.const(-1)), f.get(b));
  const same = f.i64.and(f.i64.xor(f.i64.xor(f.get(a), f.get(b)), f.i64.const(-1)), f.get(r));
  return align(f, size, f.i64.or(below, same));
}

/** Moves the carries up so that CF is bit 63, and keeps the two inversion bits clear. */
function align(f: FunctionBuilder, size: number, carries: I64): I64 {
  return size === 8 ? f.i64.and(carries, f.i64.const(-4)) : f.i64.shl(carries, f.i64.const(64 - 8 * size));
}

/** Sets all six flags from an RFLAGS image (TypeScript side of the same encoding): [resultLo, resultHi, carryLo, carryHi, auxLo]. */
export function encodeStatus(flags: number): {
  resultLo: number;
  resultHi: number;
  carryLo: number;
  carryHi: number;
  auxLo: number;
} {
  const [cf, pf, af, zf, sf, of] = [
    flags & 1,
    (flags >> 2) & 1,
    (flags >> 4) & 1,
    (flags >> 6) & 1,
    (flags >> 7) & 1,
    (flags >> 11) & 1,
  ];
  // A non-zero result with the wanted sign and parity; zero has even parity and no sign, so ZF needs the inversions.
  const resultLo = zf ? 0 : pf ? 0x100 : 0x101;
  const resultHi = !zf && sf ? -0x8000_0000 : 0;
  const carryLo = (zf && sf ? 1 : 0) | (zf && !pf ? 2 : 0);
  const carryHi = (cf << 31) | ((cf ^ of) << 30);
  return { resultLo, resultHi, carryLo, carryHi, auxLo: resultLo ^ (af << 4) };
}

/** The six status flags at their RFLAGS positions, from the halves of the three values. */
export function decodeStatus(resultLo: number, resultHi: number, carryLo: number, carryHi: number, auxLo: number): number {
  let parity = resultLo & 0xff;
  parity ^= parity >> 4;
  parity = (0x9669 >> (parity & 15)) & 1;
  const cf = carryHi >>> 31;
  const sf = ((resultHi >>> 31) ^ carryLo) & 1;
  const of = ((carryHi >>> 31) ^ (carryHi >>> 30)) & 1;
  const zf = resultLo === 0 && resultHi === 0 ? 1 : 0;
  return cf | (((parity ^ (carryLo >> 1)) & 1) << 2) | ((auxLo ^ resultLo) & 0x10) | (zf << 6) | (sf << 7) | (of << 11);
}

/** Multiplication and division, binary and decimal-adjust (SDM vol. 1 §7.3.2, §7.3.4). */
import type { I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const DIVIDE_ERROR = 0;

/** MUL, IMUL with one operand: the double-size product in AX or rDX:rAX. */
const multiplyAccumulator =
  (signed: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const source = e.let(signed ? e.readSigned(0) : e.read(0));
    const accumulator = e.let(signed ? e.signExtend(e.gpr(0, size), size) : e.gpr(0, size));
    const low = e.let(f.i64.mul(f.get(accumulator), f.get(source)));
    if (size === 8) {
      const high = e.let(f.call(signed ? e.helpers.mulHighS : e.helpers.mulHighU, f.get(accumulator), f.get(source)));
      e.setGpr(0, 8, low);
      e.setGpr(2, 8, high);
      const expected = signed ? f.i64.shr_s(f.get(low), f.i64.const(63)) : f.i64.const(0);
      e.flagsProduct(8, low, e.let32(f.i64.ne(expected, f.get(high))));
      return;
    }
    const cut = e.let(e.truncate(f.get(low), size));
    if (size === 1) e.setGpr(0, 2, e.let(e.truncate(f.get(low), 2)));
    else {
      e.setGpr(0, size, cut);
      e.setGpr(2, size, e.let(e.truncate(f.i64.shr_u(f.get(low), f.i64.const(8 * size)), size)));
    }
    const whole = f.get(low);
    e.flagsProduct(size, cut, e.let32(f.i64.ne(whole, signed ? e.signExtend(f.get(cut), size) : f.get(cut))));
  };

/** IMUL with two or three operands: the product cut to the operand size. */
const multiply =
  (left: number, right: number): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const a = e.let(e.readSigned(left, size));
    const b = e.let(e.readSigned(right, size));
    const product = e.let(f.i64.mul(f.get(a), f.get(b)));
    const r = e.let(e.truncate(f.get(product), size));
    e.flagsMultiply(size, a, b, r);
    e.write(0, r);
  };

/** Stores quotient and remainder in AL, AH or rAX, rDX. Flags are undefined after a division and left as they are. */
function storeQuotient(e: Emitter, size: number, quotient: Local<I64>, remainder: Local<I64>): void {
  e.setGpr(0, size, quotient);
  if (size === 1) e.setGprHigh(0, remainder);
  else e.setGpr(2, size, remainder);
}

/** The dividend of a division by up to 4 bytes, zero-extended. */
function dividend(e: Emitter, size: number): I64 {
  const { f } = e;
  if (size === 1) return e.gpr(0, 2);
  return f.i64.or(f.i64.shl(e.gpr(2, size), f.i64.const(8 * size)), e.gpr(0, size));
}

const divideUnsigned: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const divisor = e.let(e.read(0));
  const fail = (): void => e.raise(DIVIDE_ERROR);
  f.if(f.unlikely(f.i64.eqz(f.get(divisor))), fail);
  if (size === 8) {
    const high = e.let(e.gpr(2, 8));
    const low = e.let(e.gpr(0, 8));
    // The quotient fits exactly when the high half is below the divisor.
    f.if(f.unlikely(f.i64.ge_u(f.get(high), f.get(divisor))), fail);
    // A zero high half is nearly every division there is.
    const quotient = e.let(
      f.ifOf(
        'i64',
        f.i64.eqz(f.get(high)),
        () => f.i64.div_u(f.get(low), f.get(divisor)),
        () => f.call(e.helpers.divide128, f.get(high), f.get(low), f.get(divisor)),
      ),
    );
    storeQuotient(e, 8, quotient, e.let(f.i64.sub(f.get(low), f.i64.mul(f.get(quotient), f.get(divisor)))));
    return;
  }
  const n = e.let(dividend(e, size));
  const quotient = e.let(f.i64.div_u(f.get(n), f.get(divisor)));
  f.if(f.unlikely(f.i64.gt_u(f.get(quotient), f.i64.const(2 ** (8 * size) - 1))), fail);
  storeQuotient(e, size, quotient, e.let(f.i64.rem_u(f.get(n), f.get(divisor))));
};

const divideSigned: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const divisor = e.let(e.readSigned(0));
  const fail = (): void => e.raise(DIVIDE_ERROR);
  f.if(f.unlikely(f.i64.eqz(f.get(divisor))), fail);
  if (size === 8) {
    divideSigned128(e, divisor, fail);
    return;
  }
  const n = e.let(size === 4 ? dividend(e, 4) : e.signExtend(dividend(e, size), 2 * size));
  // The one quotient that overflows 64 bits, and that WebAssembly traps on.
  const minimum = f.i64.eq(f.get(n), f.i64.halves(0, -0x8000_0000));
  f.if(f.unlikely(f.i32.and(minimum, f.i64.eq(f.get(divisor), f.i64.const(-1)))), fail);
  const quotient = e.let(f.i64.div_s(f.get(n), f.get(divisor)));
  f.if(f.unlikely(f.i64.ne(f.get(quotient), e.signExtend(f.get(quotient), size))), fail);
  const remainder = e.let(e.truncate(f.i64.rem_s(f.get(n), f.get(divisor)), size));
  storeQuotient(e, size, e.let(e.truncate(f.get(quotient), size)), remainder);
};

/** Divides magnitudes and gives the quotient and remainder their signs (the remainder's is the dividend's). */
function divideSigned128(e: Emitter, divisor: Local<I64>, fail: () => void): void {
  const { f } = e;
  const high = e.let(e.gpr(2, 8));
  const low = e.let(e.gpr(0, 8));
  const negative = e.let(f.i64.shr_s(f.get(high), f.i64.const(63)));
  const sign = e.let(f.i64.xor(f.get(negative), f.i64.shr_s(f.get(divisor), f.i64.const(63))));
  f.if(f.i64.ne(f.get(negative), f.i64.const(0)), () => {
    f.set(low, f.i64.sub(f.i64.const(0), f.get(low)));
    const borrow = (): I64 => f.i64.extend_i32_u(f.i64.ne(f.get(low), f.i64.const(0)));
    f.set(high, f.i64.sub(f.i64.sub(f.i64.const(0), f.get(high)), borrow()));
  });
  const magnitude = e.let(
    f.select(f.i64.sub(f.i64.const(0), f.get(divisor)), f.get(divisor), f.i64.lt_s(f.get(divisor), f.i64.const(0))),
  );
  f.if(f.unlikely(f.i64.ge_u(f.get(high), f.get(magnitude))), fail);
  const unsigned = e.let(f.call(e.helpers.divide128, f.get(high), f.get(low), f.get(magnitude)));
  const rest = e.let(f.i64.sub(f.get(low), f.i64.mul(f.get(unsigned), f.get(magnitude))));
  // |quotient| may be 2^63 only when it is negative.
  f.if(f.unlikely(f.i64.gt_u(f.get(unsigned), f.i64.sub(f.i64.halves(-1, 0x7fff_ffff), f.get(sign)))), fail);
  const signed = (value: Local<I64>, mask: Local<I64>): Local<I64> =>
    e.let(f.i64.sub(f.i64.xor(f.get(value), f.get(mask)), f.get(mask)));
  storeQuotient(e, 8, signed(unsigned, sign), signed(rest, negative));
}

// --- decimal adjustment ----------------------------------------------------------------------------------------------------------

/** Flags of AL as a result with the given CF and AF; OF undefined, cleared. */
function adjustFlags(e: Emitter, al: Local<I64>, carry: Local<I32>, aux: Local<I32>): void {
  const { f } = e;
  e.flagsResult(
    1,
    al,
    () => f.get(carry),
    () => f.i32.const(0),
  );
  const image = f.i32.or(f.i32.and(e.statusFlags(), f.i32.const(~0x10)), f.i32.shl(f.get(aux), f.i32.const(4)));
  e.setStatusFlags(e.let32(image));
}

const auxiliary = (e: Emitter): I32 => e.f.i32.and(e.f.i32.shr_u(e.statusFlags(), e.f.i32.const(4)), e.f.i32.const(1));
const nibbleAbove9 = (e: Emitter, al: Local<I64>): I32 =>
  e.f.i64.gt_u(e.f.i64.and(e.f.get(al), e.f.i64.const(15)), e.f.i64.const(9));

/** DAA, DAS (SDM vol. 2A). */
const decimalAdjust =
  (subtract: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const old = e.let(e.gpr(0, 1));
    const al = e.let(f.get(old));
    const oldCarry = e.let32(e.carry());
    const carry = e.let32(f.i32.const(0));
    const aux = e.let32(f.i32.or(nibbleAbove9(e, al), auxiliary(e)));
    const adjust = (amount: number): void => {
      const sum = subtract ? f.i64.sub(f.get(al), f.i64.const(amount)) : f.i64.add(f.get(al), f.i64.const(amount));
      f.set(al, e.truncate(sum, 1));
    };
    f.if(f.get(aux), () => {
      const wraps = subtract ? f.i64.lt_u(f.get(al), f.i64.const(6)) : f.i64.gt_u(f.get(al), f.i64.const(0xf9));
      f.set(carry, f.i32.or(f.get(oldCarry), wraps));
      adjust(6);
    });
    f.if(f.i32.or(f.i64.gt_u(f.get(old), f.i64.const(0x99)), f.get(oldCarry)), () => {
      adjust(0x60);
      f.set(carry, f.i32.const(1));
    });
    e.setGpr(0, 1, al);
    adjustFlags(e, al, carry, aux);
  };

/** AAA, AAS (SDM vol. 2A). */
const asciiAdjust =
  (subtract: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const ax = e.let(e.gpr(0, 2));
    const al = e.let(e.gpr(0, 1));
    const adjust = e.let32(f.i32.or(nibbleAbove9(e, al), auxiliary(e)));
    f.if(f.get(adjust), () => {
      const operation = subtract ? 'sub' : 'add';
      f.set(ax, e.truncate(f.i64[operation](f.get(ax), f.i64.const(0x106)), 2));
    });
    f.set(ax, f.i64.and(f.get(ax), f.i64.const(0xff0f)));
    e.setGpr(0, 2, ax);
    adjustFlags(e, e.let(e.gpr(0, 1)), adjust, adjust);
  };

/** AAM: AL divided by the immediate base. */
const asciiAdjustMultiply: Semantics = (e) => {
  const { f } = e;
  const base = e.let(e.read(0, 1));
  f.if(f.unlikely(f.i64.eqz(f.get(base))), () => e.raise(DIVIDE_ERROR));
  const al = e.let(e.gpr(0, 1));
  const quotient = e.let(f.i64.div_u(f.get(al), f.get(base)));
  const remainder = e.let(f.i64.rem_u(f.get(al), f.get(base)));
  e.setGprHigh(0, quotient);
  e.setGpr(0, 1, remainder);
  e.flagsLogic(1, remainder);
};

const asciiAdjustDivide: Semantics = (e) => {
  const { f } = e;
  const sum = f.i64.add(f.i64.mul(e.gprHigh(0), e.read(0, 1)), e.gpr(0, 1));
  const al = e.let(e.truncate(sum, 1));
  e.setGpr(0, 2, al);
  e.flagsLogic(1, al);
};

export const multiplySemantics: SemanticsTable = {
  mul: multiplyAccumulator(false),
  imul1: multiplyAccumulator(true),
  imul2: multiply(0, 1),
  imul3: multiply(1, 2),
  div: divideUnsigned,
  idiv: divideSigned,
  daa: decimalAdjust(false),
  das: decimalAdjust(true),
  aaa: asciiAdjust(false),
  aas: asciiAdjust(true),
  aam: asciiAdjustMultiply,
  aad: asciiAdjustDivide,
};

/** Shifts, rotates and bit operations (SDM vol. 1 §7.3.6, vol. 2). */
import type { I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { flagsZero } from './arithmetic.ts';
import type { Semantics, SemanticsTable } from './types.ts';

/** The count operand, masked to 5 bits, or 6 for 64-bit operands. */
const countOf = (e: Emitter, operand: number, size: number): Local<I64> =>
  e.let(e.f.i64.and(e.read(operand, 1), e.f.i64.const(size === 8 ? 63 : 31)));

/** Bit `position` of a local as 0 or 1. */
const bitAt = (e: Emitter, value: Local<I64>, position: number): I32 => {
  const { f } = e;
  return f.i32.wrap_i64(f.i64.and(f.i64.shr_u(f.get(value), f.i64.const(position)), f.i64.const(1)));
};

/** Modifies operand 0; flags change only when the count is not zero. */
function shiftOperand(
  e: Emitter,
  countOperand: number,
  compute: (old: Local<I64>, count: Local<I64>, size: number) => Local<I64>,
  flags: (old: Local<I64>, count: Local<I64>, r: Local<I64>, size: number) => void,
): void {
  const { f } = e;
  const size = e.size(0);
  const count = countOf(e, countOperand, size);
  e.modify(0, (old) => {
    const r = compute(old, count, size);
    const known = e.immediate(countOperand);
    if (known === undefined) f.if(f.i64.ne(f.get(count), f.i64.const(0)), () => flags(old, count, r, size));
    else if (known & (size === 8 ? 63 : 31)) flags(old, count, r, size);
    return r;
  });
}

const shift =
  (kind: 'shl' | 'shr' | 'sar'): Semantics =>
  (e) => {
    const { f } = e;
    const source = (old: Local<I64>, size: number): I64 => (kind === 'sar' ? e.signExtend(f.get(old), size) : f.get(old));
    shiftOperand(
      e,
      1,
      (old, count, size) => {
        const op = kind === 'shl' ? 'shl' : kind === 'shr' ? 'shr_u' : 'shr_s';
        return e.let(e.truncate(f.i64[op](source(old, size), f.get(count)), size));
      },
      (old, count, r, size) => e.flagsShift(kind, size, old, count, r),
    );
  };

const rotate =
  (left: boolean): Semantics =>
  (e) => {
    const { f } = e;
    shiftOperand(
      e,
      1,
      (old, count, size) => {
        if (size === 8) return e.let(f.i64[left ? 'rotl' : 'rotr'](f.get(old), f.get(count)));
        if (size === 4) {
          const [x, n] = [f.i32.wrap_i64(f.get(old)), f.i32.wrap_i64(f.get(count))];
          return e.let(f.i64.extend_i32_u(f.i32[left ? 'rotl' : 'rotr'](x, n)));
        }
        const n = e.let(f.i64.and(f.get(count), f.i64.const(8 * size - 1)));
        const rest = e.let(f.i64.sub(f.i64.const(8 * size), f.get(n)));
        const [up, down] = left ? [n, rest] : [rest, n];
        return e.let(e.truncate(f.i64.or(f.i64.shl(f.get(old), f.get(up)), f.i64.shr_u(f.get(old), f.get(down))), size));
      },
      (_old, _count, r, size) => {
        const top = 8 * size - 1;
        if (left)
          e.flagsCarryOverflow(
            () => bitAt(e, r, 0),
            () => f.i32.xor(bitAt(e, r, top), bitAt(e, r, 0)),
          );
        else
          e.flagsCarryOverflow(
            () => bitAt(e, r, top),
            () => f.i32.xor(bitAt(e, r, top), bitAt(e, r, top - 1)),
          );
      },
    );
  };

/** RCL, RCR: one bit at a time through CF; rare enough that the loop is no loss. */
const rotateThroughCarry =
  (left: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const carry = e.tmp();
    shiftOperand(
      e,
      1,
      (old, count, size) => {
        const r = e.let(f.get(old));
        f.set(carry, f.i64.extend_i32_u(e.carry()));
        const n = e.let(f.get(count));
        f.block((done) =>
          f.loop((again) => {
            f.brIf(done, f.i64.eqz(f.get(n)));
            const out = e.let(left ? f.i64.shr_u(f.get(r), f.i64.const(8 * size - 1)) : f.i64.and(f.get(r), f.i64.const(1)));
            if (left) f.set(r, e.truncate(f.i64.or(f.i64.shl(f.get(r), f.i64.const(1)), f.get(carry)), size));
            else f.set(r, f.i64.or(f.i64.shr_u(f.get(r), f.i64.const(1)), f.i64.shl(f.get(carry), f.i64.const(8 * size - 1))));
            f.set(carry, f.get(out));
            f.set(n, f.i64.sub(f.get(n), f.i64.const(1)));
            f.br(again);
          }),
        );
        return r;
      },
      (_old, _count, r, size) => {
        const top = 8 * size - 1;
        e.flagsCarryOverflow(
          () => f.i32.wrap_i64(f.get(carry)),
          () =>
            left ? f.i32.xor(bitAt(e, r, top), f.i32.wrap_i64(f.get(carry))) : f.i32.xor(bitAt(e, r, top), bitAt(e, r, top - 1)),
        );
      },
    );
  };

const doubleShift =
  (left: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const source = e.let(e.read(1));
    shiftOperand(
      e,
      2,
      (old, count, size) => {
        const bits = 8 * size;
        if (size === 2) {
          // Counts above 16 are undefined (SDM vol. 2B, SHLD); the operands are shifted as the 48 bits dest:src:dest.
          const wide = left
            ? f.i64.or(f.i64.shl(f.get(old), f.i64.const(32)), f.i64.or(f.i64.shl(f.get(source), f.i64.const(16)), f.get(old)))
            : f.i64.or(f.get(old), f.i64.or(f.i64.shl(f.get(source), f.i64.const(16)), f.i64.shl(f.get(old), f.i64.const(32))));
          const x = e.let(wide);
          const shifted = left
            ? f.i64.shr_u(f.i64.shl(f.get(x), f.get(count)), f.i64.const(32))
            : f.i64.shr_u(f.get(x), f.get(count));
          return e.let(e.truncate(shifted, 2));
        }
        const rest = e.let(f.i64.sub(f.i64.const(bits), f.get(count)));
        const own = left ? f.i64.shl(f.get(old), f.get(count)) : f.i64.shr_u(f.get(old), f.get(count));
        const other = left ? f.i64.shr_u(f.get(source), f.get(rest)) : f.i64.shl(f.get(source), f.get(rest));
        const r = e.let(e.truncate(f.i64.or(own, other), size));
        return e.let(f.select(f.get(r), f.get(old), f.i64.ne(f.get(count), f.i64.const(0))));
      },
      (old, count, r, size) => {
        const top = 8 * size - 1;
        const out = (): I64 => (left ? f.i64.sub(f.i64.const(8 * size), f.get(count)) : f.i64.sub(f.get(count), f.i64.const(1)));
        const carry = e.let32(f.i32.and(f.i32.wrap_i64(f.i64.shr_u(f.get(old), out())), f.i32.const(1)));
        e.flagsResult(
          size,
          r,
          () => f.get(carry),
          () => f.i32.xor(bitAt(e, r, top), bitAt(e, old, top)),
        );
      },
    );
  };

/** BT, BTS, BTR, BTC. With a register bit offset and a memory operand the offset reaches beyond the operand (SDM vol. 2A, BT). */
const bitTest =
  (change: 'none' | 'set' | 'reset' | 'complement'): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const position = e.tmp();
    const apply = (old: Local<I64>): Local<I64> => {
      const mask = e.let(f.i64.shl(f.i64.const(1), f.get(position)));
      const carry = e.let32(f.i32.wrap_i64(f.i64.and(f.i64.shr_u(f.get(old), f.get(position)), f.i64.const(1))));
      e.flagsCarry(() => f.get(carry));
      if (change === 'set') return e.let(f.i64.or(f.get(old), f.get(mask)));
      if (change === 'reset') return e.let(f.i64.and(f.get(old), f.i64.xor(f.get(mask), f.i64.const(-1))));
      return e.let(f.i64.xor(f.get(old), f.get(mask)));
    };
    const offset = e.let(e.readSigned(1, e.form.classes[1] === 'i' ? 1 : size));
    f.set(position, f.i64.and(f.get(offset), f.i64.const(8 * size - 1)));
    if (!e.isMemory(0)) {
      if (change === 'none') apply(e.let(e.read(0)));
      else e.modify(0, apply);
      return;
    }
    const log2 = size === 2 ? 4 : size === 4 ? 5 : 6;
    const units = (): I64 => f.i64.shr_s(f.get(offset), f.i64.const(log2));
    const displacement = e.form.classes[1] === 'i' ? undefined : e.let(f.i64.mul(units(), f.i64.const(size)));
    const va = e.address(size, change !== 'none', displacement);
    if (change === 'none') apply(e.let(e.load(va, size)));
    else {
      const mask = (): I64 => f.i64.shl(f.i64.const(1), f.get(position));
      const operation = change === 'set' ? 'or' : change === 'reset' ? 'and' : 'xor';
      const operand = change === 'reset' ? () => f.i64.xor(mask(), f.i64.const(-1)) : mask;
      e.modifyAt(va, size, apply, { operation, operand });
    }
  };

/** BSF, BSR: ZF alone is defined; the destination keeps its value when the source is zero (APM vol. 3; SDM calls it undefined). */
const bitScan =
  (reverse: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const source = e.let(e.read(1));
    f.if(f.i64.ne(f.get(source), f.i64.const(0)), () => {
      const r = e.let(reverse ? f.i64.sub(f.i64.const(63), f.i64.clz(f.get(source))) : f.i64.ctz(f.get(source)));
      e.write(0, r, size);
    });
    flagsZero(e, source);
  };

/** TZCNT, LZCNT: the operand size for a zero source, CF tells it; ZF from the result. */
const countZeros =
  (leading: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const source = e.let(e.read(1));
    const count = leading
      ? f.i64.sub(f.i64.clz(f.get(source)), f.i64.const(64 - 8 * size))
      : f.select(f.i64.ctz(f.get(source)), f.i64.const(8 * size), f.i64.ne(f.get(source), f.i64.const(0)));
    const r = e.let(count);
    e.flagsResult(
      size,
      r,
      () => f.i64.eqz(f.get(source)),
      () => f.i32.const(0),
    );
    e.write(0, r);
  };

/** POPCNT clears all status flags but ZF, which is that of the source. */
const countOnes: Semantics = (e) => {
  const { f } = e;
  const source = e.let(e.read(1));
  e.flagsCompare(
    () => f.i64.eqz(f.get(source)),
    () => f.i32.const(0),
    () => f.i32.const(0),
  );
  e.write(0, e.let(f.i64.popcnt(f.get(source))));
};

export const shiftSemantics: SemanticsTable = {
  shl: shift('shl'),
  shr: shift('shr'),
  sar: shift('sar'),
  rol: rotate(true),
  ror: rotate(false),
  rcl: rotateThroughCarry(true),
  rcr: rotateThroughCarry(false),
  shld: doubleShift(true),
  shrd: doubleShift(false),
  bt: bitTest('none'),
  bts: bitTest('set'),
  btr: bitTest('reset'),
  btc: bitTest('complement'),
  bsf: bitScan(false),
  bsr: bitScan(true),
  tzcnt: countZeros(false),
  lzcnt: countZeros(true),
  popcnt: countOnes,
};

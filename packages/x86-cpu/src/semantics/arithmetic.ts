/** Binary and unary integer arithmetic and logic (SDM vol. 1 §7.3.2, §7.3.5). */
import type { I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { Reg } from '../state.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const addition: Semantics = (e) =>
  e.modify(
    0,
    (a) => {
      const size = e.size(0);
      const b = e.let(e.read(1, size));
      const r = e.let(e.truncate(e.f.i64.add(e.f.get(a), e.f.get(b)), size));
      e.flagsAdd(size, a, b, r);
      return r;
    },
    { operation: 'add', operand: () => e.read(1, e.size(0)) },
  );

const subtraction: Semantics = (e) =>
  e.modify(
    0,
    (a) => {
      const size = e.size(0);
      const b = e.let(e.read(1, size));
      const r = e.let(e.truncate(e.f.i64.sub(e.f.get(a), e.f.get(b)), size));
      e.flagsSub(size, a, b, r);
      return r;
    },
    { operation: 'sub', operand: () => e.read(1, e.size(0)) },
  );

const withCarry =
  (subtract: boolean): Semantics =>
  (e) =>
    e.modify(
      0,
      (a) => {
        const { f } = e;
        const size = e.size(0);
        const b = e.let(e.read(1, size));
        const c = e.let(f.i64.extend_i32_u(e.carry()));
        const sum = subtract
          ? f.i64.sub(f.i64.sub(f.get(a), f.get(b)), f.get(c))
          : f.i64.add(f.i64.add(f.get(a), f.get(b)), f.get(c));
        const r = e.let(e.truncate(sum, size));
        if (subtract) e.flagsSub(size, a, b, r);
        else e.flagsAdd(size, a, b, r);
        return r;
      },
      {
        operation: subtract ? 'sub' : 'add',
        operand: () => {
          const b = e.read(1, e.size(0));
          return e.f.i64.add(b, e.f.i64.extend_i32_u(e.carry()));
        },
      },
    );

const logic =
  (operation: 'and' | 'or' | 'xor'): Semantics =>
  (e) =>
    e.modify(
      0,
      (a) => {
        const size = e.size(0);
        const r = e.let(e.f.i64[operation](e.f.get(a), e.read(1, size)));
        e.flagsLogic(size, r);
        return r;
      },
      { operation, operand: () => e.read(1, e.size(0)) },
    );

const compare: Semantics = (e) => {
  const size = e.size(0);
  const a = e.let(e.read(0));
  const b = e.let(e.read(1, size));
  const r = e.let(e.truncate(e.f.i64.sub(e.f.get(a), e.f.get(b)), size));
  e.flagsSub(size, a, b, r);
};

const test: Semantics = (e) => {
  const size = e.size(0);
  const a = e.read(0);
  e.flagsLogic(size, e.let(e.f.i64.and(a, e.read(1, size))));
};

const increment =
  (step: 1 | -1): Semantics =>
  (e) =>
    e.modify(
      0,
      (a) => {
        const { f } = e;
        const size = e.size(0);
        const r = e.let(e.truncate(f.i64.add(f.get(a), f.i64.const(step)), size));
        e.flagsIncrement(size, a, step, r);
        return r;
      },
      { operation: 'add', operand: () => e.f.i64.const(step) },
    );

const negate: Semantics = (e) =>
  e.modify(
    0,
    (b) => {
      const { f } = e;
      const size = e.size(0);
      const zero = e.let(f.i64.const(0));
      const r = e.let(e.truncate(f.i64.sub(f.get(zero), f.get(b)), size));
      e.flagsSub(size, zero, b, r);
      return r;
    },
    { next: (b) => e.truncate(e.f.i64.sub(e.f.i64.const(0), e.f.get(b)), e.size(0)) },
  );

const complement: Semantics = (e) =>
  e.modify(0, (a) => e.let(e.truncate(e.f.i64.xor(e.f.get(a), e.f.i64.const(-1)), e.size(0))), {
    operation: 'xor',
    operand: () => e.f.i64.const(-1),
  });

const exchangeAdd: Semantics = (e) =>
  e.modify(
    0,
    (a) => {
      const size = e.size(0);
      const b = e.let(e.read(1));
      const r = e.let(e.truncate(e.f.i64.add(e.f.get(a), e.f.get(b)), size));
      e.flagsAdd(size, a, b, r);
      e.write(1, a); // first: XADD of a register with itself leaves the sum
      return r;
    },
    { operation: 'add', operand: () => e.read(1) },
  );

const compareExchange: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const compare = (old: Local<I64>): Local<I64> => {
    const accumulator = e.let(e.gpr(0, size));
    const r = e.let(e.truncate(f.i64.sub(f.get(accumulator), f.get(old)), size));
    e.flagsSub(size, accumulator, old, r);
    return r;
  };
  const source = e.let(e.read(1));
  if (!e.isMemory(0)) {
    const old = e.let(e.read(0));
    const r = compare(old);
    // Only one of the two registers is written: a 32-bit one that is not keeps its upper half, as on the processors.
    f.if(
      f.i64.eqz(f.get(r)),
      () => e.write(0, source),
      () => e.setGpr(0, size, old),
    );
    return;
  }
  e.modify(
    0,
    (old) => {
      const r = compare(old);
      const replacement = e.let(f.select(f.get(source), f.get(old), f.i64.eqz(f.get(r))));
      f.if(f.i64.ne(f.get(r), f.i64.const(0)), () => e.setGpr(0, size, old));
      return replacement;
    },
    { expected: () => e.gpr(0, size), replacement: () => f.get(source) },
  );
};

/** CMPXCHG8B / CMPXCHG16B: compares rDX:rAX with memory, writes rCX:rBX or loads rDX:rAX; only ZF changes. */
const compareExchangePair: Semantics = (e) => {
  const { f } = e;
  const half = e.size(0) / 2;
  const va = e.address(2 * half, true);
  if (half === 8)
    // SDM vol. 2A, CMPXCHG16B: #GP(0) if not aligned on a 16-byte boundary.
    f.if(f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(15)), () => e.raise(13, 0));
  if (!e.isLocked) exchangePairAt(e, va);
  else if (half === 8) {
    e.faultEarly(va);
    e.exclusively(() => exchangePairAt(e, va));
  } else {
    const pair = (low: number, high: number) => (): I64 => {
      const upper = f.i64.shl(e.gpr(high, half), f.i64.const(32));
      return f.i64.or(upper, e.gpr(low, half));
    };
    const expected = pair(Reg.RAX, Reg.RDX);
    const old = e.changeLocked(va, 8, { expected, replacement: pair(Reg.RBX, Reg.RCX) });
    const differs = e.let(f.i64.xor(f.get(old), expected()));
    f.if(f.i64.ne(f.get(differs), f.i64.const(0)), () => {
      e.setGpr(Reg.RAX, half, e.let(e.truncate(f.get(old), half)));
      e.setGpr(Reg.RDX, half, e.let(f.i64.shr_u(f.get(old), f.i64.const(32))));
    });
    flagsZero(e, differs);
  }
};

function exchangePairAt(e: Emitter, va: Local<I64>): void {
  const { f } = e;
  const half = e.size(0) / 2;
  const host = e.reference(va, 2 * half, true);
  const low = e.let(e.loadHost(f.get(host), half));
  const high = e.let(e.loadHost(f.get(host), half, half));
  const differs = e.let(f.i64.or(f.i64.xor(f.get(low), e.gpr(0, half)), f.i64.xor(f.get(high), e.gpr(2, half))));
  f.if(
    f.i64.eqz(f.get(differs)),
    () => {
      const newLow = e.let(e.gpr(3, half));
      const newHigh = e.let(e.gpr(1, half));
      e.storeHost(() => f.get(host), half, newLow);
      e.storeHost(() => f.get(host), half, newHigh, half);
    },
    () => {
      e.setGpr(0, half, low);
      e.setGpr(2, half, high);
    },
  );
  e.commit(host);
  flagsZero(e, differs);
}

/** Changes ZF alone: it is whether `value` is zero. */
export function flagsZero(e: Emitter, value: Local<I64>): void {
  const { f } = e;
  const others = e.let32(f.i32.and(e.statusFlags(), f.i32.const(~0x40)));
  e.setStatusFlags(e.let32(f.i32.or(f.get(others), f.i32.shl(f.i64.eqz(f.get(value)), f.i32.const(6)))));
}

export const arithmeticSemantics: SemanticsTable = {
  add: addition,
  sub: subtraction,
  adc: withCarry(false),
  sbb: withCarry(true),
  and: logic('and'),
  or: logic('or'),
  xor: logic('xor'),
  cmp: compare,
  test,
  inc: increment(1),
  dec: increment(-1),
  neg: negate,
  not: complement,
  xadd: exchangeAdd,
  cmpxchg: compareExchange,
  cmpxchg8b: compareExchangePair,
};

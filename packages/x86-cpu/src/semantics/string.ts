/**
 * String instructions (SDM vol. 1 §7.3.9).
 *
 * A repeated one works in chunks: with DF = 0 and flat segments as many elements as lie in one page of each operand are moved at once
 * (`memory.copy`, `memory.fill`); elsewhere element by element. Registers are up to date before every access that can fault, so a
 * fault in the middle leaves the architectural state. Where the count reaches a multiple of `STRETCH` the instruction restarts itself, and
 * interrupts get in. That depends on nothing but the count, so that all tiers, chunks and restarts retire as many instructions.
 */
import type { I32, I64, Label, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { AddressMode } from '../form.ts';
import { Reg, Rflags, Seg, Watch } from '../state.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const { RCX, RSI, RDI } = Reg;
/** Elements between counts at which the instruction gives way. */
const STRETCH = 4096;

/** The parts every string instruction works with. */
type Operands = {
  readonly size: number;
  readonly repeated: boolean;
  /** +size or -size by DF. */
  readonly step: Local<I64>;
};

const PAGE_MASK = 0xfff;

function operands(e: Emitter): Operands {
  const { f } = e;
  const size = e.size(0) || 1;
  const down = (): I32 => f.i32.and(e.load32('rflags'), f.i32.const(0x400));
  return { size, repeated: e.form.rep !== 0, step: e.let(f.select(f.i64.const(-size), f.i64.const(size), down())) };
}

const pointer = (e: Emitter, reg: number): Local<I64> => e.let(e.gpr(reg, e.form.addrSize));

function advance(e: Emitter, reg: number, by: Local<I64>): void {
  const { f } = e;
  const size = e.form.addrSize;
  e.setGpr(reg, size, e.let(e.truncate(f.i64.add(e.gpr(reg, size), f.get(by)), size)));
}

/** Linear address of the destination, ES:rDI; ES has no base in 64-bit mode and when segments are flat. */
function destination(e: Emitter, offset: Local<I64>, size: number, write: boolean): Local<I64> {
  return e.form.address === AddressMode.Segmented ? e.segmentAddress(offset, size, write, Seg.ES) : offset;
}

/**
 * Runs `element` once, or under REP while the count lasts. `bulk`, where given, may do several elements at once: it gets the most it may
 * do and returns how many it did (0: do one by `element`). `stop` is the extra condition of REPE and REPNE.
 */
function repeat(e: Emitter, o: Operands, element: () => void, bulk?: (count: Local<I64>) => Local<I64>, stop?: () => I32): void {
  const { f } = e;
  if (!o.repeated) {
    element();
    return;
  }
  const size = e.form.addrSize;
  // Single stepping traps after each element (SDM vol. 3 §17.3.1.4).
  const stepping = f.i32.and(e.load32('rflags'), f.i32.const(Rflags.TF));
  const traced = e.let32(f.i32.or(stepping, f.i32.and(e.load32('watch'), f.i32.const(Watch.Breakpoints))));
  const within = e.let(f.select(f.i64.const(0), f.i64.const(STRETCH - 1), f.get(traced)));
  f.block((finished) => {
    f.loop((again) => {
      const count = e.let(e.gpr(RCX, size));
      f.brIf(finished, f.i64.eqz(f.get(count)));
      const done = e.let(f.i64.const(1));
      const one = (): void => {
        element();
        f.set(done, f.i64.const(1));
      };
      if (bulk) {
        f.set(done, f.i64.const(0));
        f.if(f.i32.eqz(f.get(traced)), () => {
          const before = f.i64.and(f.i64.sub(f.get(count), f.i64.const(1)), f.i64.const(STRETCH - 1));
          f.set(done, f.get(bulk(e.let(f.i64.add(before, f.i64.const(1))))));
        });
        f.if(f.i64.eqz(f.get(done)), one);
      } else one();
      const left = e.let(f.i64.sub(f.get(count), f.get(done)));
      e.setGpr(RCX, size, left);
      f.brIf(finished, f.i64.eqz(f.get(left)));
      if (stop) f.brIf(finished, stop());
      f.brIf(again, f.i32.eqz(f.i64.eqz(f.i64.and(f.get(left), f.get(within)))));
    });
    e.repeat();
  });
}

const bulkAllowed = (e: Emitter): boolean => e.form.address !== AddressMode.Segmented && e.form.addrSize !== 2;

/** Bytes from a linear address to the end of its page. */
const toPageEnd = (e: Emitter, va: Local<I64>): I64 =>
  e.f.i64.sub(e.f.i64.const(PAGE_MASK + 1), e.f.i64.and(e.f.get(va), e.f.i64.const(PAGE_MASK)));

const minimum = (e: Emitter, a: Local<I64>, b: Local<I64>): I64 =>
  e.f.select(e.f.get(a), e.f.get(b), e.f.i64.lt_u(e.f.get(a), e.f.get(b)));

/** Elements that fit before the page end, at most `count`. */
function elementsInPage(e: Emitter, va: Local<I64>, count: Local<I64>, size: number): Local<I64> {
  const { f } = e;
  const fit = e.let(f.i64.shr_u(toPageEnd(e, va), f.i64.const(Math.log2(size))));
  return e.let(minimum(e, fit, count));
}

/** Leaves the bulk attempt unless there is more than one element and DF is clear. */
function bulkGuard(e: Emitter, o: Operands, n: Local<I64>, out: Label): void {
  const { f } = e;
  f.brIf(out, f.i32.or(f.i64.lt_s(f.get(o.step), f.i64.const(0)), f.i64.lt_u(f.get(n), f.i64.const(2))));
}

/** Host address of a whole chunk's start, or out if the page is not plain memory. */
function plainHost(e: Emitter, va: Local<I64>, write: boolean, out: Label): Local<I32> {
  const { f } = e;
  const host = e.let32(f.call(e.helpers.plainHost, f.get(va), f.i32.const(write ? 1 : 0)));
  f.brIf(out, f.i32.eqz(f.get(host)));
  return host;
}

const bytesOf = (e: Emitter, n: Local<I64>, size: number): Local<I64> =>
  e.let(e.f.i64.shl(e.f.get(n), e.f.i64.const(Math.log2(size))));

const movs: Semantics = (e) => {
  const { f } = e;
  const o = operands(e);
  const element = (): void => {
    const value = e.let(e.load(e.stringAddress(pointer(e, RSI), o.size, false), o.size));
    e.store(destination(e, pointer(e, RDI), o.size, true), o.size, value);
    advance(e, RSI, o.step);
    advance(e, RDI, o.step);
  };
  const bulk = (count: Local<I64>): Local<I64> => {
    const done = e.let(f.i64.const(0));
    f.block((out) => {
      const from = e.stringAddress(pointer(e, RSI), o.size, false);
      const to = destination(e, pointer(e, RDI), o.size, true);
      const first = elementsInPage(e, from, count, o.size);
      const n = e.let(minimum(e, elementsInPage(e, to, count, o.size), first));
      bulkGuard(e, o, n, out);
      const source = plainHost(e, from, false, out);
      const target = plainHost(e, to, true, out);
      const bytes = bytesOf(e, n, o.size);
      const length = e.let32(f.i32.wrap_i64(f.get(bytes)));
      // Ascending copies onto bytes still to be read repeat a pattern; memory.copy would not.
      f.brIf(
        out,
        f.i32.lt_u(f.i32.sub(f.i32.sub(f.get(target), f.get(source)), f.i32.const(1)), f.i32.sub(f.get(length), f.i32.const(1))),
      );
      f.memoryCopy(f.get(target), f.get(source), f.get(length));
      advance(e, RSI, bytes);
      advance(e, RDI, bytes);
      f.set(done, f.get(n));
    });
    return done;
  };
  repeat(e, o, element, bulkAllowed(e) ? bulk : undefined);
};

const stos: Semantics = (e) => {
  const { f } = e;
  const o = operands(e);
  const value = e.let(e.gpr(0, o.size));
  const element = (): void => {
    e.store(destination(e, pointer(e, RDI), o.size, true), o.size, value);
    advance(e, RDI, o.step);
  };
  const bulk = (count: Local<I64>): Local<I64> => {
    const done = e.let(f.i64.const(0));
    f.block((out) => {
      const to = destination(e, pointer(e, RDI), o.size, true);
      const n = elementsInPage(e, to, count, o.size);
      bulkGuard(e, o, n, out);
      const target = plainHost(e, to, true, out);
      const bytes = bytesOf(e, n, o.size);
      fill(e, target, value, o.size, e.let32(f.i32.wrap_i64(f.get(bytes))));
      advance(e, RDI, bytes);
      f.set(done, f.get(n));
    });
    return done;
  };
  repeat(e, o, element, bulkAllowed(e) ? bulk : undefined);
};

/** Fills host memory with a value: bytes and zeros at once, other values by doubling what is there. */
function fill(e: Emitter, host: Local<I32>, value: Local<I64>, size: number, bytes: Local<I32>): void {
  const { f } = e;
  if (size === 1) {
    f.memoryFill(f.get(host), f.i32.wrap_i64(f.get(value)), f.get(bytes));
    return;
  }
  f.if(
    f.i64.eqz(f.get(value)),
    () => f.memoryFill(f.get(host), f.i32.const(0), f.get(bytes)),
    () => double(e, host, value, size, bytes),
  );
}

function double(e: Emitter, host: Local<I32>, value: Local<I64>, size: number, bytes: Local<I32>): void {
  const { f } = e;
  e.storeHost(() => f.get(host), size, value);
  const filled = e.let32(f.i32.const(size));
  f.block((done) =>
    f.loop((again) => {
      const rest = e.let32(f.i32.sub(f.get(bytes), f.get(filled)));
      f.brIf(done, f.i32.eqz(f.get(rest)));
      const length = e.let32(f.select(f.get(filled), f.get(rest), f.i32.lt_u(f.get(filled), f.get(rest))));
      f.memoryCopy(f.i32.add(f.get(host), f.get(filled)), f.get(host), f.get(length));
      f.set(filled, f.i32.add(f.get(filled), f.get(length)));
      f.br(again);
    }),
  );
}

const lods: Semantics = (e) => {
  const o = operands(e);
  repeat(e, o, () => {
    const value = e.let(e.load(e.stringAddress(pointer(e, RSI), o.size, false), o.size));
    advance(e, RSI, o.step);
    e.setGpr(0, o.size, value);
  });
};

/** REPE (F3) stops when ZF is clear, REPNE (F2) when it is set. */
const stopOnZero = (e: Emitter): (() => I32) => {
  const wantsEqual = e.form.rep === 0xf3;
  return () => e.condition(wantsEqual ? 5 : 4);
};

function compareFlags(e: Emitter, size: number, a: Local<I64>, b: Local<I64>): void {
  e.flagsSub(size, a, b, e.let(e.truncate(e.f.i64.sub(e.f.get(a), e.f.get(b)), size)));
}

const cmps: Semantics = (e) => {
  const o = operands(e);
  const element = (): void => {
    const a = e.let(e.load(e.stringAddress(pointer(e, RSI), o.size, false), o.size));
    const b = e.let(e.load(destination(e, pointer(e, RDI), o.size, false), o.size));
    advance(e, RSI, o.step);
    advance(e, RDI, o.step);
    compareFlags(e, o.size, a, b);
  };
  repeat(e, o, element, undefined, stopOnZero(e));
};

const scas: Semantics = (e) => {
  const o = operands(e);
  const element = (): void => {
    const a = e.let(e.gpr(0, o.size));
    const b = e.let(e.load(destination(e, pointer(e, RDI), o.size, false), o.size));
    advance(e, RDI, o.step);
    compareFlags(e, o.size, a, b);
  };
  repeat(e, o, element, undefined, stopOnZero(e));
};

export const stringSemantics: SemanticsTable = { movs, stos, lods, cmps, scas };

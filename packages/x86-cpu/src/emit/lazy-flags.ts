/**
 * Status flags of a compiled region.
 *
 * The last instruction that set flags leaves its operands in two locals, and which operation it was in a third (`kind`); nothing is worked
 * out until someone looks. While code is generated, it is mostly known which operation the flags are of (`pending`): a condition right after
 * a compare is then one comparison. Where several ways meet it may not be known, but then no instruction looks either (`liveness.ts`), only
 * whatever leaves the region, and that has the core find the operation by `kind`, at the region's exit.
 *
 * Kind 0: the flags are in the processor state, as the interpreter keeps them.
 */
import type { FuncRef, FunctionBuilder, I32, I64, Local } from '@tsvisor/wasm-codegen';
import { addCarries, subCarries } from './flags.ts';

/**
 * Operands: of `compare` ZF, PF and CF in bits 0 to 2 of the first, the rest 0; of `imul` sign-extended; of `product` the result, and whether
 * it overflowed; else zero-extended.
 */
const OPERATIONS = ['add', 'sub', 'logic', 'inc', 'dec', 'shl', 'shr', 'sar', 'imul', 'product', 'compare'] as const;
export type Operation = (typeof OPERATIONS)[number];
export type Pending = { readonly operation: Operation; readonly size: number };

/** Numbers of operation and size in `kind`; 0 is none. */
const SIZES = 4;
const kindOf = ({ operation, size }: Pending): number => 1 + SIZES * OPERATIONS.indexOf(operation) + Math.log2(size);
const pendingOf = (kind: number): Pending => ({
  operation: OPERATIONS[Math.floor((kind - 1) / SIZES)],
  size: 1 << ((kind - 1) % SIZES),
});

/** What the flags need of their surroundings. */
export type FlagContext = {
  readonly truncate: (value: I64, size: number) => I64;
  readonly signExtend: (value: I64, size: number) => I64;
  readonly packCarry: (carry: () => I32, overflow: () => I32) => I64;
  /** High 64 bits of a signed product. */
  readonly mulHigh: (a: I64, b: I64) => I64;
  /** Stores the three values of `emit/flags.ts` in the processor state. */
  readonly store: (values: { result: () => I64; carry: () => I64; aux: () => I64 }) => void;
  /** Stores flags as COMISD and its like set them. */
  readonly storeCompare: (zero: () => I32, parity: () => I32, carry: () => I32) => void;
};

/** Conditions by their even numbers (SDM vol. 2, appendix B, table B-10). */
const Cc = { O: 0, C: 2, Z: 4, BE: 6, S: 8, P: 10, L: 12, LE: 14 } as const;

/** The compiled tier would believe that the flags are always those of one way through an instruction. */
export class ConditionalFlagsError extends Error {
  readonly code = 'X86_CPU_CONDITIONAL_FLAGS';
}

export class LazyFlags {
  readonly #f: FunctionBuilder;
  readonly #context: FlagContext;
  readonly #a: Local<I64>;
  readonly #b: Local<I64>;
  readonly #r: Local<I64>;
  readonly #kind: Local<I32>;
  #deferred = false;
  #depth = 0;
  #settling = false;
  /** What is known of the flags here: an operation, in the processor state (`none`), or not known. */
  pending: Pending | 'none' | 'unknown' = 'none';

  constructor(f: FunctionBuilder, context: FlagContext) {
    this.#f = f;
    this.#context = context;
    this.#a = f.local('i64');
    this.#b = f.local('i64');
    this.#r = f.local('i64');
    this.#kind = f.local('i32');
  }

  /** A function `(kind, a, b)` that works out whatever operation these are of, into the processor state; kind 0 is none. */
  static define(f: FunctionBuilder, context: FlagContext): FuncRef<[I32, I64, I64], void> {
    const lazy = new LazyFlags(f, context);
    f.set(lazy.#kind, f.get(f.param(0, 'i32')));
    f.set(lazy.#a, f.get(f.param(1, 'i64')));
    f.set(lazy.#b, f.get(f.param(2, 'i64')));
    lazy.#workOutAny();
    return f.ref();
  }

  /** Starts an instruction, which has to change flags here if at all, and not within blocks of its own. */
  begin(): void {
    this.#depth = this.#f.depth;
  }

  /** In checked builds: finds flags that are changed on one of several ways through an instruction. */
  #expectOneWay(): void {
    if (!this.#f.module.checked || this.#settling || this.#f.depth === this.#depth) return;
    throw new ConditionalFlagsError(
      `${this.#f.name}: flags change under a condition; CONDITIONAL_FLAGS has to name the semantics`,
    );
  }

  /** The instruction is about to put all flags into the processor state. */
  storing(): void {
    if (this.pending !== 'none') this.#expectOneWay();
  }

  /** By names for people. */
  get locals(): Readonly<Record<string, Local>> {
    return { flagsA: this.#a, flagsB: this.#b, flagsResult: this.#r, flagsKind: this.#kind };
  }

  /** Flags of an operation whose operands these are. */
  defer(operation: Operation, size: number, a: () => I64, b?: () => I64): void {
    this.#expectOneWay();
    const f = this.#f;
    const pending = { operation, size };
    const kind = kindOf(pending);
    f.set(this.#a, a());
    if (b) f.set(this.#b, b());
    f.set(this.#kind, f.i32.const(kind));
    this.#deferred = true;
    this.pending = pending;
  }

  /** The processor state has the flags now. */
  inState(): void {
    if (this.pending === 'none') return;
    this.#f.set(this.#kind, this.#f.i32.const(0));
    this.pending = 'none';
  }

  /** Works out what is pending, into the processor state. */
  settle(): void {
    if (this.pending === 'none') return;
    if (this.pending === 'unknown') throw new Error('flags are read where they are not known');
    this.#settling = true;
    this.#workOut(this.pending);
    this.#settling = false;
    this.inState();
  }

  /** Has `settleFlags` (core/settle-flags.ts) work out whatever operation it is: at the region's exit. */
  settleAny(settleFlags: () => FuncRef<[I32, I64, I64], void>): void {
    this.pending = 'none';
    const f = this.#f;
    if (!this.#deferred) return;
    f.if(f.get(this.#kind), () => f.call(settleFlags(), f.get(this.#kind), f.get(this.#a), f.get(this.#b)));
  }

  #workOutAny(): void {
    const f = this.#f;
    const count = 1 + SIZES * OPERATIONS.length;
    const none = f.openBlock();
    const cases = Array.from({ length: count - 1 }, () => f.openBlock());
    f.brTable([none, ...cases.toReversed()], none, f.get(this.#kind));
    for (let kind = 1; kind < count; kind++) {
      f.closeBlock();
      this.#workOut(pendingOf(kind));
      f.br(none);
    }
    f.closeBlock();
  }

  /** The result of the pending operation, zero-extended. */
  #result({ operation, size }: Pending): I64 {
    const f = this.#f;
    const { i64 } = f;
    const { truncate, signExtend } = this.#context;
    const [a, b] = [this.#a, this.#b];
    switch (operation) {
      case 'add':
        return truncate(i64.add(f.get(a), f.get(b)), size);
      case 'sub':
        return truncate(i64.sub(f.get(a), f.get(b)), size);
      case 'inc':
        return truncate(i64.add(f.get(a), i64.const(1)), size);
      case 'dec':
        return truncate(i64.sub(f.get(a), i64.const(1)), size);
      case 'shl':
        return truncate(i64.shl(f.get(a), f.get(b)), size);
      case 'shr':
        return i64.shr_u(f.get(a), f.get(b));
      case 'sar':
        return truncate(i64.shr_s(signExtend(f.get(a), size), f.get(b)), size);
      case 'imul':
        return truncate(i64.mul(f.get(a), f.get(b)), size);
      default:
        return f.get(a);
    }
  }

  #workOut(pending: Pending): void {
    const f = this.#f;
    const { i64, i32 } = f;
    const { operation, size } = pending;
    const { signExtend, packCarry, store, storeCompare } = this.#context;
    const [a, b, r] = [this.#a, this.#b, this.#r];
    if (operation === 'compare') {
      const bit = (n: number) => (): I32 => i32.and(i32.wrap_i64(i64.shr_u(f.get(a), i64.const(n))), i32.const(1));
      storeCompare(bit(0), bit(1), bit(2));
      return;
    }
    f.set(r, this.#result(pending));
    const result = (): I64 => signExtend(f.get(r), size);
    const sum = (carry: () => I64): void => store({ result, carry, aux: () => i64.xor(f.get(a), f.get(b)) });
    const minimum = (): I64 => (size === 8 ? i64.halves(0, -0x8000_0000) : i64.const(2 ** (8 * size - 1)));
    const packed = (carry: () => I32, overflow: () => I32): void =>
      store({ result, carry: () => packCarry(carry, overflow), aux: result });
    const top = (local: Local<I64>): I32 => i32.and(i32.wrap_i64(i64.shr_u(f.get(local), i64.const(8 * size - 1))), i32.const(1));
    switch (operation) {
      case 'add':
        sum(() => addCarries(f, size, a, b, r));
        return;
      case 'sub':
        sum(() => subCarries(f, size, a, b, r));
        return;
      case 'logic':
        store({ result, carry: () => i64.const(0), aux: result });
        return;
      case 'product':
        packed(
          () => i32.wrap_i64(f.get(b)),
          () => i32.wrap_i64(f.get(b)),
        );
        return;
      case 'inc':
      case 'dec': {
        const edge = operation === 'inc' ? r : a;
        const carry = (): I64 =>
          packCarry(
            () => i32.wrap_i64(f.get(b)),
            () => i64.eq(f.get(edge), minimum()),
          );
        store({ result, carry, aux: () => i64.xor(f.get(a), i64.const(1)) });
        return;
      }
      case 'shl':
        packed(
          () => this.#edge(pending),
          () => i32.xor(top(r), this.#edge(pending)),
        );
        return;
      case 'shr':
        packed(
          () => this.#edge(pending),
          () => top(a),
        );
        return;
      case 'sar':
        packed(
          () => this.#edge(pending),
          () => i32.const(0),
        );
        return;
      default: {
        const overflow = (): I32 => this.#productOverflows(size);
        packed(overflow, overflow);
      }
    }
  }

  /** The last bit a shift moved out. */
  #edge({ operation, size }: Pending): I32 {
    const f = this.#f;
    const { i64, i32 } = f;
    const less = (): I64 => i64.sub(f.get(this.#b), i64.const(1));
    if (operation === 'shl') {
      const moved = i64.shl(f.get(this.#a), less());
      return i32.and(i32.wrap_i64(i64.shr_u(moved, i64.const(8 * size - 1))), i32.const(1));
    }
    const source = operation === 'sar' ? this.#context.signExtend(f.get(this.#a), size) : f.get(this.#a);
    return i32.and(i32.wrap_i64(i64[operation === 'sar' ? 'shr_s' : 'shr_u'](source, less())), i32.const(1));
  }

  #productOverflows(size: number): I32 {
    const f = this.#f;
    const { i64 } = f;
    const product = (): I64 => i64.mul(f.get(this.#a), f.get(this.#b));
    if (size < 8) {
      const whole = product();
      return i64.ne(whole, this.#context.signExtend(f.get(this.#r), size));
    }
    const high = this.#context.mulHigh(f.get(this.#a), f.get(this.#b));
    return i64.ne(high, i64.shr_s(product(), i64.const(63)));
  }

  /** An even condition straight from the operands of the pending operation, where that is shorter than working it out. */
  fused(cc: number): I32 | undefined {
    const { pending } = this;
    if (typeof pending === 'string') return undefined;
    const f = this.#f;
    const { i64, i32 } = f;
    const { operation, size } = pending;
    const [a, b] = [this.#a, this.#b];
    if (operation === 'compare') return this.#fusedCompare(cc);
    const signed = (local: Local<I64>): I64 => this.#context.signExtend(f.get(local), size);
    if (operation === 'sub') {
      if (cc === Cc.Z) return i64.eq(f.get(a), f.get(b));
      if (cc === Cc.C) return i64.lt_u(f.get(a), f.get(b));
      if (cc === Cc.BE) return i64.le_u(f.get(a), f.get(b));
      if (cc === Cc.L) return i64.lt_s(signed(a), signed(b));
      if (cc === Cc.LE) return i64.le_s(signed(a), signed(b));
    }
    if (cc === Cc.Z) return i64.eqz(this.#result(pending));
    if (cc === Cc.S) return i64.lt_s(this.#context.signExtend(this.#result(pending), size), i64.const(0));
    if (cc === Cc.P) {
      const ones = i32.popcnt(i32.and(i32.wrap_i64(this.#result(pending)), i32.const(0xff)));
      return i32.eqz(i32.and(ones, i32.const(1)));
    }
    if (operation === 'logic') {
      if (cc === Cc.O || cc === Cc.C) return i32.const(0);
      if (cc === Cc.BE) return i64.eqz(f.get(a));
      return cc === Cc.L ? i64.lt_s(signed(a), i64.const(0)) : i64.le_s(signed(a), i64.const(0));
    }
    if (cc !== Cc.C) return undefined;
    switch (operation) {
      case 'add':
        return i64.lt_u(this.#result(pending), f.get(a));
      case 'product':
      case 'inc':
      case 'dec':
        return i32.wrap_i64(f.get(b));
      case 'shl':
      case 'shr':
      case 'sar':
        return this.#edge(pending);
      default:
        return undefined;
    }
  }

  #fusedCompare(cc: number): I32 {
    const f = this.#f;
    const { i64 } = f;
    const any = (mask: number): I32 => i64.ne(i64.and(f.get(this.#a), i64.const(mask)), i64.const(0));
    if (cc === Cc.Z || cc === Cc.LE) return any(1);
    if (cc === Cc.P) return any(2);
    if (cc === Cc.C) return any(4);
    return cc === Cc.BE ? any(5) : f.i32.const(0);
  }
}

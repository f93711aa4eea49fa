import type { F32, F64, FuncRef, FunctionBuilder, I32, I64, Label, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Form } from '../form.ts';
import { CPU } from '../state.ts';
import { type Change, changeAtomically, changed, changeWithinWord, WORD } from './atomic.ts';
import type { FlagLocals } from './flags.ts';
import { addCarries, condition, statusFlags, subCarries } from './flags.ts';

/** Functions that generated code calls; `core/memory.ts` and `core/division.ts` define them. All addresses are linear; sizes are bytes. */
export type Helpers = {
  /** Reads 1–8 bytes that missed the read TLB; sets `faulted` instead when the access faults. */
  readonly loadSlow: FuncRef<[I64, I32], I64>;
  /** Writes 1–8 bytes that missed the write TLB; non-zero when it faulted. */
  readonly storeSlow: FuncRef<[I64, I64, I32], I32>;
  /** Host address of 1–64 bytes for reading (write = 0) or reading and writing (1); the bounce buffer, filled, when they are not
   * plain contiguous memory; 0 on a fault. */
  readonly reference: FuncRef<[I64, I32, I32], I32>;
  /** For compiled regions: (linear address, bytes) → the page there and how to get to it (core/page-reach.ts). */
  readonly readPage: FuncRef<[I64, I32], void>;
  readonly sourcePage: FuncRef<[I64, I32], void>;
  readonly writePage: FuncRef<[I64, I32], void>;
  readonly modifyPage: FuncRef<[I64, I32], void>;
  /** (kind, a, b) of pending flags: into the processor state (emit/lazy-flags.ts). */
  readonly settleFlags: FuncRef<[I32, I64, I64], void>;
  /** Writes the bounce buffer back where `reference` found it. */
  readonly commit: FuncRef<[], void>;
  /** Linear address of (displacement, record)'s memory operand through its segment, checked for `size | write << 8`. */
  readonly segmentAddress: FuncRef<[I64, I32, I32], I64>;
  /** Linear address of `size | write << 8` bytes at an offset in the segment numbered by the third argument. */
  readonly segmentOffset: FuncRef<[I64, I32, I32], I64>;
  /** Records an exception (vector, error code or -1); the caller then leaves by `fault`. */
  readonly raise: FuncRef<[I32, I32], void>;
  /** Host address of the byte at a linear address if its page is plain memory for that access (0 read, 1 write), else 0; no faults. */
  readonly plainHost: FuncRef<[I64, I32], I32>;
  /** The same, but 0 where the page is something else, and -1 with the fault recorded, for the caller to leave by `fault`. */
  readonly translate: FuncRef<[I64, I32], I32>;
  /** High 64 bits of a 128-bit product. */
  readonly mulHighU: FuncRef<[I64, I64], I64>;
  readonly mulHighS: FuncRef<[I64, I64], I64>;
  /** (high, low, divisor) → quotient; the caller has excluded overflow. */
  readonly divide128: FuncRef<[I64, I64, I64], I64>;
  /** Non-zero if the address is canonical. */
  readonly canonical: FuncRef<[I64], I32>;
  /** Host address of eight bytes that the processor itself accesses (tables), for (linear address, write); 0 unless they are in one page of
   * plain memory. While `fastEvents` or `fastFlat32` only. */
  readonly systemHost: FuncRef<[I64, I32], I32>;
  /** (vector, RIP to return to) INT n: 1, with `CPU.rip` the handler's; 0 where the general path has to. */
  readonly deliverSoftware: FuncRef<[I32, I64], I32>;
  /** (selector, segment register): a `Load` (core/segments.ts). */
  readonly loadSegment: FuncRef<[I32, I32], I32>;
  /** (value) MOV to CR3, (linear address) INVLPG: a `Mapping` (core/mappings.ts). */
  readonly writeCr3: FuncRef<[I64], I32>;
  readonly invalidatePage: FuncRef<[I64], I32>;
  /** Puts the time-stamp counter into `CPU.helper[0]`. */
  readonly readTsc: FuncRef<[], void>;
  /** Locked operations are atomic: other processors run at the same time. */
  readonly atomic: boolean;
  /** With `atomic`: from here to there, other processors stand at instruction boundaries. What was known of translations is out of date. */
  readonly exclusiveEnter: FuncRef<[], void>;
  readonly exclusiveLeave: FuncRef<[], void>;
  /** () at a block boundary where an exit was requested: 1 if generated code can go on (core/exclusivity.ts). */
  readonly standAside: FuncRef<[], I32>;
  /** (port, value, bytes), (number, first argument): 1 if that was a signal, which is made (core/doorbells.ts). */
  readonly ringPort: FuncRef<[I64, I64, I32], I32>;
  readonly ringHypercall: FuncRef<[I64, I64], I32>;
  /** Runs system instruction `id` in TypeScript: 0 go on, 1 fault or leave, 2 continue at `CPU.rip`. */
  readonly system: FuncRef<[I32, I32], I32>;
  /** Other numeric routines by name (80-bit float, MXCSR-exact conversions, …). */
  readonly routines: { readonly get: (name: string) => FuncRef<never, unknown> | undefined };
};

type ScalarField = {
  [K in keyof typeof CPU.schema]: (typeof CPU.schema)[K] extends 'u64' ? K : never;
}[keyof typeof CPU.schema];
type WordField = {
  [K in keyof typeof CPU.schema]: (typeof CPU.schema)[K] extends 'u32' | 'i32' ? K : never;
}[keyof typeof CPU.schema];

/**
 * What an instruction's semantics are written against. Semantics ask for operands, addresses, flags and control transfer; the context
 * (interpreter case, interpreter function, compiled region) decides where those live. See docs/emitter.md for the contract and a
 * worked example.
 *
 * Rules every emitter keeps:
 * 1. Whatever may fault comes first: nothing architectural may change before the last access that can fault.
 * 2. Values of operands are zero-extended i64; results handed to `write` and the flag methods are zero-extended too.
 * 3. Locals come from `tmp`, `tmp32`, `tmpV`; they live until the end of the instruction.
 */
export abstract class Emitter {
  readonly f: FunctionBuilder;
  readonly helpers: Helpers;
  form!: Form;
  readonly #pool = {
    i64: [] as Local<I64>[],
    i32: [] as Local<I32>[],
    v128: [] as Local<V128>[],
    f64: [] as Local<F64>[],
    f32: [] as Local<F32>[],
  };
  readonly #used = { i64: 0, i32: 0, v128: 0, f64: 0, f32: 0 };

  constructor(f: FunctionBuilder, helpers: Helpers) {
    this.f = f;
    this.helpers = helpers;
  }

  /** Starts the next instruction: temporaries are free again. */
  begin(form: Form): void {
    this.form = form;
    Object.assign(this.#used, { i64: 0, i32: 0, v128: 0, f64: 0, f32: 0 });
  }

  // --- temporaries -----------------------------------------------------------------------------------------------------------

  tmp(): Local<I64> {
    const n = this.#used.i64++;
    return (this.#pool.i64[n] ??= this.f.local('i64'));
  }
  tmp32(): Local<I32> {
    const n = this.#used.i32++;
    return (this.#pool.i32[n] ??= this.f.local('i32'));
  }
  tmpV(): Local<V128> {
    const n = this.#used.v128++;
    return (this.#pool.v128[n] ??= this.f.local('v128'));
  }
  tmpF64(): Local<F64> {
    const n = this.#used.f64++;
    return (this.#pool.f64[n] ??= this.f.local('f64'));
  }
  tmpF32(): Local<F32> {
    const n = this.#used.f32++;
    return (this.#pool.f32[n] ??= this.f.local('f32'));
  }
  /** A fresh i64 temporary set to `value`. */
  let(value: I64): Local<I64> {
    const local = this.tmp();
    this.f.set(local, value);
    return local;
  }
  let32(value: I32): Local<I32> {
    const local = this.tmp32();
    this.f.set(local, value);
    return local;
  }
  letV(value: V128): Local<V128> {
    const local = this.tmpV();
    this.f.set(local, value);
    return local;
  }

  // --- processor state -------------------------------------------------------------------------------------------------------

  /** Address of the processor state. */
  abstract cpu(): I32;

  load64(field: ScalarField): I64 {
    return this.f.i64.load(this.cpu(), CPU.offset[field]);
  }
  store64(field: ScalarField, value: () => I64): void {
    this.f.i64.store(this.cpu(), value(), CPU.offset[field]);
  }
  load32(field: WordField): I32 {
    return this.f.i32.load(this.cpu(), CPU.offset[field]);
  }
  store32(field: WordField, value: () => I32): void {
    this.f.i32.store(this.cpu(), value(), CPU.offset[field]);
  }

  /** Selector in segment register `n` (0–5). */
  segmentSelector(n: number): I64 {
    return this.f.i64.load16_u(this.cpu(), CPU.offset.segSel + 2 * n);
  }

  // --- registers -------------------------------------------------------------------------------------------------------------

  /** General register `reg` (0–15), zero-extended from `size` bytes. */
  abstract gpr(reg: number, size: number): I64;
  /** Writes a general register as hardware does: 4 bytes clear the upper half, 1 and 2 leave the rest. */
  abstract setGpr(reg: number, size: number, value: Local<I64>): void;
  /** AH, CH, DH, BH. */
  abstract gprHigh(reg: number): I64;
  abstract setGprHigh(reg: number, value: Local<I64>): void;

  // --- operands --------------------------------------------------------------------------------------------------------------

  size(n: number): number {
    return this.form.sizes[n];
  }
  isMemory(n: number): boolean {
    return this.form.classes[n] === 'm';
  }
  /** The immediate operand, where the context knows it (compiled code); undefined where it comes from a record. */
  immediate(_n: number): number | undefined {
    return undefined;
  }
  /** Both operands are known to be one register: lets `xor r,r` be a constant where registers are known. */
  sameRegister(_a: number, _b: number): boolean {
    return false;
  }

  protected abstract readRegister(n: number, size: number): I64;
  protected abstract writeRegister(n: number, size: number, value: Local<I64>): void;
  /** The immediate operand, sign-extended to 64 bits as decoded. */
  protected abstract readImmediate(n: number): I64;
  protected abstract readVectorRegister(n: number): V128;
  protected abstract writeVectorRegister(n: number, value: Local<V128>): void;
  /** Address in the processor state of a vector, MMX or (with `st`) x87 register operand. */
  abstract registerAddress(n: number): I32;
  /** i of an ST(i) operand. */
  abstract stackIndex(n: number): I32;

  /** Operand `n`, zero-extended from its size (or from `size`). MMX registers are read as 64-bit values. */
  read(n: number, size: number = this.size(n)): I64 {
    switch (this.form.classes[n]) {
      case 'r':
        return this.readRegister(n, size);
      case 'i':
        return this.truncate(this.readImmediate(n), size);
      case 'm':
        return this.load(this.address(size, false), size);
      case 't':
        return this.f.i64.load(this.registerAddress(n));
      case 'x':
      case 'y':
        return size === 4 ? this.f.i64.load32_u(this.registerAddress(n)) : this.f.i64.load(this.registerAddress(n));
      default:
        throw new Error(`operand ${n} of ${this.form.key} is not a value`);
    }
  }

  /** Operand `n`, sign-extended from its size. */
  readSigned(n: number, size: number = this.size(n)): I64 {
    return this.form.classes[n] === 'i' ? this.readImmediate(n) : this.signExtend(this.read(n, size), size);
  }

  /** Writes operand `n`; a memory operand may fault. */
  write(n: number, value: Local<I64>, size: number = this.size(n)): void {
    switch (this.form.classes[n]) {
      case 'r':
        this.writeRegister(n, size, value);
        return;
      case 'm':
        this.store(this.address(size, true), size, value);
        return;
      case 't':
        this.f.i64.store(this.registerAddress(n), this.f.get(value));
        return;
      default:
        throw new Error(`operand ${n} of ${this.form.key} cannot be written`);
    }
  }

  /**
   * Reads operand `n`, hands the old value to `compute`, writes what it returns. Memory is checked for writing before the read. `change` is for
   * instructions that can be locked: what `compute` returns, without its other effects.
   */
  modify(n: number, compute: (old: Local<I64>) => Local<I64>, change?: Change): void {
    const size = this.size(n);
    if (!this.isMemory(n)) {
      this.write(n, compute(this.let(this.read(n))));
      return;
    }
    this.modifyAt(this.address(size, true), size, compute, change);
  }

  /** As `modify`, at a linear address. */
  modifyAt(va: Local<I64>, size: number, compute: (old: Local<I64>) => Local<I64>, change?: Change): void {
    if (change && this.isLocked) {
      compute(this.changeLocked(va, size, change));
      return;
    }
    const host = this.reference(va, size, true);
    const old = this.let(this.loadHost(this.f.get(host), size));
    const value = compute(old);
    this.storeHost(() => this.f.get(host), size, value);
    this.commit(host);
  }

  /** The instruction's memory operand changes atomically, by LOCK or, of XCHG, always (SDM vol. 3 §9.1.2.1). */
  get isLocked(): boolean {
    return this.helpers.atomic && (this.form.lock || this.form.sem === 'xchg');
  }

  /** Changes memory atomically; returns what was there. Anything but aligned memory has all other processors stop for it. */
  changeLocked(va: Local<I64>, size: number, change: Change): Local<I64> {
    const { f } = this;
    const old = this.tmp();
    f.block((done) => {
      f.block((exclusive) => {
        if (size > 1) f.brIf(exclusive, f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(size - 1)));
        const host = this.plainTarget(va, size);
        f.if(f.i32.eqz(f.get(host)), () => {
          this.faultEarly(va);
          f.br(exclusive);
        });
        changeAtomically(f, () => f.get(host), size, change, old);
        f.br(done);
      });
      // Regions leave misaligned operands to the interpreter.
      if ((size === 2 || size === 4) && !this.inRegion) this.#changeInWord(va, size, change, old, done);
      this.exclusively(() => {
        const host = this.reference(va, size, true);
        f.set(old, this.loadHost(f.get(host), size));
        const value = this.let(this.truncate(changed(f, change, old), size));
        this.storeHost(() => f.get(host), size, value);
        this.commit(host);
      });
    });
    return old;
  }

  /** Changes a misaligned operand, if it lies within eight aligned bytes, by an atomic change of those. */
  #changeInWord(va: Local<I64>, size: number, change: Change, old: Local<I64>, done: Label): void {
    const { f } = this;
    f.block((across) => {
      const place = f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(WORD - 1));
      f.brIf(across, f.i32.gt_u(place, f.i32.const(WORD - size)));
      const host = this.plainTarget(va, size);
      f.brIf(across, f.i32.eqz(f.get(host)));
      changeWithinWord(f, host, size, change, old);
      f.br(done);
    });
  }

  /** Host address of bytes that are to be written, in one page of plain memory; 0 if they are not that. */
  protected plainTarget(va: Local<I64>, size: number): Local<I32> {
    const { f } = this;
    const host = this.tmp32();
    const entry = this.probe(va, CPU.offset.tlbWrite);
    f.if(
      f.likely(this.hit(va, entry, size)),
      () => f.set(host, this.host(va, entry)),
      () => f.set(host, f.call(this.helpers.plainHost, f.get(va), f.i32.const(1))),
    );
    return host;
  }

  /** A page fault is for this processor alone: it comes before the others are stopped. Not for what may be misaligned, which faults first (#AC). */
  faultEarly(va: Local<I64>): void {
    const { f } = this;
    f.if(f.i32.eq(f.call(this.helpers.translate, f.get(va), f.i32.const(1)), f.i32.const(-1)), () => this.fault());
  }

  /** Emits what is to be done while other processors stand still. If it faults, whoever sees to the fault lets them go on. */
  exclusively(body: () => void): void {
    this.f.call(this.helpers.exclusiveEnter);
    body();
    this.f.call(this.helpers.exclusiveLeave);
  }

  /** Operand `n` as a vector: an XMM register, the low half of a YMM register, or 16 bytes of memory. */
  readV(n: number): V128 {
    if (this.form.classes[n] === 'x' || this.form.classes[n] === 'y') return this.readVectorRegister(n);
    return this.loadV(this.address(16, false));
  }

  /** Operand `n` as 4 or 8 bytes in the low lane of a vector: the whole XMM register, or that much memory with the rest zero. */
  readScalarV(n: number, size: 4 | 8): V128 {
    if (this.form.classes[n] === 'x') return this.readVectorRegister(n);
    return this.f.v128.replace('i64x2', this.f.v128.const(0, 0, 0, 0), 0, this.load(this.address(size, false), size));
  }

  writeV(n: number, value: Local<V128>): void {
    if (this.form.classes[n] === 'x') this.writeVectorRegister(n, value);
    else this.storeV(this.address(16, true), value);
  }

  /** The low 4 or 8 bytes of register operand `n`, which keeps the rest. */
  writeLow(n: number, size: 4 | 8, value: Local<I64>): void {
    const { f } = this;
    if (size === 4) f.i64.store32(this.registerAddress(n), f.get(value));
    else f.i64.store(this.registerAddress(n), f.get(value));
  }
  /** The high half of XMM register operand `n`. */
  writeHigh(n: number, value: Local<I64>): void {
    this.f.i64.store(this.registerAddress(n), this.f.get(value), 8);
  }

  /**
   * Where several vectors make up one instruction: set to 1 instead of looking at the floating-point exceptions of each, which whoever
   * puts the vectors together does (SDM vol. 1 §11.5.3: an unmasked one in any element keeps all from being written).
   */
  deferred: Local<I32> | undefined;

  // --- memory ----------------------------------------------------------------------------------------------------------------

  /** Linear address of the memory operand, `displacement` bytes further; a segmented one is checked for the access. */
  abstract address(size: number, write: boolean, displacement?: Local<I64>): Local<I64>;
  /** Address of the vector register that holds a gather's indices, and the scale of those as a shift; `address` leaves them out. */
  abstract vectorIndex(): I32;
  abstract vectorScale(): I32;
  /** 1 if the memory operand's base register is RSP (POP computes its address with RSP already advanced). */
  abstract baseIsStackPointer(): I32;
  /** Effective address of the memory operand, without its segment (LEA). */
  abstract effectiveAddress(): I64;

  /** Linear address of an offset in the segment of a string source (rSI) or of XLAT: DS or the override. */
  abstract stringAddress(offset: Local<I64>, size: number, write: boolean): Local<I64>;
  /** Linear address of an offset in segment `segment`, for accesses no ModRM names (stack, string destination). */
  segmentAddress(offset: Local<I64>, size: number, write: boolean, segment: number): Local<I64> {
    const { f } = this;
    const access = size | (write ? 0x100 : 0);
    const linear = this.let(f.call(this.helpers.segmentOffset, f.get(offset), f.i32.const(access), f.i32.const(segment)));
    f.if(this.load32('faulted'), () => this.fault());
    return linear;
  }

  /** Reads `size` (1, 2, 4, 8) bytes at a linear address, zero-extended. */
  load(va: Local<I64>, size: number): I64 {
    const { f } = this;
    const entry = this.probe(va, CPU.offset.tlbRead);
    return f.ifOf(
      'i64',
      this.hit(va, entry, size),
      () => this.loadHost(this.host(va, entry), size),
      () => this.loadMissed(va, size),
    );
  }
  /** The read that the TLB does not answer. */
  protected loadMissed(va: Local<I64>, size: number): I64 {
    const { f } = this;
    const value = this.let(f.call(this.helpers.loadSlow, f.get(va), f.i32.const(size)));
    f.if(this.load32('faulted'), () => this.fault());
    return f.get(value);
  }

  store(va: Local<I64>, size: number, value: Local<I64>): void {
    const { f } = this;
    const entry = this.probe(va, CPU.offset.tlbWrite);
    f.if(
      this.hit(va, entry, size),
      () => this.storeHost(() => this.host(va, entry), size, value),
      () => this.storeMissed(va, size, value),
    );
  }
  protected storeMissed(va: Local<I64>, size: number, value: Local<I64>): void {
    const { f } = this;
    f.if(f.unlikely(f.call(this.helpers.storeSlow, f.get(va), f.get(value), f.i32.const(size))), () => this.fault());
  }

  loadV(va: Local<I64>): V128 {
    const { f } = this;
    const host = this.reference(va, 16, false);
    return f.v128.load(f.get(host));
  }

  storeV(va: Local<I64>, value: Local<V128>): void {
    const host = this.reference(va, 16, true);
    this.f.v128.store(this.f.get(host), this.f.get(value));
    this.commit(host);
  }

  /** Host address of `size` bytes at a linear address, for several accesses; writers call `commit` when done. */
  reference(va: Local<I64>, size: number, write: boolean): Local<I32> {
    const { f } = this;
    const host = this.tmp32();
    const entry = this.probe(va, write ? CPU.offset.tlbWrite : CPU.offset.tlbRead);
    f.if(
      this.hit(va, entry, size),
      () => f.set(host, this.host(va, entry)),
      () => this.referenceMissed(host, va, size, write),
    );
    return host;
  }
  protected referenceMissed(host: Local<I32>, va: Local<I64>, size: number, write: boolean): void {
    const { f } = this;
    f.set(host, f.call(this.helpers.reference, f.get(va), f.i32.const(size), f.i32.const(write ? 1 : 0)));
    f.if(f.i32.eqz(f.get(host)), () => this.fault());
  }

  commit(host: Local<I32>): void {
    const { f } = this;
    f.if(f.unlikely(f.i32.eq(f.get(host), f.i32.add(this.cpu(), f.i32.const(CPU.offset.scratch)))), () =>
      f.call(this.helpers.commit),
    );
  }

  /** Address of the TLB entry for `va` in the array whose address is in the given state field. */
  protected probe(va: Local<I64>, arrayField: number): Local<I32> {
    const { f } = this;
    return this.let32(f.i32.add(tlbIndex(f, va), f.i32.load(this.cpu(), arrayField)));
  }
  /** One compare covers the tag and the page crossing: an address below the page wraps to a huge difference. */
  protected hit(va: Local<I64>, entry: Local<I32>, size: number): I32 {
    const { f } = this;
    return f.i64.le_u(f.i64.sub(f.get(va), f.i64.load(f.get(entry))), f.i64.const(4096 - size));
  }
  protected host(va: Local<I64>, entry: Local<I32>): I32 {
    const { f } = this;
    return f.i32.add(f.i32.wrap_i64(f.get(va)), f.i32.load(f.get(entry), 8));
  }

  loadHost(address: I32, size: number, offset = 0): I64 {
    const { i64 } = this.f;
    if (size === 1) return i64.load8_u(address, offset);
    if (size === 2) return i64.load16_u(address, offset);
    if (size === 4) return i64.load32_u(address, offset);
    return i64.load(address, offset);
  }
  storeHost(address: () => I32, size: number, value: Local<I64>, offset = 0): void {
    const { f } = this;
    if (size === 1) f.i64.store8(address(), f.get(value), offset);
    else if (size === 2) f.i64.store16(address(), f.get(value), offset);
    else if (size === 4) f.i64.store32(address(), f.get(value), offset);
    else f.i64.store(address(), f.get(value), offset);
  }

  // --- arithmetic helpers ------------------------------------------------------------------------------------------------------

  truncate(value: I64, size: number): I64 {
    const { f } = this;
    if (size === 8) return value;
    if (size === 4) return f.i64.extend_i32_u(f.i32.wrap_i64(value));
    return f.i64.and(value, f.i64.const(size === 1 ? 0xff : 0xffff));
  }
  signExtend(value: I64, size: number): I64 {
    const { i64 } = this.f;
    if (size === 1) return i64.extend8_s(value);
    if (size === 2) return i64.extend16_s(value);
    return size === 4 ? i64.extend32_s(value) : value;
  }

  // --- flags -----------------------------------------------------------------------------------------------------------------

  /** The three flag values as they are now. */
  abstract readonly flags: FlagLocals;
  /** Sets all three (see emit/flags.ts); thunks are evaluated in the order carry, aux, result, before any of them changes. */
  abstract setFlags(values: { result: () => I64; carry: () => I64; aux: () => I64 }): void;

  /** Flags of a + b (+ carry) = r. */
  flagsAdd(size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): void {
    const { f } = this;
    this.setFlags({
      carry: () => addCarries(f, size, a, b, r),
      aux: () => f.i64.xor(f.get(a), f.get(b)),
      result: () => this.signExtend(f.get(r), size),
    });
  }
  /** Flags of a - b (- borrow) = r. */
  flagsSub(size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): void {
    const { f } = this;
    this.setFlags({
      carry: () => subCarries(f, size, a, b, r),
      aux: () => f.i64.xor(f.get(a), f.get(b)),
      result: () => this.signExtend(f.get(r), size),
    });
  }
  /** Flags of a logical operation: CF = OF = AF = 0. */
  flagsLogic(size: number, r: Local<I64>): void {
    const { f } = this;
    this.setFlags({
      carry: () => f.i64.const(0),
      aux: () => this.signExtend(f.get(r), size),
      result: () => this.signExtend(f.get(r), size),
    });
  }
  /** Result and AF from (a, b, r); CF as it was; OF given as 0 or 1. For INC and DEC. */
  flagsKeepCarry(size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>, overflow: () => I32): void {
    const { f } = this;
    this.setFlags({
      carry: () => this.packCarry(() => this.carry(), overflow),
      aux: () => f.i64.xor(f.get(a), f.get(b)),
      result: () => this.signExtend(f.get(r), size),
    });
  }
  /** Result flags from r with AF = 0, CF and OF given as 0 or 1. */
  flagsResult(size: number, r: Local<I64>, carry: () => I32, overflow: () => I32): void {
    const { f } = this;
    this.setFlags({
      carry: () => this.packCarry(carry, overflow),
      aux: () => this.signExtend(f.get(r), size),
      result: () => this.signExtend(f.get(r), size),
    });
  }
  /** Flags of INC and DEC: a + step = r, CF as it was. */
  flagsIncrement(size: number, a: Local<I64>, step: 1 | -1, r: Local<I64>): void {
    const { f } = this;
    // Overflow exactly when INC reaches, or DEC leaves, the most negative value.
    const edge = step === 1 ? r : a;
    const minimum = (): I64 => (size === 8 ? f.i64.halves(0, -0x8000_0000) : f.i64.const(2 ** (8 * size - 1)));
    this.flagsKeepCarry(size, a, this.let(f.i64.const(1)), r, () => f.i64.eq(f.get(edge), minimum()));
  }
  /** Flags of a shift of `a` by `count`, which is not 0, with the result r. */
  flagsShift(kind: 'shl' | 'shr' | 'sar', size: number, a: Local<I64>, count: Local<I64>, r: Local<I64>): void {
    const { f } = this;
    const { i64, i32 } = f;
    const less = this.let(i64.sub(f.get(count), i64.const(1)));
    const source = (): I64 => (kind === 'sar' ? this.signExtend(f.get(a), size) : f.get(a));
    // The last bit shifted out is what one shift fewer leaves at the edge.
    const edge =
      kind === 'shl'
        ? i64.shr_u(i64.shl(f.get(a), f.get(less)), i64.const(8 * size - 1))
        : i64[kind === 'shr' ? 'shr_u' : 'shr_s'](source(), f.get(less));
    const carry = this.let32(i32.and(i32.wrap_i64(edge), i32.const(1)));
    const top = (value: Local<I64>): I32 => i32.wrap_i64(i64.and(i64.shr_u(f.get(value), i64.const(8 * size - 1)), i64.const(1)));
    this.flagsResult(
      size,
      r,
      () => f.get(carry),
      () => {
        if (kind === 'shl') return i32.xor(top(r), f.get(carry));
        return kind === 'shr' ? top(a) : i32.const(0);
      },
    );
  }
  /**
   * Flags of a product of sign-extended factors cut to r: CF = OF = it did not fit; SF, ZF, AF and PF are undefined (SDM vol. 2A, IMUL) and
   * taken from r.
   */
  flagsMultiply(size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): void {
    const { f } = this;
    const product = this.let(f.i64.mul(f.get(a), f.get(b)));
    const fits = (): I32 => {
      if (size < 8) return f.i64.ne(f.get(product), this.signExtend(f.get(r), size));
      const high = f.call(this.helpers.mulHighS, f.get(a), f.get(b));
      return f.i64.ne(high, f.i64.shr_s(f.get(product), f.i64.const(63)));
    };
    this.flagsProduct(size, r, this.let32(fits()));
  }
  /** The same where it is known whether the product did not fit (0 or 1). */
  flagsProduct(size: number, r: Local<I64>, overflow: Local<I32>): void {
    const { f } = this;
    this.flagsResult(
      size,
      r,
      () => f.get(overflow),
      () => f.get(overflow),
    );
  }
  /** Changes CF alone (given as 0 or 1). */
  flagsCarry(carry: () => I32): void {
    const overflow = this.let32(this.condition(0));
    this.flagsCarryOverflow(carry, () => this.f.get(overflow));
  }
  /** Changes CF and OF (given as 0 or 1) and leaves the others, as the rotates do. */
  flagsCarryOverflow(carry: () => I32, overflow: () => I32): void {
    const { f } = this;
    this.setFlags({
      carry: () => f.i64.or(f.i64.and(this.flags.carry(), f.i64.const(3)), this.packCarry(carry, overflow)),
      aux: () => this.flags.aux(),
      result: () => this.flags.result(),
    });
  }
  /** ZF, PF and CF given as 0 or 1, OF = SF = AF = 0 (COMISD, PTEST and relatives). */
  flagsCompare(zero: () => I32, parity: () => I32, carry: () => I32): void {
    const { f } = this;
    const r = this.let(f.i64.extend_i32_u(f.i32.eqz(zero())));
    // The result 1 has odd parity, 0 even: the inversion bit makes up the difference to the wanted PF.
    const invert = this.let32(f.i32.xor(parity(), f.i64.eqz(f.get(r))));
    this.setFlags({
      carry: () =>
        f.i64.or(
          this.packCarry(carry, () => f.i32.const(0)),
          f.i64.shl(f.i64.extend_i32_u(f.get(invert)), f.i64.const(1)),
        ),
      aux: () => f.get(r),
      result: () => f.get(r),
    });
  }
  /** Sets the six status flags from their RFLAGS positions; other bits of `image` are ignored. */
  setStatusFlags(image: Local<I32>): void {
    const { f } = this;
    const bit = (position: number): I64 =>
      f.i64.extend_i32_u(f.i32.and(f.i32.shr_u(f.get(image), f.i32.const(position)), f.i32.const(1)));
    const [cf, pf, zf, sf, of] = [0, 2, 6, 7, 11].map((position) => this.let(bit(position)));
    // Without ZF: a non-zero value with the wanted sign and parity. With it: zero, and the inversion bits make up the rest.
    const nonZero = (): I64 => f.i64.or(f.i64.sub(f.i64.const(0x101), f.get(pf)), f.i64.shl(f.get(sf), f.i64.const(63)));
    const result = this.let(f.select(f.i64.const(0), nonZero(), f.i32.wrap_i64(f.get(zf))));
    const inversions = (): I64 =>
      f.i64.or(
        f.i64.and(f.get(zf), f.get(sf)),
        f.i64.shl(f.i64.and(f.get(zf), f.i64.xor(f.get(pf), f.i64.const(1))), f.i64.const(1)),
      );
    this.setFlags({
      carry: () =>
        f.i64.or(
          f.i64.or(f.i64.shl(f.get(cf), f.i64.const(63)), f.i64.shl(f.i64.xor(f.get(cf), f.get(of)), f.i64.const(62))),
          inversions(),
        ),
      aux: () => f.i64.xor(f.get(result), f.i64.extend_i32_u(f.i32.and(f.get(image), f.i32.const(0x10)))),
      result: () => f.get(result),
    });
  }
  /** `flagCarry` with CF and OF, each 0 or 1. */
  packCarry(carry: () => I32, overflow: () => I32): I64 {
    const { f } = this;
    const c = this.tmp();
    f.set(c, f.i64.extend_i32_u(carry()));
    const top = f.i64.shl(f.get(c), f.i64.const(63));
    return f.i64.or(top, f.i64.shl(f.i64.xor(f.get(c), f.i64.extend_i32_u(overflow())), f.i64.const(62)));
  }
  /** CF as 0 or 1. */
  carry(): I32 {
    return this.f.i32.wrap_i64(this.f.i64.shr_u(this.flags.carry(), this.f.i64.const(63)));
  }
  /** Condition `cc` as 0 or 1. */
  condition(cc: number): I32 {
    return condition(this.f, cc, this.flags);
  }
  /** The six status flags at their RFLAGS positions. */
  statusFlags(): I32 {
    return statusFlags(this.f, this.flags);
  }

  // --- faults and control ------------------------------------------------------------------------------------------------------

  /** Leaves the instruction after a helper recorded a fault. */
  abstract fault(): void;
  /** Raises an exception; `error` is pushed as its error code. */
  raise(vector: number, error = -1): void {
    this.f.call(this.helpers.raise, this.f.i32.const(vector), this.f.i32.const(error));
    this.fault();
  }
  /** System instructions are the interpreter's, whole: what they change is kept in locals here. */
  readonly inRegion: boolean = false;
  /** Runs a system instruction in TypeScript and does what its status says. */
  abstract system(id: number): void;

  /** Ends the instruction at itself: a string instruction gives way to interrupts in the middle. */
  abstract repeat(): void;
  /** RIP of this instruction. */
  abstract thisRip(): I64;
  /** RIP of the next instruction, cut to the mode's width. */
  abstract nextRip(): I64;
  /** Ends the instruction at its direct target. */
  abstract jumpDirect(): void;
  /** Ends the instruction at its direct target if the condition holds, else at the next instruction. */
  abstract jumpIf(condition: () => I32): void;
  /** Ends the instruction at an address computed at run time (already cut to the operand size; canonical). */
  abstract jumpTo(rip: Local<I64>): void;
  /** As `jumpTo`, where the mode is another from here on: code that was compiled for the old one is no way to go on. */
  leaveTo(rip: Local<I64>): void {
    this.jumpTo(rip);
  }
  /** Goes on with the next instruction, which has to be looked up afresh if the mode is another now. */
  lookUpNextIf(changed: I32): void {
    this.f.if(changed, () => this.leaveTo(this.let(this.nextRip())));
  }
}

/** Entries of a TLB array times their size, less the low bits. */
export const TLB_ENTRIES = 8192;
/** For a linear address shifted right by 8: the distance of its entry from the array's start. */
export const TLB_INDEX_MASK = (TLB_ENTRIES - 1) << 4;
/** The distance of a linear address's entry from the start of a TLB array. */
export const tlbIndex = (f: FunctionBuilder, va: Local<I64>): I32 =>
  f.i32.and(f.i32.shr_u(f.i32.wrap_i64(f.get(va)), f.i32.const(8)), f.i32.const(TLB_INDEX_MASK));

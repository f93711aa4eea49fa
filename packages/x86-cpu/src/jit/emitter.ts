/** The compiled tier's context: operands are constants, general registers are locals, flags are worked out when someone looks. */
import type { FunctionBuilder, I32, I64, Label, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Reach } from '../core/page-reach.ts';
import { NO_PAGE, NOT_REACHED, REFERENCE } from '../core/page-reach.ts';
import { registerName } from '../decode/format.ts';
import { BASE_RIP, OperandKind } from '../decode/insn.ts';
import type { Helpers } from '../emit/emitter.ts';
import { Emitter, tlbIndex } from '../emit/emitter.ts';
import type { FlagLocals } from '../emit/flags.ts';
import { condition } from '../emit/flags.ts';
import { Status } from '../emit/interpreter.ts';
import { LazyFlags } from '../emit/lazy-flags.ts';
import { AddressMode } from '../form.ts';
import { CPU, Record, Seg } from '../state.ts';
import type { RegionInstruction } from './region.ts';

/** Where a region's code goes when it leaves a block. */
export type Transfers = {
  /** After a helper recorded a fault, or that the interpreter must run the instruction, `emitLeaveHere`'s. */
  readonly fault: () => Label;
  /** With `status` set, for the instruction that `emitLeaveHere` works out. */
  readonly here: () => Label;
  /** Whoever has `exitRip` goes on. */
  readonly jump: () => Label;
  /** Goes to `exitRip` if that is an entry of this region; else does nothing. */
  readonly enter: () => void;
  /** Goes to a page offset: a block of the region, or out of it. */
  readonly goTo: (offset: number) => void;
};

/**
 * The page last reached through one base register: its linear address and the difference to host addresses. An access in the same page,
 * aligned to its size, needs no TLB. Empty is `NO_PAGE`, which no masked address equals. Nothing that runs inside a region changes mappings.
 * The stack and what loops access have one. Elsewhere most accesses are the first of their register since the region was entered, and
 * would only fill it: they probe the TLB.
 */
type PageCache = { readonly page: Local<I64>; readonly addend: Local<I32> };
const MAX_PAGE_CACHES = 8;
/** The stack pointer as the base of an access. */
const STACK = 'r4';

/** What can be seen of the flags that an instruction leaves. */
export type FlagUse = {
  /** Nobody sees them: they need not be made. */
  readonly unseen: boolean;
  /** It looks at old flags only to keep them, so then it need not look either. */
  readonly blind: boolean;
};

/**
 * Instructions that read memory and then write elsewhere. The write may have to be the interpreter's, which then does all of the instruction:
 * so if the read is a device's, it must be the interpreter's as well.
 */
const READS_BEFORE_STORING = new Set(['push', 'call_ind', 'pop', 'movs', 'enter']);

/** Bits for the number of instructions of a block. */
const LEFT_BITS = 10;

const SEEN: FlagUse = { unseen: false, blind: false };

export class RegionEmitter extends Emitter {
  readonly #cpu: Local<I32>;
  readonly #codeSize: 16 | 32 | 64;
  readonly #registers: (Local<I64> | undefined)[] = [];
  readonly #written = new Set<number>();
  readonly status: Local<I32>;
  readonly exitRip: Local<I64>;
  readonly budget: Local<I32>;
  readonly pageRip: Local<I64>;
  readonly flags: FlagLocals;
  readonly lazy: LazyFlags;
  #use: FlagUse = SEEN;
  readonly #pageCaches = new Map<string, PageCache>();
  /** What the current instruction's next access goes by: a base register, or the stack pointer. */
  #accessBase: string | undefined;
  /** The current instruction has read memory. */
  #loaded = false;
  #current!: RegionInstruction;
  /** Instructions of its block from the current one on. */
  #left = 0;
  #transfers!: Transfers;
  /** The instruction transferred control; nothing follows it. */
  ended = false;

  /** The TLB arrays that the region probes. Their addresses depend on the privilege, which nothing in a region changes. */
  readonly #tlb: { read?: Local<I32>; write?: Local<I32> } = {};
  #looping = false;

  /** @param codeSize of the whole region */
  constructor(f: FunctionBuilder, helpers: Helpers, codeSize: 16 | 32 | 64) {
    super(f, helpers);
    this.#codeSize = codeSize;
    this.#cpu = f.local('i32');
    this.status = f.local('i32');
    this.exitRip = f.local('i64');
    this.budget = f.local('i32');
    this.pageRip = f.local('i64');
    this.lazy = new LazyFlags(f, {
      truncate: (value, size) => this.truncate(value, size),
      signExtend: (value, size) => this.signExtend(value, size),
      packCarry: (carry, overflow) => this.packCarry(carry, overflow),
      mulHigh: (x, y) => f.call(helpers.mulHighS, x, y),
      store: (values) => this.#storeFlags(values),
      storeCompare: (zero, parity, carry) => {
        // These are an earlier instruction's flags: what the current one's are for does not matter.
        const use = this.#use;
        this.#use = SEEN;
        super.flagsCompare(zero, parity, carry);
        this.#use = use;
      },
    });
    const settled = (field: 'flagResult' | 'flagCarry' | 'flagAux') => (): I64 => {
      this.lazy.settle();
      return this.load64(field);
    };
    this.flags = { result: settled('flagResult'), carry: settled('flagCarry'), aux: settled('flagAux') };
  }

  /** Starts a block; `looping`: it is part of a loop, so that what it reaches once it will most likely reach again. */
  startBlock(looping: boolean): void {
    this.#looping = looping;
  }

  /** Starts an instruction; `left`: as many of its block, itself included, have not run yet. */
  instruction(instruction: RegionInstruction, left: number, transfers: Transfers, use: FlagUse): void {
    this.begin(instruction.form);
    this.lazy.begin();
    this.#left = left;
    this.#current = instruction;
    this.#transfers = transfers;
    this.#use = use;
    this.ended = false;
    this.#loaded = false;
    this.#accessBase = instruction.insn.row.rep === 'no' ? STACK : undefined;
  }

  cpu(): I32 {
    return this.f.get(this.#cpu);
  }

  /** Loads what the region uses; emitted last, runs first. */
  emitPrologue(cpuAddress: () => I32): void {
    const { f } = this;
    f.prologue(() => {
      f.set(this.#cpu, cpuAddress());
      f.set(this.budget, this.load32('budget'));
      const entered = f.param(0, 'i32');
      f.set(this.pageRip, this.load64('pageRip'));
      const place = f.i64.and(f.i64.load16_u(f.get(entered), Record.place), f.i64.const(0xfff));
      f.set(this.exitRip, this.#cutRip(f.i64.add(place, f.get(this.pageRip))));
      f.set(this.pageRip, f.i64.sub(f.get(this.pageRip), f.i64.load32_s(f.get(entered), Record.imm2)));
      const { read, write } = this.#tlb;
      if (read) f.set(read, this.load32('tlbRead'));
      if (write) f.set(write, this.load32('tlbWrite'));
      for (const { page } of this.#pageCaches.values()) f.set(page, f.i64.const(NO_PAGE));
      this.#registers.forEach((local, reg) => {
        if (local) f.set(local, f.i64.load(this.cpu(), CPU.offset.gpr + 8 * reg));
      });
    });
  }

  /** Stores what the region changed. */
  emitSpill(): void {
    const { f } = this;
    this.#use = SEEN;
    for (const reg of this.#written) {
      const local = this.#registers[reg];
      if (local) f.i64.store(this.cpu(), f.get(local), CPU.offset.gpr + 8 * reg);
    }
    this.lazy.settleAny(() => this.helpers.settleFlags);
    this.store32('budget', () => f.get(this.budget));
  }

  /** What the locals hold, for people. */
  localNames(): Map<number, string> {
    const { status, exitRip, budget, pageRip } = this;
    const all: [string, Local | undefined][] = Object.entries({ cpu: this.#cpu, status, exitRip, budget, pageRip });
    this.#registers.forEach((local, reg) => void all.push([registerName(reg, 8), local]));
    for (const [key, { page, addend }] of this.#pageCaches) all.push([`page:${key}`, page], [`addend:${key}`, addend]);
    all.push(...Object.entries(this.lazy.locals));
    return new Map(all.flatMap(([name, local]) => (local ? [[local.index, `$${name}`]] : [])));
  }

  // --- registers -------------------------------------------------------------------------------------------------------------

  #register(reg: number): Local<I64> {
    return (this.#registers[reg] ??= this.f.local('i64'));
  }
  gpr(reg: number, size: number): I64 {
    return this.truncate(this.f.get(this.#register(reg)), size);
  }
  setGpr(reg: number, size: number, value: Local<I64>): void {
    const { f } = this;
    const local = this.#register(reg);
    this.#written.add(reg);
    if (size >= 4) f.set(local, f.get(value));
    else this.#merge(local, value, size === 1 ? 0xff : 0xffff, 0);
  }
  gprHigh(reg: number): I64 {
    const { i64 } = this.f;
    return i64.and(i64.shr_u(this.f.get(this.#register(reg)), i64.const(8)), i64.const(0xff));
  }
  setGprHigh(reg: number, value: Local<I64>): void {
    this.#written.add(reg);
    this.#merge(this.#register(reg), value, 0xff, 8);
  }
  #merge(local: Local<I64>, value: Local<I64>, mask: number, shift: number): void {
    const { f } = this;
    const { i64 } = f;
    const kept = i64.and(f.get(local), i64.const(~(mask << shift)));
    const cut = i64.and(f.get(value), i64.const(mask));
    f.set(local, i64.or(kept, shift ? i64.shl(cut, i64.const(shift)) : cut));
  }

  // --- operands --------------------------------------------------------------------------------------------------------------

  protected readRegister(n: number, size: number): I64 {
    const { insn } = this.#current;
    return insn.kind[n] === OperandKind.GprHigh ? this.gprHigh(insn.reg[n]) : this.gpr(insn.reg[n], size);
  }
  protected writeRegister(n: number, size: number, value: Local<I64>): void {
    const { insn } = this.#current;
    if (insn.kind[n] === OperandKind.GprHigh) this.setGprHigh(insn.reg[n], value);
    else this.setGpr(insn.reg[n], size, value);
  }
  #isSecondImmediate(n: number): boolean {
    const { insn } = this.#current;
    return n > 0 && insn.kind[n - 1] === OperandKind.Imm;
  }
  protected readImmediate(n: number): I64 {
    const { insn } = this.#current;
    return this.#isSecondImmediate(n) ? this.f.i64.const(insn.imm2) : this.f.i64.halves(insn.immLo, insn.immHi);
  }
  override immediate(n: number): number | undefined {
    const { insn } = this.#current;
    if (insn.kind[n] !== OperandKind.Imm) return undefined;
    return this.#isSecondImmediate(n) ? insn.imm2 : insn.immLo;
  }
  override sameRegister(a: number, b: number): boolean {
    const { insn } = this.#current;
    return insn.kind[a] === OperandKind.Gpr && insn.kind[b] === OperandKind.Gpr && insn.reg[a] === insn.reg[b];
  }
  #vectorOffset(n: number): number {
    const { insn } = this.#current;
    return insn.kind[n] === OperandKind.Mmx ? CPU.offset.fpr + 16 * insn.reg[n] : CPU.offset.xmm + 16 * insn.reg[n];
  }
  protected readVectorRegister(n: number): V128 {
    return this.f.v128.load(this.cpu(), this.#vectorOffset(n));
  }
  protected writeVectorRegister(n: number, value: Local<V128>): void {
    this.f.v128.store(this.cpu(), this.f.get(value), this.#vectorOffset(n));
  }
  registerAddress(n: number): I32 {
    return this.f.i32.add(this.cpu(), this.f.i32.const(this.#vectorOffset(n)));
  }
  stackIndex(n: number): I32 {
    return this.f.i32.const(this.#current.insn.reg[n]);
  }
  vectorIndex(): I32 {
    return this.f.i32.add(this.cpu(), this.f.i32.const(CPU.offset.xmm + 16 * this.#current.insn.index));
  }
  vectorScale(): I32 {
    return this.f.i32.const(this.#current.insn.scale);
  }
  baseIsStackPointer(): I32 {
    return this.f.i32.const(this.#current.insn.base === 4 ? 1 : 0);
  }

  effectiveAddress(displacement?: Local<I64>): I64 {
    const { f } = this;
    const { i64 } = f;
    const { insn, offset } = this.#current;
    let sum: I64 | undefined;
    const add = (term: () => I64): void => {
      sum = sum === undefined ? term() : i64.add(sum, term());
    };
    if (insn.base === BASE_RIP) {
      add(() => f.get(this.pageRip));
      add(() => i64.const(offset + insn.length + insn.disp));
    } else if (insn.base >= 0) add(() => f.get(this.#register(insn.base)));
    if (insn.index >= 0 && !insn.row.vsib) {
      const index = (): I64 => f.get(this.#register(insn.index));
      add(() => (insn.scale ? i64.shl(index(), i64.const(insn.scale)) : index()));
    }
    if (displacement) add(() => f.get(displacement));
    if (insn.base !== BASE_RIP && (insn.disp !== 0 || sum === undefined)) add(() => i64.const(insn.disp));
    const total = sum as I64;
    return insn.addrSize === 8 ? total : this.truncate(total, insn.addrSize);
  }

  address(_size: number, _write: boolean, displacement?: Local<I64>): Local<I64> {
    const { f } = this;
    const { insn, form } = this.#current;
    const special = insn.seg === Seg.FS || insn.seg === Seg.GS;
    this.#accessBase = displacement
      ? undefined
      : `r${insn.base}${insn.index < 0 ? '' : `i${insn.index}`}${special ? `s${insn.seg}` : ''}`;
    const base = (): I64 => f.i64.load(this.cpu(), CPU.offset.segBase + 8 * insn.seg);
    if (form.address === AddressMode.Absolute || insn.kind.includes(OperandKind.Moffs)) {
      const absolute = f.i64.halves(insn.moffsLo, insn.moffsHi);
      return this.let(special ? f.i64.add(absolute, base()) : absolute);
    }
    const offset = this.effectiveAddress(displacement);
    if (!special) return this.let(offset);
    const linear = f.i64.add(offset, base());
    return this.let(insn.mode === 64 ? linear : this.truncate(linear, 4));
  }

  stringAddress(offset: Local<I64>): Local<I64> {
    const { f } = this;
    const { insn, form } = this.#current;
    if (form.address === AddressMode.Base) return offset;
    const linear = f.i64.add(f.get(offset), f.i64.load(this.cpu(), CPU.offset.segBase + 8 * insn.seg));
    return this.let(insn.mode === 64 ? linear : this.truncate(linear, 4));
  }

  // --- memory ----------------------------------------------------------------------------------------------------------------

  #pageCache(write: boolean): PageCache | undefined {
    if (this.#accessBase === undefined || !(this.#looping || this.#accessBase === STACK)) return undefined;
    const key = `${write ? 'w' : 'r'}${this.#accessBase}`;
    let cache = this.#pageCaches.get(key);
    if (!cache && this.#pageCaches.size < MAX_PAGE_CACHES) {
      cache = { page: this.f.local('i64'), addend: this.f.local('i32') };
      this.#pageCaches.set(key, cache);
    }
    return cache;
  }

  /** 1 if the access is not in the cached page, or not aligned. */
  #outsideCachedPage(cache: PageCache, va: Local<I64>, size: number): I32 {
    const { i64 } = this.f;
    return i64.ne(i64.and(this.f.get(va), i64.const(-4096 | (size - 1))), this.f.get(cache.page));
  }
  #cachedHost(cache: PageCache, va: Local<I64>): I32 {
    return this.f.i32.add(this.f.i32.wrap_i64(this.f.get(va)), this.f.get(cache.addend));
  }
  /** Makes the cache hold the page of an access; `otherwise` leaves, where it cannot be reached. */
  #fillPageCache(cache: PageCache, kind: Reach, va: Local<I64>, size: number, otherwise: () => void): void {
    const { f } = this;
    f.callInto([cache.page, cache.addend], this.helpers[`${kind}Page`], f.get(va), f.i32.const(size));
    f.if(f.unlikely(f.i64.eq(f.get(cache.page), f.i64.const(NOT_REACHED))), otherwise);
  }

  /** Host address of an access by the TLB; where that does not know it, `miss` finds it or leaves. */
  #hostByTlb(write: boolean, va: Local<I64>, size: number, miss: (host: Local<I32>) => void): Local<I32> {
    const { f } = this;
    const host = this.tmp32();
    const array = write ? 'write' : 'read';
    this.#tlb[array] ??= f.local('i32');
    const entry = this.let32(f.i32.add(tlbIndex(f, va), f.get(this.#tlb[array])));
    f.if(
      f.likely(this.hit(va, entry, size)),
      () => f.set(host, this.host(va, entry)),
      () => miss(host),
    );
    return host;
  }

  /** Host address of an access that may leave the instruction by a fault. */
  #reach(kind: Exclude<Reach, 'write'>, va: Local<I64>, size: number): I32 {
    const { f } = this;
    const write = kind === 'modify';
    const cache = this.#pageCache(write);
    if (!cache) {
      const host = this.#hostByTlb(write, va, size, (host) => {
        f.set(host, f.call(this.helpers.reference, f.get(va), f.i32.const(size), f.i32.const(REFERENCE[kind])));
        f.if(f.unlikely(f.i32.eqz(f.get(host))), () => this.fault());
      });
      return f.get(host);
    }
    f.if(f.unlikely(this.#outsideCachedPage(cache, va, size)), () =>
      this.#fillPageCache(cache, kind, va, size, () => this.fault()),
    );
    return this.#cachedHost(cache, va);
  }

  override load(va: Local<I64>, size: number): I64 {
    this.#loaded = true;
    return this.loadHost(this.#reach(READS_BEFORE_STORING.has(this.form.sem) ? 'source' : 'read', va, size), size);
  }

  override store(va: Local<I64>, size: number, value: Local<I64>): void {
    const { f } = this;
    if (this.#loaded && !READS_BEFORE_STORING.has(this.form.sem)) throw new Error(`${this.form.sem} reads before it stores`);
    const cache = this.#pageCache(true);
    f.block((done) => {
      const missed = (): void => {
        this.storeMissed(va, size, value);
        f.br(done);
      };
      if (!cache) {
        const host = this.#hostByTlb(true, va, size, missed);
        this.storeHost(() => f.get(host), size, value);
        return;
      }
      f.if(f.unlikely(this.#outsideCachedPage(cache, va, size)), () => this.#fillPageCache(cache, 'write', va, size, missed));
      this.storeHost(() => this.#cachedHost(cache, va), size, value);
    });
  }

  override reference(va: Local<I64>, size: number, write: boolean): Local<I32> {
    const host = this.tmp32();
    // The page cache tells whether bytes are in one page only for sizes that are a power of two.
    if (size > 16) this.#accessBase = undefined;
    this.f.set(host, this.#reach(write ? 'modify' : 'read', va, size));
    return host;
  }

  // --- flags -----------------------------------------------------------------------------------------------------------------

  #storeFlags(values: { result: () => I64; carry: () => I64; aux: () => I64 }): void {
    const carry = this.let(values.carry());
    const aux = this.let(values.aux());
    this.store64('flagResult', values.result);
    this.store64('flagCarry', () => this.f.get(carry));
    this.store64('flagAux', () => this.f.get(aux));
  }
  setFlags(values: { result: () => I64; carry: () => I64; aux: () => I64 }): void {
    if (this.#use.unseen) return;
    this.lazy.storing();
    this.#storeFlags(values);
    this.lazy.inState();
  }

  override flagsAdd(size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): void {
    const { f } = this;
    if (this.#use.unseen) return;
    // With a carry in, CF is not simply r < a.
    if (this.form.sem === 'adc') super.flagsAdd(size, a, b, r);
    else
      this.lazy.defer(
        'add',
        size,
        () => f.get(a),
        () => f.get(b),
      );
  }
  override flagsSub(size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): void {
    const { f } = this;
    if (this.#use.unseen) return;
    // CMPS and SCAS under REP compare on some ways through the instruction and not on others.
    if (this.form.sem === 'sbb' || this.form.rep !== 0) super.flagsSub(size, a, b, r);
    else
      this.lazy.defer(
        'sub',
        size,
        () => f.get(a),
        () => f.get(b),
      );
  }
  override flagsLogic(size: number, r: Local<I64>): void {
    if (!this.#use.unseen) this.lazy.defer('logic', size, () => this.f.get(r));
  }
  override flagsIncrement(size: number, a: Local<I64>, step: 1 | -1): void {
    if (this.#use.unseen) return;
    const carry = this.let(this.f.i64.extend_i32_u(this.carry()));
    this.lazy.defer(
      step === 1 ? 'inc' : 'dec',
      size,
      () => this.f.get(a),
      () => this.f.get(carry),
    );
  }
  override flagsShift(kind: 'shl' | 'shr' | 'sar', size: number, a: Local<I64>, count: Local<I64>, r: Local<I64>): void {
    if (this.#use.unseen) return;
    // A count that may be 0 makes flags on one of two ways.
    if (this.immediate(1) === undefined) super.flagsShift(kind, size, a, count, r);
    else
      this.lazy.defer(
        kind,
        size,
        () => this.f.get(a),
        () => this.f.get(count),
      );
  }
  override flagsMultiply(size: number, a: Local<I64>, b: Local<I64>): void {
    if (!this.#use.unseen)
      this.lazy.defer(
        'imul',
        size,
        () => this.f.get(a),
        () => this.f.get(b),
      );
  }
  override flagsProduct(size: number, r: Local<I64>, overflow: Local<I32>): void {
    const { f } = this;
    if (this.#use.unseen) return;
    this.lazy.defer(
      'product',
      size,
      () => f.get(r),
      () => f.i64.extend_i32_u(f.get(overflow)),
    );
  }
  override flagsCompare(zero: () => I32, parity: () => I32, carry: () => I32): void {
    const { f } = this;
    if (this.#use.unseen) return;
    const packed = (): I32 => {
      const low = f.i32.or(zero(), f.i32.shl(parity(), f.i32.const(1)));
      return f.i32.or(low, f.i32.shl(carry(), f.i32.const(2)));
    };
    this.lazy.defer('compare', 1, () => f.i64.extend_i32_u(packed()));
  }
  override flagsCarry(carry: () => I32): void {
    if (!this.#use.unseen) super.flagsCarry(carry);
  }

  override carry(): I32 {
    if (this.#use.blind) return this.f.i32.const(0);
    return this.lazy.fused(2) ?? super.carry();
  }
  override condition(cc: number): I32 {
    if (this.#use.blind) return this.f.i32.const(0);
    const fused = this.lazy.fused(cc & ~1);
    if (fused === undefined) return condition(this.f, cc, this.flags);
    return cc & 1 ? this.f.i32.eqz(fused) : fused;
  }
  override statusFlags(): I32 {
    return this.#use.blind ? this.f.i32.const(0) : super.statusFlags();
  }

  // --- leaving ---------------------------------------------------------------------------------------------------------------

  /** Leaves at the current instruction, not executed. */
  #leaveHere(label: Label): void {
    const { f } = this;
    // One constant says where that is and what of its block has not run: there are many such places.
    f.set(this.exitRip, f.i64.const(this.#current.offset * 2 ** LEFT_BITS + this.#left));
    f.br(label);
  }
  /** The end of all ways of leaving at an instruction: gives back what of its block has not run, and makes `exitRip` its RIP. */
  emitLeaveHere(): void {
    const { f } = this;
    const left = f.i32.and(f.i32.wrap_i64(f.get(this.exitRip)), f.i32.const(2 ** LEFT_BITS - 1));
    f.set(this.budget, f.i32.add(f.get(this.budget), left));
    const offset = f.i64.shr_s(f.get(this.exitRip), f.i64.const(LEFT_BITS));
    f.set(this.exitRip, this.#cutRip(f.i64.add(f.get(this.pageRip), offset)));
  }

  /** A fault, or a store into translated code: that one the interpreter has to run, for this very region may not survive it. */
  fault(): void {
    this.#leaveHere(this.#transfers.fault());
  }
  override readonly inRegion = true;
  /** System instructions are the interpreter's. None has changed anything before it gets here. */
  system(_id: number): void {
    this.f.set(this.status, this.f.i32.const(Status.Interpret));
    this.#leaveHere(this.#transfers.here());
  }
  /** The interpreter's. */
  override faultEarly(): void {}
  override exclusively(): void {
    this.system(-1);
  }
  repeat(): void {
    const { pending } = this.lazy;
    this.jumpTo(this.let(this.thisRip()));
    // The other way out of a repeated instruction goes on, with the flags as they were.
    this.lazy.pending = pending;
    this.ended = false;
  }

  #cutRip(rip: I64): I64 {
    return this.#codeSize === 64 ? rip : this.truncate(rip, 4);
  }
  /** RIP of a page offset. */
  ripAt(offset: number): I64 {
    return this.#cutRip(this.f.i64.add(this.f.get(this.pageRip), this.f.i64.const(offset)));
  }
  thisRip(): I64 {
    return this.#cutRip(this.f.i64.add(this.f.get(this.pageRip), this.f.i64.const(this.#current.offset)));
  }
  nextRip(): I64 {
    const { insn, offset } = this.#current;
    return this.#cutRip(this.f.i64.add(this.f.get(this.pageRip), this.f.i64.const(offset + insn.length)));
  }
  jumpDirect(): void {
    const { insn, offset } = this.#current;
    this.#transfers.goTo(offset + insn.length + insn.rel);
    this.ended = true;
  }
  jumpIf(holds: () => I32): void {
    const { f } = this;
    const { insn, offset } = this.#current;
    // Going to a block may emit it right here, and with it other instructions.
    const { goTo } = this.#transfers;
    const { lazy } = this;
    const condition = holds();
    // Two ways to one block would emit it twice, and a row of such branches 2^n times.
    if (insn.rel === 0) {
      f.drop(condition);
      goTo(offset + insn.length);
      this.ended = true;
      return;
    }
    const { pending } = lazy;
    f.if(
      condition,
      () => goTo(offset + insn.length + insn.rel),
      () => {
        lazy.pending = pending;
        goTo(offset + insn.length);
      },
    );
    f.unreachable();
    this.ended = true;
  }
  jumpTo(rip: Local<I64>): void {
    const { f } = this;
    f.set(this.exitRip, f.get(rip));
    this.#transfers.enter();
    f.br(this.#transfers.jump());
    this.ended = true;
  }
  override leaveTo(rip: Local<I64>): void {
    this.f.set(this.exitRip, this.f.get(rip));
    this.f.br(this.#transfers.jump());
    this.ended = true;
  }
  override lookUpNextIf(changed: I32): void {
    super.lookUpNextIf(changed);
    this.ended = false; // else it goes on
  }
}

/** The compiled tier's context: operands are constants, general registers and flags are locals. */
import type { FunctionBuilder, I32, I64, Label, Local, V128 } from '@tsvisor/wasm-codegen';
import { BASE_RIP, OperandKind } from '../decode/insn.ts';
import type { Helpers } from '../emit/emitter.ts';
import { Emitter } from '../emit/emitter.ts';
import type { FlagLocals } from '../emit/flags.ts';
import { addCarries, condition, subCarries } from '../emit/flags.ts';
import { Status } from '../emit/interpreter.ts';
import { AddressMode } from '../form.ts';
import { CPU, Seg } from '../state.ts';
import type { RegionBlock, RegionInstruction } from './region.ts';

/** Where a region's code goes when it leaves a block. */
export type Transfers = {
  /** The common exit: spills, and returns `status`. */
  readonly exit: () => Label;
  /** Goes to `exitRip` if that is an entry of this region; else does nothing. */
  readonly enter: () => void;
  /** Goes to a page offset: a block of the region, or out of it. */
  readonly goTo: (offset: number) => void;
};

/**
 * The page last reached through one base register: its linear address and the difference to host addresses. An access in the same page,
 * aligned to its size, needs no TLB. Empty is -1, which no masked address equals. Nothing that runs inside a region changes mappings.
 */
type PageCache = { readonly page: Local<I64>; readonly addend: Local<I32> };
const MAX_PAGE_CACHES = 8;

/** Flags of the last arithmetic instruction, not yet worked out: its operands are still in locals. */
type Pending = { readonly kind: 'add' | 'sub' | 'logic'; readonly size: number };

export class RegionEmitter extends Emitter {
  readonly #cpu: Local<I32>;
  readonly #codeSize: 16 | 32 | 64;
  readonly #registers: (Local<I64> | undefined)[] = [];
  readonly #written = new Set<number>();
  readonly #result: Local<I64>;
  readonly #carry: Local<I64>;
  readonly #aux: Local<I64>;
  readonly #a: Local<I64>;
  readonly #b: Local<I64>;
  readonly #r: Local<I64>;
  readonly status: Local<I32>;
  readonly exitRecord: Local<I32>;
  readonly exitRip: Local<I64>;
  readonly budget: Local<I32>;
  readonly pageRip: Local<I64>;
  readonly flags: FlagLocals;
  #pending: Pending | undefined;
  readonly #pageCaches = new Map<string, PageCache>();
  /** What the current instruction's next access goes through: a base register, or the stack pointer. */
  #accessBase: string | undefined;
  #current!: RegionInstruction;
  #block!: RegionBlock;
  #transfers!: Transfers;
  /** The instruction transferred control; nothing follows it. */
  ended = false;

  /** @param codeSize of the whole region */
  constructor(f: FunctionBuilder, helpers: Helpers, codeSize: 16 | 32 | 64) {
    super(f, helpers);
    this.#codeSize = codeSize;
    this.#cpu = f.local('i32');
    this.#result = f.local('i64');
    this.#carry = f.local('i64');
    this.#aux = f.local('i64');
    this.#a = f.local('i64');
    this.#b = f.local('i64');
    this.#r = f.local('i64');
    this.status = f.local('i32');
    this.exitRecord = f.local('i32');
    this.exitRip = f.local('i64');
    this.budget = f.local('i32');
    this.pageRip = f.local('i64');
    this.flags = {
      result: () => {
        this.settleFlags();
        return f.get(this.#result);
      },
      carry: () => {
        this.settleFlags();
        return f.get(this.#carry);
      },
      aux: () => {
        this.settleFlags();
        return f.get(this.#aux);
      },
    };
  }

  /** Starts an instruction. */
  instruction(block: RegionBlock, instruction: RegionInstruction, transfers: Transfers): void {
    this.begin(instruction.form);
    this.#block = block;
    this.#current = instruction;
    this.#transfers = transfers;
    this.ended = false;
    this.#accessBase = instruction.insn.row.rep === 'no' ? 'r4' : undefined;
  }

  /** Starts a block: flags are where the predecessors put them. */
  startBlock(): void {
    this.#pending = undefined;
  }

  cpu(): I32 {
    return this.f.get(this.#cpu);
  }

  /** Loads what the region uses; emitted last, runs first. */
  emitPrologue(cpuAddress: () => I32): void {
    const { f } = this;
    f.prologue(() => {
      f.set(this.#cpu, cpuAddress());
      f.set(this.#result, this.load64('flagResult'));
      f.set(this.#carry, this.load64('flagCarry'));
      f.set(this.#aux, this.load64('flagAux'));
      f.set(this.budget, this.load32('budget'));
      f.set(this.pageRip, this.load64('pageRip'));
      for (const { page } of this.#pageCaches.values()) f.set(page, f.i64.const(-1));
      this.#registers.forEach((local, reg) => {
        if (local) f.set(local, f.i64.load(this.cpu(), CPU.offset.gpr + 8 * reg));
      });
    });
  }

  /** Stores what the region changed. */
  emitSpill(): void {
    const { f } = this;
    for (const reg of this.#written) {
      const local = this.#registers[reg];
      if (local) f.i64.store(this.cpu(), f.get(local), CPU.offset.gpr + 8 * reg);
    }
    this.store64('flagResult', () => f.get(this.#result));
    this.store64('flagCarry', () => f.get(this.#carry));
    this.store64('flagAux', () => f.get(this.#aux));
    this.store32('budget', () => f.get(this.budget));
    this.store32('exitRecord', () => f.get(this.exitRecord));
    this.store64('rip', () => f.get(this.exitRip));
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
    if (insn.index >= 0) {
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
    if (this.#accessBase === undefined) return undefined;
    const key = `${write ? 'w' : 'r'}${this.#accessBase}`;
    let cache = this.#pageCaches.get(key);
    if (!cache && this.#pageCaches.size < MAX_PAGE_CACHES) {
      cache = { page: this.f.local('i64'), addend: this.f.local('i32') };
      this.#pageCaches.set(key, cache);
    }
    return cache;
  }

  /** 1 if the access is in the cached page and aligned. */
  #inCachedPage(cache: PageCache, va: Local<I64>, size: number): I32 {
    const { i64 } = this.f;
    return i64.eq(i64.and(this.f.get(va), i64.const(-4096 | (size - 1))), this.f.get(cache.page));
  }
  #cachedHost(cache: PageCache, va: Local<I64>): I32 {
    return this.f.i32.add(this.f.i32.wrap_i64(this.f.get(va)), this.f.get(cache.addend));
  }
  #fillPageCache(cache: PageCache, va: Local<I64>, entry: Local<I32>): void {
    const { f } = this;
    f.set(cache.page, f.i64.and(f.get(va), f.i64.const(-4096)));
    f.set(cache.addend, f.i32.load(f.get(entry), 8));
  }

  override load(va: Local<I64>, size: number): I64 {
    const { f } = this;
    const cache = this.#pageCache(false);
    if (!cache) return super.load(va, size);
    const miss = (): I64 => {
      const entry = this.probe(va, CPU.offset.tlbRead);
      return f.ifOf(
        'i64',
        this.hit(va, entry, size),
        () => {
          this.#fillPageCache(cache, va, entry);
          return this.loadHost(this.#cachedHost(cache, va), size);
        },
        () => this.loadMissed(va, size),
      );
    };
    return f.ifOf('i64', this.#inCachedPage(cache, va, size), () => this.loadHost(this.#cachedHost(cache, va), size), miss);
  }

  override store(va: Local<I64>, size: number, value: Local<I64>): void {
    const { f } = this;
    const cache = this.#pageCache(true);
    if (!cache) {
      super.store(va, size, value);
      return;
    }
    const direct = (): void => this.storeHost(() => this.#cachedHost(cache, va), size, value);
    f.if(this.#inCachedPage(cache, va, size), direct, () => {
      const entry = this.probe(va, CPU.offset.tlbWrite);
      f.if(
        this.hit(va, entry, size),
        () => {
          this.#fillPageCache(cache, va, entry);
          direct();
        },
        () => this.storeMissed(va, size, value),
      );
    });
  }

  override reference(va: Local<I64>, size: number, write: boolean): Local<I32> {
    const { f } = this;
    const cache = size <= 16 ? this.#pageCache(write) : undefined;
    if (!cache) return super.reference(va, size, write);
    const host = this.tmp32();
    f.if(
      this.#inCachedPage(cache, va, size),
      () => f.set(host, this.#cachedHost(cache, va)),
      () => {
        const entry = this.probe(va, write ? CPU.offset.tlbWrite : CPU.offset.tlbRead);
        f.if(
          this.hit(va, entry, size),
          () => {
            this.#fillPageCache(cache, va, entry);
            f.set(host, this.#cachedHost(cache, va));
          },
          () => this.referenceMissed(host, va, size, write),
        );
      },
    );
    return host;
  }

  // --- flags -----------------------------------------------------------------------------------------------------------------

  /** What is pending, if anything: must be the same on both ways out of a condition. For tests. */
  get pendingFlags(): object | undefined {
    return this.#pending;
  }
  /** Works out flags that are still pending: before they are read in full, changed on one path only, or seen outside. */
  settleFlags(): void {
    if (!this.#pending) return;
    this.#emitFlags(this.#pending);
    this.#pending = undefined;
  }

  #emitFlags({ kind, size }: Pending): void {
    const { f } = this;
    const [a, b, r] = [this.#a, this.#b, this.#r];
    if (kind === 'logic') f.set(this.#carry, f.i64.const(0));
    else f.set(this.#carry, kind === 'add' ? addCarries(f, size, a, b, r) : subCarries(f, size, a, b, r));
    f.set(this.#result, this.signExtend(f.get(r), size));
    f.set(this.#aux, kind === 'logic' ? f.get(this.#result) : f.i64.xor(f.get(a), f.get(b)));
  }

  #defer(kind: Pending['kind'], size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): void {
    const { f } = this;
    f.set(this.#a, f.get(a));
    f.set(this.#b, f.get(b));
    f.set(this.#r, f.get(r));
    this.#pending = { kind, size };
  }
  override flagsAdd(size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): void {
    this.#defer('add', size, a, b, r);
    // With a carry in, CF is not simply r < a.
    if (this.form.sem !== 'add' && this.form.sem !== 'xadd') this.settleFlags();
  }
  override flagsSub(size: number, a: Local<I64>, b: Local<I64>, r: Local<I64>): void {
    this.#defer('sub', size, a, b, r);
    // CMPS and SCAS under REP compare on some ways through the instruction and not on others.
    if (this.form.sem === 'sbb' || this.form.rep !== 0) this.settleFlags();
  }
  override flagsLogic(size: number, r: Local<I64>): void {
    this.#defer('logic', size, r, r, r);
  }
  setFlags(values: { result: () => I64; carry: () => I64; aux: () => I64 }): void {
    const { f } = this;
    const carry = this.let(values.carry());
    const aux = this.let(values.aux());
    const result = this.let(values.result());
    this.#pending = undefined;
    f.set(this.#carry, f.get(carry));
    f.set(this.#aux, f.get(aux));
    f.set(this.#result, f.get(result));
  }

  override carry(): I32 {
    return this.#fused(2) ?? super.carry();
  }
  override condition(cc: number): I32 {
    const fused = this.#fused(cc & ~1);
    if (fused === undefined) return condition(this.f, cc, this.flags);
    return cc & 1 ? this.f.i32.eqz(fused) : fused;
  }

  /** An even condition straight from the operands of the pending instruction, where that is possible. */
  #fused(cc: number): I32 | undefined {
    if (!this.#pending) return undefined;
    const { f } = this;
    const { i64 } = f;
    const { kind, size } = this.#pending;
    const signed = (local: Local<I64>): I64 => this.signExtend(f.get(local), size);
    const zero = (): I64 => i64.const(0);
    if (cc === 4) return kind === 'sub' ? i64.eq(f.get(this.#a), f.get(this.#b)) : i64.eqz(f.get(this.#r));
    if (cc === 8) return i64.lt_s(signed(this.#r), zero());
    if (kind === 'sub') {
      if (cc === 2) return i64.lt_u(f.get(this.#a), f.get(this.#b));
      if (cc === 6) return i64.le_u(f.get(this.#a), f.get(this.#b));
      if (cc === 12) return i64.lt_s(signed(this.#a), signed(this.#b));
      if (cc === 14) return i64.le_s(signed(this.#a), signed(this.#b));
    }
    if (kind === 'add' && cc === 2) return i64.lt_u(f.get(this.#r), f.get(this.#a));
    if (kind === 'logic') {
      if (cc === 0 || cc === 2) return f.i32.const(0);
      if (cc === 6) return i64.eqz(f.get(this.#r));
      if (cc === 12) return i64.lt_s(signed(this.#r), zero());
      if (cc === 14) return i64.le_s(signed(this.#r), zero());
    }
    return undefined;
  }

  // --- leaving ---------------------------------------------------------------------------------------------------------------

  /** Leaves for the interpreter at the current instruction's record, not executed. */
  #leaveHere(status: () => I32): void {
    const { f } = this;
    // This is one path of several: the others still have the flags pending.
    if (this.#pending) this.#emitFlags(this.#pending);
    const surplus = this.#block.interpreterCount - this.#block.instructions.length;
    // From here on the interpreter's block is what counts: it runs the rest of it, or takes the rest off again after a fault.
    if (surplus) f.set(this.budget, f.i32.sub(f.get(this.budget), f.i32.const(surplus)));
    f.set(this.exitRecord, f.i32.const(this.#current.record));
    f.set(this.status, status());
    f.br(this.#transfers.exit());
  }

  /** A fault, or a store into translated code: that one the interpreter has to run, for this very region may not survive it. */
  fault(): void {
    const { f } = this;
    this.#leaveHere(() => f.select(f.i32.const(Status.Record), f.i32.const(Status.Fault), this.load32('restart')));
  }
  /** System instructions are the interpreter's. None has changed anything before it gets here. */
  system(_id: number): void {
    this.#leaveHere(() => this.f.i32.const(Status.Record));
  }
  repeat(): void {
    this.jumpTo(this.let(this.thisRip()));
    this.ended = false; // the other way out of a repeated instruction goes on
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
    this.settleFlags();
    this.#transfers.goTo(offset + insn.length + insn.rel);
    this.ended = true;
  }
  jumpIf(holds: () => I32): void {
    const { f } = this;
    const { insn, offset } = this.#current;
    // Going to a block may emit it right here, and with it other instructions.
    const { goTo } = this.#transfers;
    const taken = this.let32(holds());
    this.settleFlags();
    // Two ways to one block would emit it twice, and a row of such branches 2^n times.
    if (insn.rel === 0) goTo(offset + insn.length);
    else {
      f.if(
        f.get(taken),
        () => goTo(offset + insn.length + insn.rel),
        () => goTo(offset + insn.length),
      );
      f.unreachable();
    }
    this.ended = true;
  }
  jumpTo(rip: Local<I64>): void {
    const { f } = this;
    this.settleFlags();
    f.set(this.exitRip, f.get(rip));
    this.#transfers.enter();
    f.set(this.status, f.i32.const(Status.Jump));
    f.br(this.#transfers.exit());
    this.ended = true;
  }
}

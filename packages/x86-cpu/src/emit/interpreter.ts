/**
 * The interpreter's contexts: operands come from a 32-byte record.
 *
 * A record's fields (state.ts, `Record`) by form:
 * - register operands, in order: `a`, `b`, `base`, `index`; in a form with a memory operand: `a`, `imm`, `imm2`; in a branch: `base`.
 *   Each holds the address of the register (AH is the address of AL plus one), or the number of an x87 stack register.
 * - a memory operand: `base`, `index`, `scale`, `disp`, and `shift` = 64 minus the address size in bits; what is absent reads `CPU.zero`.
 * - MONITOR: the number of its segment in `disp`.
 * - a gather: the address of the index register in `imm2`, its scale in `vectorScale`.
 * - an immediate: `imm`, sign-extended; with a memory operand and two registers `imm2`.
 * - an indirect branch: `imm` how far from its page it led the last time, 0 if it has not run.
 * - a direct branch: `imm` the record of the target, `imm2` of the next instruction; `disp` of a call is the return address's page offset.
 */
import type { I32, I64, Label, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Form } from '../form.ts';
import { AddressMode } from '../form.ts';
import { CPU, Record, Reg } from '../state.ts';
import { Emitter } from './emitter.ts';
import type { FlagLocals } from './flags.ts';

const isRegister = (cls: string): boolean => cls === 'r' || cls === 'x' || cls === 'y' || cls === 't' || cls === 'f';

/** Byte offset in the record of operand `n`, by the rules above. */
export function operandSlot(form: Form, n: number): number {
  const memory = form.classes.includes('m');
  let registers = 0;
  for (let i = 0; i < n; i++) if (isRegister(form.classes[i])) registers++;
  if (form.classes[n] === 'i' || form.classes[n] === 'p') {
    if (n > 0 && form.classes[n - 1] === 'i') return Record.b; // ENTER's level
    const total = form.classes.filter(isRegister).length;
    return memory && total > 1 ? Record.imm2 : Record.imm;
  }
  if (form.branch) return Record.base;
  const slots = memory ? [Record.a, Record.imm, Record.imm2] : [Record.a, Record.b, Record.base, Record.index];
  return slots[registers];
}

abstract class RecordEmitter extends Emitter {
  protected abstract record(): I32;

  protected slot(n: number): I32 {
    return this.f.i32.load(this.record(), operandSlot(this.form, n));
  }

  gpr(reg: number, size: number): I64 {
    return this.loadHost(this.cpu(), size, CPU.offset.gpr + 8 * reg);
  }
  setGpr(reg: number, size: number, value: Local<I64>): void {
    this.storeHost(() => this.cpu(), size === 4 ? 8 : size, value, CPU.offset.gpr + 8 * reg);
  }
  gprHigh(reg: number): I64 {
    return this.f.i64.load8_u(this.cpu(), CPU.offset.gpr + 8 * reg + 1);
  }
  setGprHigh(reg: number, value: Local<I64>): void {
    this.f.i64.store8(this.cpu(), this.f.get(value), CPU.offset.gpr + 8 * reg + 1);
  }

  protected readRegister(n: number, size: number): I64 {
    return this.loadHost(this.slot(n), size);
  }
  protected writeRegister(n: number, size: number, value: Local<I64>): void {
    // A 32-bit result clears the upper half; the value is zero-extended already, so one 64-bit store does both.
    this.storeHost(() => this.slot(n), size === 4 ? 8 : size, value);
  }
  protected readImmediate(n: number): I64 {
    const slot = operandSlot(this.form, n);
    if (slot === Record.imm2) return this.f.i64.load32_s(this.record(), slot);
    return this.f.i64.load(this.record(), slot);
  }
  protected readVectorRegister(n: number): V128 {
    return this.f.v128.load(this.slot(n));
  }
  protected writeVectorRegister(n: number, value: Local<V128>): void {
    this.f.v128.store(this.slot(n), this.f.get(value));
  }
  registerAddress(n: number): I32 {
    return this.slot(n);
  }
  stackIndex(n: number): I32 {
    return this.slot(n);
  }

  effectiveAddress(displacement?: Local<I64>): I64 {
    const { f } = this;
    const { i64, i32 } = f;
    const base = i64.load(i32.load(this.record(), Record.base));
    const disp = i64.load32_s(this.record(), Record.disp);
    let partial = i64.add(base, disp);
    if (displacement) partial = i64.add(partial, f.get(displacement));
    if (this.form.address === AddressMode.Base) return partial;
    const index = i64.load(i32.load(this.record(), Record.index));
    const sum = i64.add(partial, i64.shl(index, i64.load8_u(this.record(), Record.scale)));
    const shift = i64.load8_u(this.record(), Record.shift);
    return i64.shr_u(i64.shl(sum, shift), i64.load8_u(this.record(), Record.shift));
  }

  vectorIndex(): I32 {
    return this.f.i32.load(this.record(), Record.imm2);
  }
  vectorScale(): I32 {
    return this.f.i32.load8_u(this.record(), Record.vectorScale);
  }

  baseIsStackPointer(): I32 {
    const { i32 } = this.f;
    return i32.eq(i32.load(this.record(), Record.base), i32.add(this.cpu(), i32.const(CPU.offset.gpr + 8 * Reg.RSP)));
  }

  address(size: number, write: boolean, displacement?: Local<I64>): Local<I64> {
    const { f } = this;
    const { i64, i32 } = f;
    switch (this.form.address) {
      case AddressMode.Base:
      case AddressMode.Indexed:
        return this.let(this.effectiveAddress(displacement));
      case AddressMode.Absolute:
        return this.let(i64.add(i64.load(this.record(), Record.imm), i64.load(i32.load(this.record(), Record.index))));
      default: {
        const access = size | (write ? 0x100 : 0);
        const offset = displacement ? f.get(displacement) : i64.const(0);
        const linear = this.let(f.call(this.helpers.segmentAddress, offset, this.record(), i32.const(access)));
        f.if(this.load32('faulted'), () => this.fault());
        return linear;
      }
    }
  }

  stringAddress(offset: Local<I64>, size: number, write: boolean): Local<I64> {
    const { f } = this;
    if (this.form.address === AddressMode.Base) return offset;
    if (this.form.address === AddressMode.Indexed) {
      const linear = f.i64.add(f.get(offset), f.i64.load(f.i32.load(this.record(), Record.index)));
      return this.let(this.form.addrSize === 8 ? linear : this.truncate(linear, this.form.mode === 64 ? 8 : 4));
    }
    const access = size | (write ? 0x100 : 0);
    const segment = (): I32 => f.i32.load8_u(this.record(), Record.segment);
    const linear = this.let(f.call(this.helpers.segmentOffset, f.get(offset), f.i32.const(access), segment()));
    f.if(this.load32('faulted'), () => this.fault());
    return linear;
  }

  /** The record of an indirect jump or call keeps where it led last, as a distance from its page: the compiled tier follows it there. */
  protected noteTarget(rip: Local<I64>): void {
    const { f } = this;
    if (this.form.sem !== 'jmp_ind' && this.form.sem !== 'call_ind') return;
    f.i32.store(this.record(), f.i32.wrap_i64(f.i64.sub(f.get(rip), this.load64('pageRip'))), Record.imm);
  }

  thisRip(): I64 {
    const { i64 } = this.f;
    const place = i64.load16_u(this.record(), Record.place);
    return this.cutRip(i64.add(i64.and(place, i64.const(0xfff)), this.load64('pageRip')));
  }
  repeat(): void {
    this.jumpTo(this.let(this.thisRip()));
  }
  nextRip(): I64 {
    const { i64 } = this.f;
    const place = i64.load16_u(this.record(), Record.place);
    const end = i64.add(i64.and(place, i64.const(0xfff)), i64.shr_u(i64.load16_u(this.record(), Record.place), i64.const(12)));
    return this.cutRip(i64.add(end, this.load64('pageRip')));
  }
  protected cutRip(rip: I64): I64 {
    return this.form.mode === 64 ? rip : this.truncate(rip, 4);
  }
}

/** Locals of the interpreter function that all cases share. */
export type InterpreterLocals = {
  readonly cpu: Local<I32>;
  readonly record: Local<I32>;
  readonly result: Local<I64>;
  readonly carry: Local<I64>;
  /** RIP that `enter` continues at. */
  readonly target: Local<I64>;
};

export type InterpreterLabels = {
  /** Dispatches `record`. */
  readonly dispatch: Label;
  /** Goes on at `record`, the first of a block: a header, or what stands for one. */
  readonly jump: Label;
  /** Looks up `target` and dispatches it. */
  readonly enter: Label;
  /** Leaves after a fault; `record` is the faulting instruction's. */
  readonly fault: Label;
};

/** A case of the interpreter function: flags in locals, control transfer by branching to the dispatch loop. */
export class InlineEmitter extends RecordEmitter {
  readonly #locals: InterpreterLocals;
  readonly #labels: InterpreterLabels;
  readonly flags: FlagLocals;
  /** The case has ended in a jump; nothing follows. */
  ended = false;

  constructor(
    f: ConstructorParameters<typeof Emitter>[0],
    helpers: Emitter['helpers'],
    locals: InterpreterLocals,
    labels: InterpreterLabels,
  ) {
    super(f, helpers);
    this.#locals = locals;
    this.#labels = labels;
    this.flags = {
      result: () => f.get(locals.result),
      carry: () => f.get(locals.carry),
      aux: () => this.load64('flagAux'),
    };
  }

  override begin(form: Form): void {
    super.begin(form);
    this.ended = false;
  }

  cpu(): I32 {
    return this.f.get(this.#locals.cpu);
  }
  protected record(): I32 {
    return this.f.get(this.#locals.record);
  }

  setFlags(values: { result: () => I64; carry: () => I64; aux: () => I64 }): void {
    const carry = this.let(values.carry());
    this.store64('flagAux', values.aux);
    this.f.set(this.#locals.result, values.result());
    this.f.set(this.#locals.carry, this.f.get(carry));
  }

  fault(): void {
    this.f.br(this.#labels.fault);
  }
  system(): void {
    throw new Error(`${this.form.key}: system instructions are functions, not cases`);
  }

  /** Goes on with the next record. */
  next(): void {
    const { f } = this;
    f.set(this.#locals.record, f.i32.add(f.get(this.#locals.record), f.i32.const(Record.size)));
    f.br(this.#labels.dispatch);
    this.ended = true;
  }

  #goto(record: () => I32): void {
    this.f.set(this.#locals.record, record());
    this.f.br(this.#labels.jump);
    this.ended = true;
  }
  jumpDirect(): void {
    this.#goto(() => this.f.i32.load(this.record(), Record.imm));
  }
  jumpIf(holds: () => I32): void {
    const { f } = this;
    this.#goto(() => f.select(f.i32.load(this.record(), Record.imm), f.i32.load(this.record(), Record.imm2), holds()));
  }
  jumpTo(rip: Local<I64>): void {
    this.noteTarget(rip);
    this.f.set(this.#locals.target, this.f.get(rip));
    this.f.br(this.#labels.enter);
    this.ended = true;
  }
}

/**
 * What a function form, or a compiled region, returns. A form: `Next` the following record, `Fault` leave, `Record` continue at the record in
 * `CPU.exitRecord`. Both: `Jump` continue at `CPU.rip`. A region, with `CPU.rip` set and exactly what has retired off the budget: `Leave` the
 * budget is used up or an event waits, `Interpret` the instruction there is the interpreter's, which has to run it, `Moved` the region is not for
 * this place any more, `FaultAt` the instruction faulted.
 */
export const Status = { Next: 0, Fault: 1, Jump: 2, Record: 3, Leave: 4, Interpret: 5, Moved: 6, FaultAt: 7 } as const;

/** A form as a function `(record) → status`, flags in the state. */
export class FunctionEmitter extends RecordEmitter {
  readonly #cpu: () => I32;
  readonly #record: Local<I32>;
  readonly flags: FlagLocals;

  constructor(f: ConstructorParameters<typeof Emitter>[0], helpers: Emitter['helpers'], cpu: () => I32) {
    super(f, helpers);
    this.#cpu = cpu;
    this.#record = f.param(0, 'i32');
    this.flags = {
      result: () => this.load64('flagResult'),
      carry: () => this.load64('flagCarry'),
      aux: () => this.load64('flagAux'),
    };
  }

  cpu(): I32 {
    return this.#cpu();
  }
  protected record(): I32 {
    return this.f.get(this.#record);
  }

  setFlags(values: { result: () => I64; carry: () => I64; aux: () => I64 }): void {
    const carry = this.let(values.carry());
    const aux = this.let(values.aux());
    this.store64('flagResult', values.result);
    this.store64('flagCarry', () => this.f.get(carry));
    this.store64('flagAux', () => this.f.get(aux));
  }

  fault(): void {
    this.f.return(this.f.i32.const(Status.Fault));
  }
  /** The helper leaves `CPU.rip` alone or sets it and says so; RIP of this instruction is derived from the record when it asks. */
  system(id: number): void {
    const { f } = this;
    f.return(f.call(this.helpers.system, f.i32.const(id), this.record()));
  }

  #jumpThrough(field: () => I32): void {
    // The target record goes back in the state: a function cannot set the interpreter's local.
    this.store32('exitRecord', field);
    this.f.return(this.f.i32.const(Status.Record));
  }
  jumpDirect(): void {
    this.#jumpThrough(() => this.f.i32.load(this.record(), Record.imm));
  }
  jumpIf(holds: () => I32): void {
    const { f } = this;
    this.#jumpThrough(() => f.select(f.i32.load(this.record(), Record.imm), f.i32.load(this.record(), Record.imm2), holds()));
  }
  jumpTo(rip: Local<I64>): void {
    this.noteTarget(rip);
    this.store64('rip', () => this.f.get(rip));
    this.f.return(this.f.i32.const(Status.Jump));
  }
}

export const STACK_REGISTER = Reg.RSP;

/**
 * One 128-bit lane of a VEX instruction, as the SSE instruction of the same name sees it: its first operand is the first source, memory
 * is read where it lies, and what it writes is kept until every lane is done. Whatever else it asks for is the instruction's own context's.
 */
import type { I32, I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Form } from '../form.ts';
import { replaceElement } from '../numeric/vector-element.ts';
import { CPU } from '../state.ts';
import { Emitter } from './emitter.ts';
import type { FlagLocals } from './flags.ts';

/** From the low to the high half of a vector register. */
export const HIGH_HALF: number = CPU.offset.ymmHigh - CPU.offset.xmm;

export type LaneOperands = {
  /** For each operand of the SSE instruction the VEX operand that it reads. */
  readonly places: readonly number[];
  /** Whether lanes share the operand out; otherwise each sees all of it (a shift count). */
  readonly shared: readonly boolean[];
  /** Bytes of the vectors: 16 or 32. */
  readonly vector: number;
  readonly lane: 0 | 1;
  /** Where the memory operand lies. */
  readonly host: Local<I32> | undefined;
  /** How far the immediate is shifted right for each lane. */
  readonly immediateShift: number;
  /** Set when a lane has raised floating-point exceptions that the whole instruction has to look at. */
  readonly raised: Local<I32> | undefined;
};

export class LaneEmitter extends Emitter {
  readonly #e: Emitter;
  readonly #at: LaneOperands;
  #written: Local<V128> | undefined;
  #inState = false;

  constructor(e: Emitter, at: LaneOperands) {
    super(e.f, e.helpers);
    this.#e = e;
    this.#at = at;
    const sizes = at.places.map((_, n) => this.#bytes(n));
    this.form = { ...e.form, classes: at.places.map((place, n) => this.#classOf(e.form, place, sizes[n])), sizes };
    this.deferred = at.raised;
  }

  /** What the lane's destination gets, if the instruction wrote a vector. */
  result(): V128 | undefined {
    if (this.#written) return this.f.get(this.#written);
    return this.#inState ? this.#stored() : undefined;
  }

  #bytes(n: number): number {
    const { places, shared, vector } = this.#at;
    const size = this.#e.size(places[n]);
    return shared[n] ? (size * 16) / vector : size;
  }

  /** Whole vectors in memory look like registers: VEX instructions do not ask for alignment. */
  #classOf(form: Form, place: number, size: number): Form['classes'][number] {
    const cls = form.classes[place];
    return cls === 'y' || (cls === 'm' && size >= 16) ? 'x' : cls;
  }

  #isInMemory(n: number): boolean {
    return this.#e.form.classes[this.#at.places[n]] === 'm';
  }

  /** Address of an operand's share. */
  #address(n: number): readonly [base: I32, offset: number] {
    const { places, shared, lane, host } = this.#at;
    const offset = shared[n] ? lane * this.#bytes(n) : 0;
    if (this.#isInMemory(n)) {
      if (!host) throw new Error(`${this.#e.form.key}: no memory operand`);
      return [this.f.get(host), offset];
    }
    return [this.#e.registerAddress(places[n]), offset < 16 ? offset : offset - 16 + HIGH_HALF];
  }

  override tmp(): Local<I64> {
    return this.#e.tmp();
  }
  override tmp32(): Local<I32> {
    return this.#e.tmp32();
  }
  override tmpV(): Local<V128> {
    return this.#e.tmpV();
  }
  override tmpF64(): ReturnType<Emitter['tmpF64']> {
    return this.#e.tmpF64();
  }
  override tmpF32(): ReturnType<Emitter['tmpF32']> {
    return this.#e.tmpF32();
  }

  // --- operands ----------------------------------------------------------------------------------------------------------------

  override read(n: number, size: number = this.size(n)): I64 {
    const cls = this.#e.form.classes[this.#at.places[n]];
    if (cls === 'i') return this.#immediateOf(n, size);
    if (cls === 'r') return this.#e.read(this.#at.places[n], size);
    const [base, offset] = this.#address(n);
    return this.loadHost(base, size, offset);
  }
  #immediateOf(n: number, size: number): I64 {
    const { places, lane, immediateShift } = this.#at;
    const value = this.#e.read(places[n], size);
    return lane * immediateShift === 0 ? value : this.f.i64.shr_u(value, this.f.i64.const(lane * immediateShift));
  }
  override immediate(n: number): number | undefined {
    const { places, lane, immediateShift } = this.#at;
    const known = this.#e.immediate(places[n]);
    return known === undefined ? undefined : (known & 0xff) >> (lane * immediateShift);
  }
  override readV(n: number): V128 {
    if (n === 0 && this.#inState) return this.#stored();
    const [base, offset] = this.#address(n);
    return this.f.v128.load(base, offset);
  }
  override writeV(_n: number, value: Local<V128>): void {
    this.#written = value;
  }
  override writeLow(_n: number, size: 4 | 8, value: Local<I64>): void {
    this.#written = this.letV(replaceElement(this.f, this.readV(0), size, 0, this.f.get(value)));
  }
  override writeHigh(_n: number, value: Local<I64>): void {
    this.#written = this.letV(this.f.v128.replace('i64x2', this.readV(0), 1, this.f.get(value)));
  }
  override isMemory(n: number): boolean {
    return this.form.classes[n] === 'm';
  }

  #stored(): V128 {
    return this.f.v128.load(this.cpu(), CPU.offset.vector);
  }
  /** The first operand is a copy of the first source here, to be changed in place. */
  registerAddress(n: number): I32 {
    const { f } = this;
    if (n > 0) {
      const [base, offset] = this.#address(n);
      return offset === 0 ? base : f.i32.add(base, f.i32.const(offset));
    }
    if (!this.#inState) {
      const source = this.letV(this.readV(0));
      f.v128.store(this.cpu(), f.get(source), CPU.offset.vector);
      this.#inState = true;
    }
    return f.i32.add(this.cpu(), f.i32.const(CPU.offset.vector));
  }

  protected readRegister(n: number, size: number): I64 {
    return this.read(n, size);
  }
  protected readImmediate(n: number): I64 {
    return this.read(n, 1);
  }
  protected readVectorRegister(n: number): V128 {
    return this.readV(n);
  }
  protected writeVectorRegister(n: number, value: Local<V128>): void {
    this.writeV(n, value);
  }
  protected writeRegister(): void {
    throw this.#foreign('a general destination');
  }
  #foreign(what: string): Error {
    return new Error(`${this.#e.form.key}: ${what} is not a lane's`);
  }

  // --- the rest is the instruction's ---------------------------------------------------------------------------------------------

  cpu(): I32 {
    return this.#e.cpu();
  }
  gpr(reg: number, size: number): I64 {
    return this.#e.gpr(reg, size);
  }
  setGpr(reg: number, size: number, value: Local<I64>): void {
    this.#e.setGpr(reg, size, value);
  }
  gprHigh(reg: number): I64 {
    return this.#e.gprHigh(reg);
  }
  setGprHigh(reg: number, value: Local<I64>): void {
    this.#e.setGprHigh(reg, value);
  }
  stackIndex(): I32 {
    throw this.#foreign('ST(i)');
  }
  address(): Local<I64> {
    throw this.#foreign('an address');
  }
  effectiveAddress(): I64 {
    throw this.#foreign('an address');
  }
  stringAddress(): Local<I64> {
    throw this.#foreign('a string');
  }
  vectorIndex(): I32 {
    throw this.#foreign('an address');
  }
  vectorScale(): I32 {
    throw this.#foreign('an address');
  }
  baseIsStackPointer(): I32 {
    throw this.#foreign('the stack');
  }
  get flags(): FlagLocals {
    return this.#e.flags;
  }
  setFlags(values: { result: () => I64; carry: () => I64; aux: () => I64 }): void {
    this.#e.setFlags(values);
  }
  fault(): void {
    this.#e.fault();
  }
  system(): void {
    throw this.#foreign('a system instruction');
  }
  repeat(): void {
    throw this.#foreign('control');
  }
  thisRip(): I64 {
    return this.#e.thisRip();
  }
  nextRip(): I64 {
    return this.#e.nextRip();
  }
  jumpDirect(): void {
    throw this.#foreign('control');
  }
  jumpIf(): void {
    throw this.#foreign('control');
  }
  jumpTo(): void {
    throw this.#foreign('control');
  }
}

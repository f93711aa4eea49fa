/** Semantics on their own: every instruction a function over a processor state, operands known, memory flat. */
import type { FuncRef, FunctionBuilder, I32, I64, Local, V128 } from '@tsvisor/wasm-codegen';
import { ModuleBuilder } from '@tsvisor/wasm-codegen';
import { decode } from '../../src/decode/decoder.ts';
import { DecodeStatus, Insn, OperandKind } from '../../src/decode/instruction.ts';
import type { Helpers } from '../../src/emit/emitter.ts';
import { Emitter } from '../../src/emit/emitter.ts';
import type { FlagLocals } from '../../src/emit/flags.ts';
import { statusFlags } from '../../src/emit/flags.ts';
import { AddressMode, formOf, StackMode } from '../../src/form.ts';
import { addCryptoRoutines } from '../../src/numeric/crypto-routines.ts';
import { addFloatRoutines } from '../../src/numeric/float-routines.ts';
import { addStringRoutine } from '../../src/numeric/string-routines.ts';
import type { SemanticsTable } from '../../src/semantics/types.ts';
import { CPU } from '../../src/state.ts';
import { Rec } from './host.ts';

const BASE = 1024;
const MEMORY = 32768;
const RDI = 7;

/** Operands are constants of one decoded instruction; a fault returns 1. With `known` immediates are too, as in compiled code. */
class KnownEmitter extends Emitter {
  readonly insn: Insn;
  readonly known: boolean;
  readonly flags: FlagLocals;

  constructor(f: FunctionBuilder, helpers: Helpers, insn: Insn, known: boolean) {
    super(f, helpers);
    this.insn = insn;
    this.known = known;
    this.flags = {
      result: () => this.load64('flagResult'),
      carry: () => this.load64('flagCarry'),
      aux: () => this.load64('flagAux'),
    };
  }
  cpu(): I32 {
    return this.f.i32.const(BASE);
  }
  gpr(reg: number, size: number): I64 {
    return this.loadHost(this.cpu(), size, CPU.offset.gpr + 8 * reg);
  }
  setGpr(reg: number, size: number, value: Local<I64>): void {
    this.storeHost(() => this.cpu(), size === 4 ? 8 : size, value, CPU.offset.gpr + 8 * reg);
  }
  gprHigh(): I64 {
    throw new Error('no instruction here uses AH');
  }
  setGprHigh(): void {
    this.gprHigh();
  }
  override immediate(): number | undefined {
    return this.known ? this.insn.immLo : undefined;
  }
  protected readRegister(n: number, size: number): I64 {
    return this.gpr(this.insn.reg[n], size);
  }
  protected writeRegister(n: number, size: number, value: Local<I64>): void {
    this.setGpr(this.insn.reg[n], size, value);
  }
  protected readImmediate(): I64 {
    return this.f.i64.const(this.insn.immLo);
  }
  protected readVectorRegister(n: number): V128 {
    return this.f.v128.load(this.registerAddress(n));
  }
  protected writeVectorRegister(n: number, value: Local<V128>): void {
    this.f.v128.store(this.registerAddress(n), this.f.get(value));
  }
  registerAddress(n: number): I32 {
    const area = this.insn.kind[n] === OperandKind.Xmm ? CPU.offset.xmm : CPU.offset.fpr;
    return this.f.i32.const(BASE + area + 16 * this.insn.reg[n]);
  }
  stackIndex(n: number): I32 {
    return this.f.i32.const(this.insn.reg[n]);
  }
  effectiveAddress(): I64 {
    return this.f.i64.add(this.gpr(RDI, 8), this.f.i64.const(this.insn.disp));
  }
  address(_size: number, _write: boolean, displacement?: Local<I64>): Local<I64> {
    const address = this.effectiveAddress();
    return this.let(displacement ? this.f.i64.add(address, this.f.get(displacement)) : address);
  }
  override load(va: Local<I64>, size: number): I64 {
    return this.loadHost(this.f.i32.wrap_i64(this.f.get(va)), size);
  }
  override store(va: Local<I64>, size: number, value: Local<I64>): void {
    this.storeHost(() => this.f.i32.wrap_i64(this.f.get(va)), size, value);
  }
  override reference(va: Local<I64>): Local<I32> {
    return this.let32(this.f.i32.wrap_i64(this.f.get(va)));
  }
  override commit(): void {}
  setFlags(values: { result: () => I64; carry: () => I64; aux: () => I64 }): void {
    const [carry, aux] = [this.let(values.carry()), this.let(values.aux())];
    this.store64('flagResult', values.result);
    this.store64('flagCarry', () => this.f.get(carry));
    this.store64('flagAux', () => this.f.get(aux));
  }
  fault(): void {
    this.f.return(this.f.i32.const(1));
  }
  system(): void {
    throw new Error('no system instruction here');
  }
  nextRip(): I64 {
    throw new Error('no branch here');
  }
  thisRip(): I64 {
    return this.nextRip();
  }
  repeat(): void {
    this.nextRip();
  }
  vectorIndex(): I32 {
    throw new Error('no instruction here gathers');
  }
  vectorScale(): I32 {
    return this.vectorIndex();
  }
  baseIsStackPointer(): I32 {
    throw new Error('no segment here');
  }
  stringAddress(): Local<I64> {
    throw new Error('no string instruction here');
  }
  jumpDirect(): void {
    this.nextRip();
  }
  jumpIf(): void {
    this.nextRip();
  }
  jumpTo(): void {
    this.nextRip();
  }
}

export function decoded(code: Uint8Array): Insn {
  const insn = new Insn();
  if (decode(code, 0, code.length, 64, insn) !== DecodeStatus.Ok || insn.length !== code.length)
    throw new Error(`does not decode: ${Buffer.from(code).toString('hex')}`);
  return insn;
}

/** A machine that has the given instructions as functions 0, 1, … */
export class Machine {
  readonly cpu;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #functions: Record<string, () => number>;

  constructor(codes: readonly Uint8Array[], semantics: SemanticsTable, known = false) {
    const module = new ModuleBuilder();
    const cpu = module.importGlobal('env', 'cpu', 'i32');
    module.importMemory('env', 'memory', { min: 1, max: 1 });
    const routines = new Map<string, FuncRef<never, unknown>>([
      ...addFloatRoutines(module, cpu),
      ...addCryptoRoutines(module),
      ['string_compare', addStringRoutine(module)],
    ]);
    const raise = module.function('raise', ['i32', 'i32'], []);
    raise.i32.store(raise.i32.const(BASE), raise.get(raise.param(0, 'i32')), CPU.offset.faultVector);
    const helpers = { raise: raise.ref(), routines } as unknown as Helpers;
    codes.forEach((code, n) => {
      const f = module.function(`${n}`, [], ['i32']);
      const insn = decoded(code);
      const e = new KnownEmitter(f, helpers, insn, known);
      e.begin(formOf(insn, AddressMode.Base, StackMode.Long));
      const emit = semantics[insn.row.sem];
      if (!emit) throw new Error(`no semantics of ${insn.row.sem}`);
      emit(e);
      f.i32.const(0);
      module.exportFunction(`${n}`, f);
    });
    const flags = module.function('flags', [], ['i32']);
    const load = (field: 'flagResult' | 'flagCarry' | 'flagAux') => () =>
      flags.i64.load(flags.i32.const(BASE), CPU.offset[field]);
    statusFlags(flags, { result: load('flagResult'), carry: load('flagCarry'), aux: load('flagAux') });
    module.exportFunction('flags', flags);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
    const env = { memory, cpu: new WebAssembly.Global({ value: 'i32' }, BASE) };
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.build({ names: true })), { env });
    this.#functions = instance.exports as Record<string, () => number>;
    this.cpu = CPU.view(memory.buffer, BASE);
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
  }

  /** Runs function `n` on a record, as the host would; answers the vector raised, or -1. */
  run(n: number, record: Uint8Array): number {
    this.#load(record);
    const faulted = this.#functions[n]();
    this.#save(record, faulted !== 0);
    return faulted ? this.cpu.faultVector : -1;
  }

  #load(record: Uint8Array): void {
    const { cpu, view, bytes } = this;
    const from = new DataView(record.buffer, record.byteOffset, Rec.size);
    for (let reg = 0; reg < 4; reg++)
      view.setBigUint64(BASE + CPU.offset.gpr + 8 * reg, from.getBigUint64(Rec.gpr + 8 * reg, true), true);
    view.setBigUint64(BASE + CPU.offset.gpr + 8 * RDI, BigInt(MEMORY), true);
    cpu.fcw = from.getUint16(Rec.image, true);
    const fsw = from.getUint16(Rec.image + 2, true);
    cpu.fsw = fsw & ~0x3800;
    cpu.ftop = (fsw >> 11) & 7;
    cpu.fempty = record[Rec.image + 4] ^ 0xff;
    cpu.mxcsr = from.getUint32(Rec.image + 24, true);
    cpu.cr4 = 1n << 10n;
    for (let i = 0; i < 8; i++) {
      const at = BASE + CPU.offset.fpr + 16 * ((cpu.ftop + i) & 7);
      bytes.set(record.subarray(Rec.image + 32 + 16 * i, Rec.image + 42 + 16 * i), at);
      bytes.fill(0, at + 10, at + 16);
    }
    bytes.set(record.subarray(Rec.image + 160, Rec.image + 416), BASE + CPU.offset.xmm);
    bytes.set(record.subarray(Rec.memory, Rec.memory + Rec.memoryBytes), MEMORY);
    cpu.flagResult = 1n;
    cpu.flagCarry = 0n;
    cpu.flagAux = 1n;
  }

  #save(record: Uint8Array, faulted: boolean): void {
    const { cpu, view, bytes } = this;
    const to = new DataView(record.buffer, record.byteOffset, Rec.size);
    if (!faulted) {
      for (let reg = 0; reg < 4; reg++)
        to.setBigUint64(Rec.gpr + 8 * reg, view.getBigUint64(BASE + CPU.offset.gpr + 8 * reg, true), true);
      to.setBigUint64(Rec.rflags, BigInt(this.#functions.flags()), true);
    }
    to.setUint16(Rec.image, cpu.fcw, true);
    to.setUint16(Rec.image + 2, cpu.fsw | (cpu.ftop << 11), true);
    record[Rec.image + 4] = cpu.fempty ^ 0xff;
    to.setUint32(Rec.image + 24, cpu.mxcsr, true);
    for (let i = 0; i < 8; i++) {
      const at = BASE + CPU.offset.fpr + 16 * ((cpu.ftop + i) & 7);
      record.set(bytes.subarray(at, at + 10), Rec.image + 32 + 16 * i);
    }
    record.set(bytes.subarray(BASE + CPU.offset.xmm, BASE + CPU.offset.xmm + 256), Rec.image + 160);
    record.set(bytes.subarray(MEMORY, MEMORY + Rec.memoryBytes), Rec.memory);
  }
}

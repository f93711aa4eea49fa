import { checkMethods } from './checked.ts';
import type { ModuleBuilder } from './module.ts';
import { BULK, CONTROL, FENCE, PREFIX } from './opcodes.ts';
import { F32Ops, F64Ops, I32Ops, I64Ops, V128Ops } from './ops.ts';
import type { AnyValue, FuncType, I32, Local, TokenOf, ValTypeName } from './types.ts';
import { anyToken, ValType } from './types.ts';
import { Writer } from './writer.ts';

/** A branch target: the enclosing `block`, `if` or `loop` it was handed out by. */
export type Label = { readonly depth: number };

/** What can be called: an imported or a defined function. */
export type FuncRef<P extends readonly AnyValue[] = readonly AnyValue[], R = unknown> = {
  readonly index: number;
  readonly type: FuncType;
  /** Never set; carries the signature for the type checker. */
  readonly signature?: (...args: P) => R;
};

export type GlobalRef<T extends AnyValue = AnyValue> = { readonly index: number; readonly type: ValTypeName; readonly token?: T };

const VOID = 0x40;

/** Where in a function an `if` or `br_if` is, and whether its condition mostly holds. */
export type BranchHint = { readonly at: number; readonly likely: boolean };

/** What a module needs of a function to hold it. Places in it are distances from the body's start, behind its size; valid after `encodeTo`. */
export type FunctionBody = {
  readonly index: number;
  readonly type: FuncType;
  readonly name: string;
  readonly size: number;
  readonly hints: readonly BranchHint[];
  /** Where indices of functions and globals are. */
  readonly references: readonly number[];
  readonly encodeTo: (out: Writer) => void;
};

/** Builds one function body. Expressions emit as they are evaluated (see types.ts). */
export class FunctionBuilder implements FunctionBody {
  readonly i32: I32Ops;
  readonly i64: I64Ops;
  readonly f32: F32Ops;
  readonly f64: F64Ops;
  readonly v128: V128Ops;
  readonly #indexOf: () => number;
  readonly type: FuncType;
  readonly module: ModuleBuilder;
  name: string;
  readonly #code = new Writer();
  readonly #locals: ValTypeName[] = [];
  #prologue = new Uint8Array(0);
  /** Of the code, and of the prologue. */
  #hints: BranchHint[] = [];
  #prologueHints: BranchHint[] = [];
  #hint: boolean | undefined;
  /** Of the code, and of the prologue. */
  #references: number[] = [];
  #prologueReferences: number[] = [];
  #encodedHints: readonly BranchHint[] = [];
  #encodedReferences: readonly number[] = [];
  #depth = 0;
  #encodedAt = 0;

  constructor(module: ModuleBuilder, indexOf: () => number, type: FuncType, name: string) {
    this.module = module;
    this.#indexOf = indexOf;
    this.type = type;
    this.name = name;
    this.i32 = new I32Ops(this.#code);
    this.i64 = new I64Ops(this.#code);
    this.f32 = new F32Ops(this.#code);
    this.f64 = new F64Ops(this.#code);
    this.v128 = new V128Ops(this.#code);
    if (module.checked) {
      const stack: never[] = [];
      for (const part of [this.i32, this.i64, this.f32, this.f64, this.v128, this]) checkMethods(part, stack, () => this.name);
    }
  }

  /** Index in the module. Once it is known nothing can be imported any more. */
  get index(): number {
    return this.#indexOf();
  }

  /** Bytes of code emitted so far. */
  get size(): number {
    return this.#code.length;
  }

  /** Blocks that are open. */
  get depth(): number {
    return this.#depth;
  }

  /** Hints by their distance from the start of the body that `encodeTo` made. */
  get hints(): readonly BranchHint[] {
    return this.#encodedHints;
  }

  get references(): readonly number[] {
    return this.#encodedReferences;
  }

  /** Where `encodeTo` put the first byte of code, behind the prologue. */
  get encodedAt(): number {
    return this.#encodedAt;
  }

  param<N extends ValTypeName>(position: number, type: N): Local<TokenOf<N>> {
    if (this.type.params[position] !== type) throw new TypeError(`${this.name}: parameter ${position} is not ${type}`);
    return { index: position, type };
  }

  local<N extends ValTypeName>(type: N): Local<TokenOf<N>> {
    this.#locals.push(type);
    return { index: this.type.params.length + this.#locals.length - 1, type };
  }

  get<T extends AnyValue>(local: Local<T>): T {
    this.#code.u8(CONTROL['local.get']);
    this.#code.u32(local.index);
    return anyToken;
  }

  set<T extends AnyValue>(local: Local<T>, _value: NoInfer<T>): void {
    this.#code.u8(CONTROL['local.set']);
    this.#code.u32(local.index);
  }

  tee<T extends AnyValue>(local: Local<T>, _value: NoInfer<T>): T {
    this.#code.u8(CONTROL['local.tee']);
    this.#code.u32(local.index);
    return anyToken;
  }

  /** The index of a function or global, which another module may give another. */
  #reference(index: number): void {
    this.#references.push(this.#code.length);
    this.#code.u32(index);
  }

  globalGet<T extends AnyValue>(global: GlobalRef<T>): T {
    this.#code.u8(CONTROL['global.get']);
    this.#reference(global.index);
    return anyToken;
  }

  globalSet<T extends AnyValue>(global: GlobalRef<T>, _value: NoInfer<T>): void {
    this.#code.u8(CONTROL['global.set']);
    this.#reference(global.index);
  }

  drop(_value: AnyValue): void {
    this.#code.u8(CONTROL.drop);
  }

  /** `whenTrue` if `condition` is non-zero, else `whenFalse`; both are evaluated. */
  select<T extends AnyValue>(_whenTrue: T, _whenFalse: T, _condition: I32): T {
    this.#code.u8(CONTROL.select);
    return anyToken;
  }

  unreachable(): void {
    this.#code.u8(CONTROL.unreachable);
  }

  return(..._values: readonly AnyValue[]): void {
    this.#code.u8(CONTROL.return);
  }

  /**
   * The condition of the `if` or `br_if` that follows at once, which seldom holds: what depends on it is kept out of the way of the rest. A
   * hint for engines that know the branch hinting proposal; others ignore it.
   */
  unlikely(_condition: I32): I32 {
    this.#hint = false;
    return anyToken;
  }

  /** As `unlikely`, for a condition that nearly always holds. */
  likely(_condition: I32): I32 {
    this.#hint = true;
    return anyToken;
  }

  #branchHere(): void {
    if (this.#hint === undefined) return;
    this.#hints.push({ at: this.#code.length, likely: this.#hint });
    this.#hint = undefined;
  }

  // --- structured control flow -----------------------------------------------------------------------------------------------

  #open(opcode: number, type: number): Label {
    this.#code.u8(opcode);
    this.#code.u8(type);
    this.#depth++;
    return { depth: this.#depth };
  }

  #close(): void {
    this.#code.u8(CONTROL.end);
    this.#depth--;
  }

  /** A block; branching to its label leaves it. */
  block(body: (label: Label) => void): void {
    body(this.#open(CONTROL.block, VOID));
    this.#close();
  }

  /** A block that leaves a value. */
  blockOf<N extends ValTypeName>(type: N, body: (label: Label) => TokenOf<N>): TokenOf<N> {
    body(this.#open(CONTROL.block, ValType[type]));
    this.#close();
    return anyToken;
  }

  /** A loop; branching to its label repeats it. */
  loop(body: (label: Label) => void): void {
    body(this.#open(CONTROL.loop, VOID));
    this.#close();
  }

  if(_condition: I32, then: (label: Label) => void, otherwise?: (label: Label) => void): void {
    this.#branchHere();
    const label = this.#open(CONTROL.if, VOID);
    then(label);
    if (otherwise) {
      this.#code.u8(CONTROL.else);
      otherwise(label);
    }
    this.#close();
  }

  /** An `if` that leaves a value. */
  ifOf<N extends ValTypeName>(type: N, _condition: I32, then: () => TokenOf<N>, otherwise: () => TokenOf<N>): TokenOf<N> {
    this.#branchHere();
    this.#open(CONTROL.if, ValType[type]);
    then();
    this.#code.u8(CONTROL.else);
    otherwise();
    this.#close();
    return anyToken;
  }

  /** Opens a block without a callback, for code generators whose nesting follows data; pair with `closeBlock`. */
  openBlock(): Label {
    return this.#open(CONTROL.block, VOID);
  }

  openLoop(): Label {
    return this.#open(CONTROL.loop, VOID);
  }

  closeBlock(): void {
    this.#close();
  }

  #relative(label: Label): number {
    const relative = this.#depth - label.depth;
    if (relative < 0) throw new RangeError(`${this.name}: branch to a label that is not open here`);
    return relative;
  }

  br(label: Label): void {
    this.#code.u8(CONTROL.br);
    this.#code.u32(this.#relative(label));
  }

  brIf(label: Label, _condition: I32): void {
    this.#branchHere();
    this.#code.u8(CONTROL.br_if);
    this.#code.u32(this.#relative(label));
  }

  brTable(labels: readonly Label[], fallback: Label, _index: I32): void {
    this.#code.u8(CONTROL.br_table);
    this.#code.u32(labels.length);
    for (const label of labels) this.#code.u32(this.#relative(label));
    this.#code.u32(this.#relative(fallback));
  }

  // --- calls -----------------------------------------------------------------------------------------------------------------

  call<P extends readonly AnyValue[], R>(target: FuncRef<P, R>, ..._args: P): R {
    this.#code.u8(CONTROL.call);
    this.#reference(target.index);
    return (target.type.results.length > 0 ? anyToken : undefined) as R;
  }

  /** Calls a function with several results, which go to locals of their types. */
  callInto<P extends readonly AnyValue[]>(locals: readonly Local[], target: FuncRef<P>, ..._args: P): void {
    const { results } = target.type;
    if (results.length !== locals.length || results.some((type, n) => type !== locals[n].type))
      throw new TypeError(
        `${this.name}: a call with results ${results.join()} into locals ${locals.map(({ type }) => type).join()}`,
      );
    this.#code.u8(CONTROL.call);
    this.#reference(target.index);
    // The last result is on top.
    for (const local of locals.toReversed()) {
      this.#code.u8(CONTROL['local.set']);
      this.#code.u32(local.index);
    }
  }

  /** Calls table 0's entry `index`; arguments are pushed before the index. */
  callIndirect<N extends ValTypeName>(
    type: { readonly params: readonly ValTypeName[]; readonly results: readonly [N] },
    _args: readonly AnyValue[],
    _index: I32,
  ): TokenOf<N> {
    this.#code.u8(CONTROL.call_indirect);
    this.#code.u32(this.module.typeIndex(type));
    this.#code.u32(0);
    return anyToken;
  }

  returnCall<P extends readonly AnyValue[]>(target: FuncRef<P>, ..._args: P): void {
    this.#code.u8(CONTROL.return_call);
    this.#reference(target.index);
  }

  returnCallIndirect(type: FuncType, _args: readonly AnyValue[], _index: I32): void {
    this.#code.u8(CONTROL.return_call_indirect);
    this.#code.u32(this.module.typeIndex(type));
    this.#code.u32(0);
  }

  // --- bulk memory and threads -------------------------------------------------------------------------------------------------

  memoryCopy(_to: I32, _from: I32, _bytes: I32): void {
    this.#code.u8(PREFIX.misc);
    this.#code.u32(BULK['memory.copy']);
    this.#code.u8(0);
    this.#code.u8(0);
  }

  memoryFill(_to: I32, _byte: I32, _bytes: I32): void {
    this.#code.u8(PREFIX.misc);
    this.#code.u32(BULK['memory.fill']);
    this.#code.u8(0);
  }

  atomicFence(): void {
    this.#code.u8(PREFIX.atomic);
    this.#code.u32(FENCE['atomic.fence']);
    this.#code.u8(0);
  }

  /** The function as a reference that `call` accepts, with its signature for the type checker. */
  ref<P extends readonly AnyValue[], R>(): FuncRef<P, R> {
    return { index: this.index, type: this.type };
  }

  /**
   * Emits code that runs before everything emitted so far: for generators that learn only at the end what a function must load at its
   * start. A later call goes before an earlier one.
   */
  prologue(emit: () => void): void {
    const code = this.#code;
    const { bytes, length } = code;
    const hints = this.#hints;
    const references = this.#references;
    code.bytes = new Uint8Array(256);
    code.length = 0;
    this.#hints = [];
    this.#references = [];
    emit();
    this.#prologueHints = [...this.#hints, ...shifted(this.#prologueHints, code.length)];
    this.#prologueReferences = [...this.#references, ...this.#prologueReferences.map((at) => at + code.length)];
    this.#hints = hints;
    this.#references = references;
    const added = new Uint8Array(code.length + this.#prologue.length);
    added.set(code.view());
    added.set(this.#prologue, code.length);
    this.#prologue = added;
    code.bytes = bytes;
    code.length = length;
  }

  /** Size-prefixed body for the code section: local declarations in runs of one type, the code, `end`. */
  encodeTo(out: Writer): void {
    if (this.#depth !== 0) throw new Error(`${this.name}: ${this.#depth} blocks left open`);
    const header = new Writer(32);
    const runs: [number, ValTypeName][] = [];
    for (const type of this.#locals) {
      const last = runs.at(-1);
      if (last?.[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    header.u32(runs.length);
    for (const [count, type] of runs) {
      header.u32(count);
      header.u8(ValType[type]);
    }
    const start = header.length + this.#prologue.length;
    this.#encodedHints = [...shifted(this.#prologueHints, header.length), ...shifted(this.#hints, start)];
    this.#encodedReferences = [
      ...this.#prologueReferences.map((at) => at + header.length),
      ...this.#references.map((at) => at + start),
    ];
    out.u32(start + this.#code.length + 1);
    out.raw(header.view());
    out.raw(this.#prologue);
    this.#encodedAt = out.length;
    out.raw(this.#code.view());
    out.u8(CONTROL.end);
  }
}

const shifted = (hints: readonly BranchHint[], by: number): BranchHint[] =>
  hints.map(({ at, likely }) => ({ at: at + by, likely }));

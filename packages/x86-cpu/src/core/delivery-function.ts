import type { FuncRef, FunctionBuilder, I32, I64, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { FLAT_LOW } from '../emit/privilege.ts';
import { CPU } from '../state.ts';
import { CoreState } from './core-state.ts';
import type { CoreImports } from './imports.ts';

/** Bits 47–40 of a gate: present, a system descriptor, type 14 or 15 (SDM vol. 3 figures 6-2 and 6-8); the lowest bit tells trap from interrupt. */
const GATE_MASK = 0x9e;
const GATE = 0x8e;

/** (linear address, write) → host address, or 0: see `Delivery.systemHost`. */
type SystemHost = FuncRef<[I64, I32], I32>;
/**
 * (vector, error code or -1, RIP to return to, bits to add to the RFLAGS pushed, 1 if an INT n: the gate must allow the CPL)
 * → 1, or 0 with nothing changed.
 */
export type Deliver = FuncRef<[I32, I32, I64, I32, I32], I32>;

/** A function of the core that is a `Deliver`: what 64-bit mode and 32-bit protected mode have in common. */
export class DeliveryFunction extends CoreState {
  readonly vector: Local<I32>;
  readonly error: Local<I32>;
  readonly rip: Local<I64>;
  readonly extra: Local<I32>;
  readonly software: Local<I32>;
  /** Where `findHost` found what it looked for. */
  readonly host: Local<I32>;
  readonly #systemHost: SystemHost;

  constructor(f: FunctionBuilder, io: CoreImports, systemHost: SystemHost) {
    super(f, io);
    this.vector = f.param(0, 'i32');
    this.error = f.param(1, 'i32');
    this.rip = f.param(2, 'i64');
    this.extra = f.param(3, 'i32');
    this.software = f.param(4, 'i32');
    this.host = f.local('i32');
    this.#systemHost = systemHost;
  }

  refuseIf(condition: I32): void {
    this.f.if(condition, () => this.f.return(this.f.i32.const(0)));
  }

  findHost(va: I64, write: 0 | 1): void {
    const { f } = this;
    f.set(this.host, f.call(this.#systemHost, va, f.i32.const(write)));
    this.refuseIf(f.i32.eqz(f.get(this.host)));
  }

  /** The vector's gate of so many bytes, at `host`; `place` is its offset in the IDT. `within` refuses one that does not lie as it must. */
  readGate(bytes: number, within: () => void = () => undefined): { place: Local<I32>; low: Local<I32>; high: Local<I32> } {
    const { f } = this;
    const { i32, i64 } = f;
    const place = this.let32(i32.mul(f.get(this.vector), i32.const(bytes)));
    this.refuseIf(i32.gt_u(i32.add(f.get(place), i32.const(bytes - 1)), this.load32('idtrLimit')));
    this.findHost(i64.add(this.load64(CPU.offset.idtrBase), i64.extend_i32_u(f.get(place))), 0);
    within();
    const low = this.let32(i32.load(f.get(this.host)));
    const high = this.let32(i32.load(f.get(this.host), 4));
    this.refuseIf(i32.ne(i32.and(i32.shr_u(f.get(high), i32.const(8)), i32.const(GATE_MASK)), i32.const(GATE)));
    this.refuseIf(this.gateForbids(high, this.software));
    return { place, low, high };
  }

  /** Refuses a selector unless it is one of the GDT whose descriptor is flat with the given upper half. */
  expectFlat(selector: Local<I32>, high: number): void {
    const { f } = this;
    const { i32, i64 } = f;
    this.refuseIf(i32.eqz(i32.and(f.get(selector), i32.const(0xfffc))));
    this.refuseIf(i32.and(f.get(selector), i32.const(4)));
    this.refuseIf(i32.gt_u(i32.or(f.get(selector), i32.const(7)), this.load32('gdtrLimit')));
    this.findHost(i64.add(this.load64(CPU.offset.gdtrBase), i64.extend_i32_u(i32.and(f.get(selector), i32.const(0xfff8)))), 0);
    this.refuseIf(i64.ne(i64.load(f.get(this.host)), i64.halves(FLAT_LOW, high)));
  }

  /** Finds so many bytes below `stack`, in one page: their lowest address. */
  findStack(stack: Local<I64>, bytes: () => I64): Local<I64> {
    const { f } = this;
    const { i64 } = f;
    const bottom = this.let(i64.sub(f.get(stack), bytes()));
    const lastPage = i64.shr_u(i64.sub(f.get(stack), i64.const(1)), i64.const(12));
    this.refuseIf(i64.ne(lastPage, i64.shr_u(f.get(bottom), i64.const(12))));
    this.findHost(f.get(bottom), 1);
    return bottom;
  }
}

export function addDeliveryFunction(
  module: ModuleBuilder,
  name: string,
  io: CoreImports,
  systemHost: SystemHost,
): DeliveryFunction {
  return new DeliveryFunction(module.function(name, ['i32', 'i32', 'i64', 'i32', 'i32'], ['i32']), io, systemHost);
}

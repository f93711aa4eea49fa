import type { FunctionBuilder, I32, I64, Local } from '@tsvisor/wasm-codegen';
import { statusFlags } from '../emit/flags.ts';
import type { StateAccess } from '../emit/privilege.ts';
import { CPU, Rflags } from '../state.ts';
import type { CoreImports } from './imports.ts';

/** Place of the privilege level in the upper half of a descriptor. */
const GATE_DPL_SHIFT = 13;

/** The processor state in a function of the core. */
export class CoreState implements StateAccess {
  readonly f: FunctionBuilder;
  readonly #io: CoreImports;
  constructor(f: FunctionBuilder, io: CoreImports) {
    this.f = f;
    this.#io = io;
  }
  readonly cpu = (): I32 => this.f.globalGet(this.#io.cpu);
  readonly load32: StateAccess['load32'] = (field) => this.f.i32.load(this.cpu(), CPU.offset[field]);
  readonly store32: StateAccess['store32'] = (field, value) => this.f.i32.store(this.cpu(), value(), CPU.offset[field]);
  readonly let32: StateAccess['let32'] = (value) => {
    const local = this.f.local('i32');
    this.f.set(local, value);
    return local;
  };
  let(value: I64): Local<I64> {
    const local = this.f.local('i64');
    this.f.set(local, value);
    return local;
  }
  load64(offset: number): I64 {
    return this.f.i64.load(this.cpu(), offset);
  }

  /** 1 under single stepping or in an interrupt shadow, which have mode keys of their own. */
  isOtherMode(key: Local<I32>): I32 {
    const { f } = this;
    return f.i32.and(f.i32.ne(f.get(key), this.load32('userKey')), f.i32.ne(f.get(key), this.load32('kernelKey')));
  }

  /** RFLAGS as an event pushes them, with `extra` bits. */
  flagsImage(extra: I32): I32 {
    const { i32 } = this.f;
    const kept = i32.or(i32.or(extra, this.load32('rflags')), i32.const(Rflags.FIXED));
    const flags = {
      result: () => this.load64(CPU.offset.flagResult),
      carry: () => this.load64(CPU.offset.flagCarry),
      aux: () => this.load64(CPU.offset.flagAux),
    };
    return i32.or(kept, statusFlags(this.f, flags));
  }

  /** 1 if an INT n at the present CPL, 0 or 3, may not use the gate with this upper half (SDM vol. 3 §6.12.1.1). */
  gateForbids(high: Local<I32>, software: Local<I32>): I32 {
    const { f } = this;
    const dpl = f.i32.and(f.i32.shr_u(f.get(high), f.i32.const(GATE_DPL_SHIFT)), f.i32.const(3));
    return f.i32.and(f.i32.lt_u(dpl, this.load32('cpl')), f.get(software));
  }

  /** What an event does last: RFLAGS by the gate with this upper half, RIP (SDM vol. 3 §6.12.1.3). */
  enterHandler(high: Local<I32>, target: Local<I64>): void {
    const { f } = this;
    const { i32 } = f;
    const cleared = Rflags.TF | Rflags.NT | Rflags.RF | Rflags.VM;
    const isTrap = (): I32 => i32.and(f.get(high), i32.const(0x100));
    const left = this.let32(f.select(i32.const(~cleared), i32.const(~(cleared | Rflags.IF)), isTrap()));
    this.store32('rflags', () => i32.and(this.load32('rflags'), f.get(left)));
    f.i64.store(this.cpu(), f.get(target), CPU.offset.rip);
    this.store32('faulted', () => i32.const(0));
    this.store32('interruptShadow', () => i32.const(0));
  }
}

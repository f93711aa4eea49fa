/**
 * Changes of mappings that operating systems make all the time: CR3 at a context switch, INVLPG at a page fault. Beside the TLB they
 * concern the jump cache, whose entries stand for the mapping of the page they lead to. An entry made at CPL 3 has another tag than one
 * made at CPL 0, so the two can be retired apart:
 *
 * - CR3 retires those of CPL 3, and those of CPL 0 only if such code ran in a page that is not global (`kernelLocal`);
 * - INVLPG retires all, but only if the page may be one that the jump cache leads to: `codeFilter` has a bit, by hash, for each page
 *   that an entry was made for.
 */
import type { FuncRef, FunctionBuilder, I32, I64, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { ModeKey } from '../records/mode-key.ts';
import { CODE_FILTER_BITS, CPU } from '../state.ts';
import type { CoreImports } from './imports.ts';

export const TLB_GLOBAL = 1;
export const TLB_LARGE = 2;
/** 2^32 divided by the golden ratio. */
const MULTIPLIER = 0x9e3779b1;
const PAGE_SHIFT = 12;
/** Large pages are told apart by GByte only: no matter which size, one INVLPG reaches no further. */
const LARGE_SHIFT = 30;
/** One step of a jump tag's generation. */
const GENERATION = 1 << 12;
/** CR3 values from here on are the general path's, which knows how wide physical addresses are. */
const ADDRESS_BITS = 36;
const CR4_PAE = 1 << 5;

/** What follows from a change of mappings. */
export const Mapping = {
  /** Nothing was done: the general path has to. */
  Unusual: 0,
  /** The code that runs is mapped as before. */
  Kept: 1,
  /** The next instruction must be looked up afresh. */
  Changed: 2,
} as const;

export type MappingFunctions = {
  /** (value) MOV to CR3 → `Mapping`. */
  readonly writeCr3: FuncRef<[I64], I32>;
  /** (linear address) INVLPG → `Mapping`. */
  readonly invalidatePage: FuncRef<[I64], I32>;
};

/** Byte of the filter for a page, and the bit in it. */
function filterPlace(f: FunctionBuilder, cpu: () => I32, hash: Local<I32>): { byte: () => I32; bit: () => I32 } {
  return {
    byte: () => f.i32.add(cpu(), f.i32.shr_u(f.get(hash), f.i32.const(3))),
    bit: () => f.i32.shl(f.i32.const(1), f.i32.and(f.get(hash), f.i32.const(7))),
  };
}

function filterHash(f: FunctionBuilder, va: Local<I64>, large: boolean): I32 {
  const page = f.i32.wrap_i64(f.i64.shr_u(f.get(va), f.i64.const(large ? LARGE_SHIFT : PAGE_SHIFT)));
  const product = f.i32.mul(large ? f.i32.xor(page, f.i32.const(-1)) : page, f.i32.const(MULTIPLIER));
  return f.i32.shr_u(product, f.i32.const(32 - CODE_FILTER_BITS));
}

/** For `resolve`: the jump cache is about to lead to `va`, which the fetch TLB's `entry` translates. */
export function noteCodePage(f: FunctionBuilder, cpu: () => I32, va: Local<I64>, entry: Local<I32>, key: Local<I32>): void {
  const flags = f.local('i32');
  const hash = f.local('i32');
  f.set(flags, f.i32.load(f.get(entry), 12));
  const isLarge = f.i32.and(f.get(flags), f.i32.const(TLB_LARGE));
  f.if(
    isLarge,
    () => f.set(hash, filterHash(f, va, true)),
    () => f.set(hash, filterHash(f, va, false)),
  );
  const { byte, bit } = filterPlace(f, cpu, hash);
  f.i32.store8(byte(), f.i32.or(f.i32.load8_u(byte(), CPU.offset.codeFilter), bit()), CPU.offset.codeFilter);
  const global = f.i32.and(f.get(flags), f.i32.const(TLB_GLOBAL));
  f.if(f.i32.eqz(f.i32.or(global, f.i32.and(f.get(key), f.i32.const(ModeKey.USER)))), () =>
    f.i32.store(cpu(), f.i32.const(1), CPU.offset.kernelLocal),
  );
}

export function addMappings(module: ModuleBuilder, io: CoreImports): MappingFunctions {
  return { writeCr3: addWriteCr3(module, io), invalidatePage: addInvalidatePage(module, io) };
}

type TagField = 'userTag' | 'kernelTag';

class Tags {
  readonly #f: FunctionBuilder;
  readonly #io: CoreImports;
  constructor(f: FunctionBuilder, io: CoreImports) {
    this.#f = f;
    this.#io = io;
  }
  cpu(): I32 {
    return this.#f.globalGet(this.#io.cpu);
  }
  get(field: TagField | 'modeKey' | 'kernelKey' | 'fastEvents' | 'fastFlat32' | 'kernelLocal'): I32 {
    return this.#f.i32.load(this.cpu(), CPU.offset[field]);
  }
  /** Returns unless this is 64-bit or flat 32-bit code at CPL 0 and both tags have a next generation. */
  expectUsual(): void {
    const f = this.#f;
    const kernel = f.i32.eq(this.get('modeKey'), this.get('kernelKey'));
    const last = (field: TagField): I32 => f.i32.ge_u(this.get(field), f.i32.const(-GENERATION));
    const wraps = (): I32 => f.i32.or(last('userTag'), last('kernelTag'));
    const fast = f.i32.and(kernel, f.i32.or(this.get('fastEvents'), this.get('fastFlat32')));
    f.if(f.i32.or(f.i32.eqz(fast), wraps()), () => f.return(f.i32.const(Mapping.Unusual)));
  }
  advance(field: TagField): void {
    const f = this.#f;
    f.i32.store(this.cpu(), f.i32.add(this.get(field), f.i32.const(GENERATION)), CPU.offset[field]);
  }
  /** The entries of CPL 0, whose code this is. */
  retireKernel(): void {
    const f = this.#f;
    this.advance('kernelTag');
    f.i32.store(this.cpu(), this.get('kernelTag'), CPU.offset.jumpTag);
    f.i32.store(this.cpu(), f.i32.const(0), CPU.offset.kernelLocal);
  }
}

/** SDM vol. 3 §4.10.4.1. With CR4.PCIDE more is flushed than has to be: bit 63 asks to keep what is not kept by PCID anyway. */
function addWriteCr3(module: ModuleBuilder, io: CoreImports): MappingFunctions['writeCr3'] {
  const f = module.function('writeCr3', ['i64'], ['i32']);
  const tags = new Tags(f, io);
  const value = f.local('i64');
  f.set(value, f.i64.and(f.get(f.param(0, 'i64')), f.i64.halves(-1, 0x7fff_ffff)));
  f.if(f.i64.ne(f.i64.shr_u(f.get(value), f.i64.const(ADDRESS_BITS)), f.i64.const(0)), () =>
    f.return(f.i32.const(Mapping.Unusual)),
  );
  tags.expectUsual();
  // Outside IA-32e mode PAE paging has four entries to load, which may be wrong (SDM vol. 3 §4.4.1).
  const pae = f.i32.and(f.i32.load(tags.cpu(), CPU.offset.cr4), f.i32.const(CR4_PAE));
  f.if(f.i32.and(f.i32.ne(pae, f.i32.const(0)), tags.get('fastFlat32')), () => f.return(f.i32.const(Mapping.Unusual)));
  f.i64.store(tags.cpu(), f.get(value), CPU.offset.cr3);
  f.i64.store(f.globalGet(io.mmu), f.get(value), io.mmuOffsets.cr3);
  f.call(io.flushNonGlobal);
  tags.advance('userTag');
  f.if(f.i32.eqz(tags.get('kernelLocal')), () => f.return(f.i32.const(Mapping.Kept)));
  tags.retireKernel();
  f.i32.const(Mapping.Changed);
  return f.ref();
}

function addInvalidatePage(module: ModuleBuilder, io: CoreImports): MappingFunctions['invalidatePage'] {
  const f = module.function('invalidatePage', ['i64'], ['i32']);
  const va = f.param(0, 'i64');
  const tags = new Tags(f, io);
  const hash = f.local('i32');
  tags.expectUsual();
  f.call(io.flushPage, f.get(va));
  const known = f.local('i32');
  for (const large of [false, true]) {
    f.set(hash, filterHash(f, va, large));
    const { byte, bit } = filterPlace(f, () => tags.cpu(), hash);
    f.set(known, f.i32.or(f.get(known), f.i32.and(f.i32.load8_u(byte(), CPU.offset.codeFilter), bit())));
  }
  f.if(f.i32.eqz(f.get(known)), () => f.return(f.i32.const(Mapping.Kept)));
  tags.advance('userTag');
  tags.retireKernel();
  const filter = f.i32.add(tags.cpu(), f.i32.const(CPU.offset.codeFilter));
  f.memoryFill(filter, f.i32.const(0), f.i32.const((1 << CODE_FILTER_BITS) / 8));
  f.i32.const(Mapping.Changed);
  return f.ref();
}

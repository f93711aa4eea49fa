import type { FuncRef, GlobalRef, I32, I64, ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { DoorbellLayout } from '../ports.ts';

export type { DoorbellLayout };

/** Addresses in linear memory that generated code needs, as immutable imported globals: one module then serves every vCPU. */
export type CoreGlobals = {
  readonly cpu: GlobalRef<I32>;
  /** The MMU's state. */
  readonly mmu: GlobalRef<I32>;
  readonly jumpCache: GlobalRef<I32>;
  readonly blockTable: GlobalRef<I32>;
  /** One i64 per host page: which of its 64-byte granules hold translated code. */
  readonly codeMap: GlobalRef<I32>;
  /** The table of doorbells, and this vCPU's words beside it. */
  readonly doorbells: GlobalRef<I32>;
  readonly doorbellReader: GlobalRef<I32>;
};

/** Where the MMU's state has what the engine reads; the same for every vCPU, so constants in the code. */
export type MmuOffsets = {
  readonly cr3: number;
  readonly faultError: number;
  readonly gpaLo: number;
  readonly gpaHi: number;
  readonly kind: number;
  readonly host: number;
};

/** What the core is built for. */
export type CoreLayouts = {
  readonly mmu: MmuOffsets;
  /** Undefined where there are no doorbells in memory. */
  readonly doorbells: DoorbellLayout | undefined;
};

export type CoreImports = CoreGlobals & {
  readonly mmuOffsets: MmuOffsets;
  readonly doorbellLayout: DoorbellLayout | undefined;
  readonly mmuFill: FuncRef<[I64, I32], I32>;
  readonly flushNonGlobal: FuncRef<[], void>;
  readonly flushPage: FuncRef<[I64], void>;
  /** Puts the time-stamp counter into `CPU.helper[0]`. */
  readonly readTsc: FuncRef<[], void>;
  readonly exclusiveEnter: FuncRef<[], void>;
  readonly exclusiveLeave: FuncRef<[], void>;
  readonly exclusiveWait: FuncRef<[], void>;
  readonly enterGuest: FuncRef<[], void>;
  /** (size) reads the device at the MMU's gpa into `CPU.helper[0]`. */
  readonly mmioRead: FuncRef<[I32], void>;
  /** (size) writes `CPU.helper[0]`. */
  readonly mmioWrite: FuncRef<[I32], void>;
  /** (host address, bytes): translated code there has changed. */
  readonly codeWrite: FuncRef<[I32, I32], void>;
  /** (linear address, bytes, write) tells of a data access, while `CPU.watch`. */
  readonly watch: FuncRef<[I64, I32, I32], void>;
  readonly system: FuncRef<[I32, I32], I32>;
  /** (header) a block has run often enough to be compiled. */
  readonly hot: FuncRef<[I32], void>;
  /** (record of a crossing header) 1 if the second page is mapped as it was translated; else leaves the fault or a resync recorded. */
  readonly verifyCrossing: FuncRef<[I32], I32>;
  /** (record) translates the target of a link record and patches it in; 0 leaves to the run loop. */
  readonly link: FuncRef<[I32], I32>;
  /** (host address) translates the block at `CPU.rip`; 0 leaves. */
  readonly translate: FuncRef<[I32], I32>;
};

export function importMemory(module: ModuleBuilder): void {
  module.importMemory('env', 'memory', { min: 1, max: 65536, shared: true });
}

export function importCore(module: ModuleBuilder, layouts: CoreLayouts): CoreImports {
  importMemory(module);
  return {
    mmuOffsets: layouts.mmu,
    doorbellLayout: layouts.doorbells,
    cpu: module.importGlobal('env', 'cpu', 'i32'),
    mmu: module.importGlobal('env', 'mmu', 'i32'),
    jumpCache: module.importGlobal('env', 'jumpCache', 'i32'),
    blockTable: module.importGlobal('env', 'blockTable', 'i32'),
    codeMap: module.importGlobal('env', 'codeMap', 'i32'),
    doorbells: module.importGlobal('env', 'doorbells', 'i32'),
    doorbellReader: module.importGlobal('env', 'doorbellReader', 'i32'),
    mmuFill: module.importFunction('mmu', 'fill', ['i64', 'i32'], ['i32']),
    flushNonGlobal: module.importFunction('mmu', 'flushNonGlobal', [], []),
    flushPage: module.importFunction('mmu', 'flushPage', ['i64'], []),
    readTsc: module.importFunction('env', 'readTsc', [], []),
    exclusiveEnter: module.importFunction('env', 'exclusiveEnter', [], []),
    exclusiveLeave: module.importFunction('env', 'exclusiveLeave', [], []),
    exclusiveWait: module.importFunction('env', 'exclusiveWait', [], []),
    enterGuest: module.importFunction('env', 'enterGuest', [], []),
    mmioRead: module.importFunction('env', 'mmioRead', ['i32'], []),
    mmioWrite: module.importFunction('env', 'mmioWrite', ['i32'], []),
    codeWrite: module.importFunction('env', 'codeWrite', ['i32', 'i32'], []),
    watch: module.importFunction('env', 'watch', ['i64', 'i32', 'i32'], []),
    system: module.importFunction('env', 'system', ['i32', 'i32'], ['i32']),
    hot: module.importFunction('env', 'hot', ['i32'], []),
    verifyCrossing: module.importFunction('env', 'verifyCrossing', ['i32'], ['i32']),
    translate: module.importFunction('env', 'translate', ['i32'], ['i32']),
    link: module.importFunction('env', 'link', ['i32'], ['i32']),
  };
}

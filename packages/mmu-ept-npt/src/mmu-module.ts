import type { FuncRef, I32, I64 } from '@tsvisor/wasm-codegen';
import { ModuleBuilder } from '@tsvisor/wasm-codegen';
import { defineCodePages } from './code-pages.ts';
import type { Env } from './env.ts';
import { defineFill } from './fill.ts';
import { defineFlushes } from './flush.ts';
import { defineEntryAccess } from './paging-entry.ts';
import { definePermissions } from './permissions.ts';
import { definePhysMap } from './phys-map.ts';
import { defineLargeHash, defineTlb } from './tlb.ts';
import { defineTwoLevelWalk } from './walk-2level.ts';
import { defineLongWalk } from './walk-long.ts';
import { defineLoadPdptes, definePaeWalk } from './walk-pae.ts';

/** Exports of the module, as other WebAssembly modules import them; the ones that end in `Halves` take (lo, hi) for an i64. */
export type MmuExports = {
  readonly fill: (va: bigint, access: number) => number;
  readonly probe: (va: bigint, access: number) => number;
  readonly flushAll: () => void;
  readonly flushNonGlobal: () => void;
  readonly flushPage: (va: bigint) => void;
  readonly protectCode: (hostAddress: number) => number;
  readonly unprotectCode: (hostAddress: number) => void;
  readonly dropWrites: (hostAddress: number) => void;
  readonly loadPdptes: () => number;
  readonly resetTlb: () => void;
  readonly fillHalves: (vaLo: number, vaHi: number, access: number) => number;
  readonly probeHalves: (vaLo: number, vaHi: number, access: number) => number;
  readonly flushPageHalves: (vaLo: number, vaHi: number) => void;
};

let compiled: WebAssembly.Module | undefined;

/** The module that every vCPU instantiates; built and compiled once per thread, or taken from another thread with `adoptMmuModule`. */
export const mmuModule = (): WebAssembly.Module => (compiled ??= new WebAssembly.Module(buildMmuModule()));

/** Uses a module that another thread compiled: V8 then shares its machine code. */
export function adoptMmuModule(module: WebAssembly.Module): void {
  compiled = module;
}

/** The bytes of the module. */
export function buildMmuModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  const env = declareEnv(module);
  const map = definePhysMap(env);
  const entries = defineEntryAccess(env, map);
  const parts = { env, entries, permissions: definePermissions(env) };
  const walks = { twoLevel: defineTwoLevelWalk(parts), pae: definePaeWalk(parts), long: defineLongWalk(parts) };
  const largeHash = defineLargeHash(env);
  const { fill, probe } = defineFill(env, map, walks, defineTlb(env, largeHash));
  const { flushAll, flushNonGlobal, flushPage, dropWrites, resetTlb } = defineFlushes(env, largeHash);
  const { protectCode, unprotectCode } = defineCodePages(env, map, dropWrites);

  const exported: Readonly<Record<keyof MmuExports, { readonly index: number }>> = {
    fill,
    probe,
    flushAll,
    flushNonGlobal,
    flushPage,
    protectCode,
    unprotectCode,
    dropWrites,
    resetTlb,
    loadPdptes: defineLoadPdptes(env, entries),
    fillHalves: defineHalves(env, 'fillHalves', fill),
    probeHalves: defineHalves(env, 'probeHalves', probe),
    flushPageHalves: defineFlushPageHalves(env, flushPage),
  };
  for (const [name, target] of Object.entries(exported)) module.exportFunction(name, target);
  return module.build({ names: true });
}

function declareEnv(module: ModuleBuilder): Env {
  module.importMemory('env', 'memory', { min: 1, max: 65536, shared: true });
  const state = module.importGlobal('env', 'state', 'i32');
  const tlb = module.importGlobal('env', 'tlb', 'i32');
  const physRoot = module.importGlobal('env', 'physRoot', 'i32');
  const slotTable = module.importGlobal('env', 'slotTable', 'i32');
  return {
    module,
    state,
    tlb,
    physRoot,
    slotTable,
    walkWrote: module.importFunction('env', 'walkWrote', ['i32', 'i32'], []),
    shootdown: module.importFunction('env', 'shootdown', ['i32'], []),
    gpa: module.global('i64'),
    entryFlags: module.global('i32'),
  };
}

/** TypeScript passes a linear address as two halves: a BigInt would be allocated per call. */
function defineHalves(env: Env, name: string, target: FuncRef<[I64, I32], I32>): FuncRef<[I32, I32, I32], I32> {
  const f = env.module.function(name, ['i32', 'i32', 'i32'], ['i32']);
  const lo = f.i64.extend_i32_u(f.get(f.param(0, 'i32')));
  const hi = f.i64.shl(f.i64.extend_i32_u(f.get(f.param(1, 'i32'))), f.i64.const(32));
  f.call(target, f.i64.or(lo, hi), f.get(f.param(2, 'i32')));
  return f.ref<[I32, I32, I32], I32>();
}

function defineFlushPageHalves(env: Env, flushPage: FuncRef<[I64], void>): FuncRef<[I32, I32], void> {
  const f = env.module.function('flushPageHalves', ['i32', 'i32'], []);
  const lo = f.i64.extend_i32_u(f.get(f.param(0, 'i32')));
  const hi = f.i64.shl(f.i64.extend_i32_u(f.get(f.param(1, 'i32'))), f.i64.const(32));
  f.call(flushPage, f.i64.or(lo, hi));
  return f.ref<[I32, I32], void>();
}

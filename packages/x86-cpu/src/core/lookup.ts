/** From an address to the record of its translation: jump cache, block table, then the translator. */
import type { FuncRef, I32, I64, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { tlbIndex } from '../emit/emitter.ts';
import { ModeKey } from '../records/mode-key.ts';
import { BLOCK_TABLE, CPU, JUMP_CACHE, Record, Seg } from '../state.ts';
import type { CoreImports } from './imports.ts';
import { noteCodePage } from './mappings.ts';
import type { MemoryHelpers } from './memory.ts';
import { Vector } from './memory.ts';

const FETCH = 2;
const PAGE = 4096;

/** Multiplier of the block table's hash; TypeScript inserts with the same (records/translator.ts). */
export const HASH_MULTIPLIER = 0x9e3779b1;
const TABLE_MASK = (BLOCK_TABLE.entries - 1) << 4;

/**
 * `resolve(rip) → record`, or 0 after a fault or a refusal, with `CPU.rip` set. Sets `CPU.pageRip` and enters the jump cache.
 */
export function addResolve(module: ModuleBuilder, io: CoreImports, memory: MemoryHelpers): FuncRef<[I64], I32> {
  const f = module.function('resolve', ['i64'], ['i32']);
  const rip = f.param(0, 'i64');
  const linear = f.local('i64');
  const entry = f.local('i32');
  const translation = f.local('i32');
  const host = f.local('i32');
  const record = f.local('i32');
  const key = f.local('i32');
  const cpu = (): I32 => f.globalGet(io.cpu);

  f.set(key, f.i32.load(cpu(), CPU.offset.modeKey));
  const is64 = f.i32.eq(f.i32.and(f.get(key), f.i32.const(ModeKey.SIZE)), f.i32.const(ModeKey.CODE64));
  const withBase = (): I64 => f.i64.add(f.get(rip), f.i64.load(cpu(), CPU.offset.segBase + 8 * Seg.CS));
  f.set(
    linear,
    f.ifOf(
      'i64',
      is64,
      () => f.get(rip),
      () => f.i64.and(withBase(), f.i64.const(0xffff_ffff)),
    ),
  );

  // Fetch TLB
  const index = tlbIndex(f, linear);
  f.set(translation, f.i32.add(index, f.i32.load(cpu(), CPU.offset.tlbFetch)));
  f.if(
    f.i64.le_u(f.i64.sub(f.get(linear), f.i64.load(f.get(translation))), f.i64.const(4095)),
    () => f.set(host, f.i32.add(f.i32.wrap_i64(f.get(linear)), f.i32.load(f.get(translation), 8))),
    () => {
      const access = (): I32 => f.i32.or(f.i32.const(FETCH), f.i32.load(cpu(), CPU.offset.mmuAccess));
      f.set(host, f.call(io.mmuFill, f.get(linear), access()));
      f.if(f.i32.eq(f.get(host), f.i32.const(-1)), () => {
        f.i64.store(cpu(), f.get(rip), CPU.offset.rip);
        f.i32.store(cpu(), f.i32.const(0), CPU.offset.exitRecord);
        f.i64.store(cpu(), f.get(linear), CPU.offset.cr2);
        f.call(memory.raise, f.i32.const(Vector.PF), f.i32.load(f.globalGet(io.mmu), io.mmuOffsets.faultError));
        f.return(f.i32.const(0));
      });
    },
  );

  // Block table
  f.set(
    entry,
    f.i32.and(
      f.i32.shr_u(
        f.i32.mul(f.i32.xor(f.get(host), f.i32.shl(f.get(key), f.i32.const(20))), f.i32.const(HASH_MULTIPLIER)),
        f.i32.const(6),
      ),
      f.i32.const(TABLE_MASK),
    ),
  );
  f.block((found) => {
    f.block((missing) =>
      f.loop((next) => {
        const slot = (): I32 => f.i32.add(f.globalGet(io.blockTable), f.get(entry));
        const held = f.local('i32');
        f.set(held, f.i32.load(slot()));
        f.brIf(missing, f.i32.eqz(f.get(held)));
        f.if(f.i32.and(f.i32.eq(f.get(held), f.get(host)), f.i32.eq(f.i32.load(slot(), 4), f.get(key))), () => {
          f.set(record, f.i32.load(slot(), 8));
          f.br(found);
        });
        f.set(entry, f.i32.and(f.i32.add(f.get(entry), f.i32.const(16)), f.i32.const(TABLE_MASK)));
        f.br(next);
      }),
    );
    f.i64.store(cpu(), f.get(rip), CPU.offset.rip);
    f.set(record, f.call(io.translate, f.get(host)));
    f.if(f.i32.eqz(f.get(record)), () => {
      f.i32.store(cpu(), f.i32.const(0), CPU.offset.exitRecord);
      f.return(f.i32.const(0));
    });
  });

  noteCodePage(f, cpu, linear, translation, key);
  const pageOffset = (): I64 => f.i64.and(f.get(linear), f.i64.const(4095));
  const page = f.local('i64');
  f.set(page, f.i64.sub(f.get(rip), pageOffset()));
  f.i64.store(cpu(), f.get(page), CPU.offset.pageRip);
  f.set(entry, f.i32.add(f.globalGet(io.jumpCache), jumpIndex(f, rip)));
  f.i64.store(f.get(entry), f.get(rip));
  f.i32.store(f.get(entry), f.get(record), 8);
  f.i32.store(f.get(entry), f.i32.load(cpu(), CPU.offset.jumpTag), 12);
  f.get(record);
  return f.ref();
}

/**
 * `checkCrossing(record) → 0 or 1`: whether the page after the current one is still the one that a crossing block was translated from.
 * The fetch TLB nearly always knows; `verifyCrossing` walks, and records the fault or the retranslation that 0 stands for.
 */
export function addCheckCrossing(module: ModuleBuilder, io: CoreImports): FuncRef<[I32], I32> {
  const f = module.function('checkCrossing', ['i32'], ['i32']);
  const record = f.param(0, 'i32');
  const next = f.local('i64');
  const entry = f.local('i32');
  const cpu = (): I32 => f.globalGet(io.cpu);
  const page = (): I64 => f.i64.add(f.i64.load(cpu(), CPU.offset.pageRip), f.i64.const(PAGE));
  const withBase = (): I64 => f.i64.add(page(), f.i64.load(cpu(), CPU.offset.segBase + 8 * Seg.CS));
  const size = (): I32 => f.i32.and(f.i32.load(cpu(), CPU.offset.modeKey), f.i32.const(ModeKey.SIZE));
  const is64 = (): I32 => f.i32.eq(size(), f.i32.const(ModeKey.CODE64));
  f.set(
    next,
    f.ifOf(
      'i64',
      is64(),
      () => page(),
      () => f.i64.and(withBase(), f.i64.const(0xffff_ffff)),
    ),
  );
  const index = tlbIndex(f, next);
  f.set(entry, f.i32.add(index, f.i32.load(cpu(), CPU.offset.tlbFetch)));
  const mapped = f.i64.eq(f.i64.load(f.get(entry)), f.get(next));
  const host = (): I32 => f.i32.add(f.i32.wrap_i64(f.get(next)), f.i32.load(f.get(entry), 8));
  const same = f.i32.eq(host(), f.i32.load(f.get(record), Record.a));
  f.if(f.i32.and(mapped, same), () => f.return(f.i32.const(1)));
  f.call(io.verifyCrossing, f.get(record));
  return f.ref();
}

/**
 * `checkPage(linear, host) → 0 or 1`: whether instructions at a page's linear address are fetched from that host address; no faults. If so, a
 * change of that mapping retires the jump cache, and thereby what has been checked here.
 */
export function addCheckPage(module: ModuleBuilder, io: CoreImports): FuncRef<[I64, I32], I32> {
  const f = module.function('checkPage', ['i64', 'i32'], ['i32']);
  const [linear, host] = [f.param(0, 'i64'), f.param(1, 'i32')];
  const entry = f.local('i32');
  const key = f.local('i32');
  const cpu = (): I32 => f.globalGet(io.cpu);
  const absent = (): I32 => f.i64.ne(f.i64.load(f.get(entry)), f.get(linear));
  const index = tlbIndex(f, linear);
  f.set(entry, f.i32.add(index, f.i32.load(cpu(), CPU.offset.tlbFetch)));
  f.if(absent(), () => {
    const access = (): I32 => f.i32.or(f.i32.const(FETCH), f.i32.load(cpu(), CPU.offset.mmuAccess));
    f.drop(f.call(io.mmuFill, f.get(linear), access()));
    f.if(absent(), () => f.return(f.i32.const(0)));
  });
  const found = f.i32.add(f.i32.wrap_i64(f.get(linear)), f.i32.load(f.get(entry), 8));
  f.if(f.i32.ne(found, f.get(host)), () => f.return(f.i32.const(0)));
  f.set(key, f.i32.load(cpu(), CPU.offset.modeKey));
  noteCodePage(f, cpu, linear, entry, key);
  f.i32.const(1);
  return f.ref();
}

type Builder = ReturnType<ModuleBuilder['function']>;

/** Byte index into the jump cache for a RIP. The cache is tagged with RIP, not the linear address: a change of CS base retires it. */
export function jumpIndex(f: Builder, rip: Local<I64>): I32 {
  const low = f.i32.wrap_i64(f.get(rip));
  const high = f.i32.wrap_i64(f.i64.shr_u(f.get(rip), f.i64.const(12)));
  return f.i32.shl(f.i32.and(f.i32.xor(low, high), f.i32.const(JUMP_CACHE.entries - 1)), f.i32.const(4));
}

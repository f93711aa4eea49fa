import type { FuncRef, FunctionBuilder, I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Env } from './env.ts';
import { countUp, loadState, loadState64, not, test32 } from './env.ts';
import type { PhysMapFunctions } from './phys-map.ts';
import { PAGE_BYTES, PhysPage } from './phys-map.ts';
import { Access, AccessKind, MMU } from './state.ts';
import type { TlbFunctions } from './tlb.ts';
import type { WalkFunction } from './walk.ts';

export type Walks = { readonly twoLevel: WalkFunction; readonly pae: WalkFunction; readonly long: WalkFunction };

export type FillFunctions = {
  /** (linear address, access) → host address; 0: permitted, not plain RAM; -1: page fault. */
  readonly fill: FuncRef<[I64, I32], I32>;
  /** The same answer without any effect on A and D bits or the TLB. */
  readonly probe: FuncRef<[I64, I32], I32>;
};

export function defineFill(env: Env, map: PhysMapFunctions, walks: Walks, tlb: TlbFunctions): FillFunctions {
  const translate = defineTranslate(env, walks);
  const resolve = defineResolve(env, map);
  const define = (name: string, commit: 0 | 1): FuncRef<[I64, I32], I32> => {
    const f = env.module.function(name, ['i64', 'i32'], ['i32']);
    const [va, access] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const host = f.local('i32');
    if (commit) countUp(env, f, 'misses');
    f.if(f.call(translate, f.get(va), f.get(access), f.i32.const(commit)), () => f.return(f.i32.const(-1)));
    f.set(host, f.call(resolve, f.get(access)));
    if (commit)
      f.if(
        f.get(host),
        () => f.call(tlb.enter, f.get(va), f.get(access), f.get(host)),
        () => f.if(isDevice(env, f, access), () => f.call(tlb.enterDevice, f.get(va), f.get(access))),
      );
    f.get(host);
    return f.ref<[I64, I32], I32>();
  };
  return { fill: define('fill', 1), probe: define('probe', 0) };
}

/** 1 for data accesses where there is no memory. What else is not plain RAM becomes so by other things than flushes. */
function isDevice(env: Env, f: FunctionBuilder, access: Local<I32>): I32 {
  const unbacked = f.i32.eq(loadState(env, f, 'kind'), f.i32.const(AccessKind.unbacked));
  return f.i32.and(unbacked, f.i32.eqz(test32(f, f.get(access), Access.fetch)));
}

/** Chooses the walk by paging mode. */
function defineTranslate(env: Env, walks: Walks): WalkFunction {
  const f = env.module.function('translate', ['i64', 'i32', 'i32'], ['i32']);
  const [va, access, commit] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i32')];
  const walk = (target: WalkFunction): void => f.return(f.call(target, f.get(va), f.get(access), f.get(commit)));
  countUp(env, f, 'walks');
  f.block((off) => {
    f.block((long) => {
      f.block((pae) => {
        f.block((twoLevel) => {
          f.brTable([off, twoLevel, pae, long, long], off, loadState(env, f, 'mode'));
        });
        walk(walks.twoLevel);
      });
      walk(walks.pae);
    });
    walk(walks.long);
  });
  // Paging off: linear addresses are physical (SDM vol. 3 §4.1.1).
  f.globalSet(env.gpa, f.i64.and(f.i64.and(f.get(va), f.i64.const(0xffff_ffff)), loadState64(env, f, 'a20Mask')));
  f.globalSet(env.entryFlags, f.i32.const(0));
  f.i32.const(0);
  return f.ref<[I64, I32, I32], I32>();
}

/** (access) → host address of `Env.gpa` if that is plain RAM for the access, else 0; reports gpa, host and kind. */
function defineResolve(env: Env, map: PhysMapFunctions): FuncRef<[I32], I32> {
  const f = env.module.function('resolve', ['i32'], ['i32']);
  const access = f.param(0, 'i32');
  const page = f.local('i32');
  const host = f.local('i32');
  f.i64.store(f.globalGet(env.state), f.globalGet(env.gpa), MMU.offset.gpaLo);
  f.set(page, f.call(map.physLookup, f.globalGet(env.gpa)));
  f.if(not(f, test32(f, f.get(page), PhysPage.PRESENT)), () => {
    f.i32.store(f.globalGet(env.state), f.i32.const(0), MMU.offset.host);
    answerKind(env, f, AccessKind.unbacked);
  });
  const offset = test32(f, f.i32.wrap_i64(f.globalGet(env.gpa)), PAGE_BYTES - 1);
  f.set(host, f.i32.add(test32(f, f.get(page), -PAGE_BYTES), offset));
  f.i32.store(f.globalGet(env.state), f.get(host), MMU.offset.host);
  f.if(test32(f, f.get(access), Access.write), () => {
    f.if(not(f, test32(f, f.get(page), PhysPage.WRITABLE)), () => answerKind(env, f, AccessKind.readOnly));
    // Before the code check: whoever then writes to a code page at `host` has it in the dirty log already.
    f.if(test32(f, f.get(page), PhysPage.DIRTY_LOG), () => answerKind(env, f, AccessKind.dirtyLog));
    f.if(test32(f, f.get(page), PhysPage.CODE), () => answerKind(env, f, AccessKind.code));
  });
  f.i32.store(f.globalGet(env.state), f.i32.const(AccessKind.ram), MMU.offset.kind);
  f.get(host);
  return f.ref<[I32], I32>();
}

function answerKind(env: Env, f: FunctionBuilder, kind: number): void {
  f.i32.store(f.globalGet(env.state), f.i32.const(kind), MMU.offset.kind);
  f.return(f.i32.const(0));
}

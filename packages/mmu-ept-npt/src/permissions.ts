import type { FuncRef, FunctionBuilder, I32, Local } from '@tsvisor/wasm-codegen';
import type { Env } from './env.ts';
import { loadState, not, test32 } from './env.ts';
import { Pte } from './paging-entry.ts';
import { Access, MMU, MmuFlag, PageFault, PagingMode } from './state.ts';

/** `rights` argument of `permit`: R/W and U/S where the entries have them, execute-disable in bit 0. */
export const RIGHT_XD = 1 << 0;

export type PermissionFunctions = {
  /** (rights common to all entries, protection key, access) → 0, or the error code's P and PK bits. */
  readonly permit: FuncRef<[I32, I32, I32], I32>;
  /** (P, RSVD and PK bits of the error code, access) → -1, with the whole error code in the state. */
  readonly fault: FuncRef<[I32, I32], I32>;
};

const isWrite = (f: FunctionBuilder, access: Local<I32>): I32 => test32(f, f.get(access), Access.write);
const isFetch = (f: FunctionBuilder, access: Local<I32>): I32 => test32(f, f.get(access), Access.fetch);
const isUser = (f: FunctionBuilder, access: Local<I32>): I32 => test32(f, f.get(access), Access.user);

export const definePermissions = (env: Env): PermissionFunctions => ({ permit: definePermit(env), fault: defineFault(env) });

/** SDM vol. 3 §4.6.1 (determination of access rights) and §4.6.2 (protection keys). */
function definePermit(env: Env): FuncRef<[I32, I32, I32], I32> {
  const f = env.module.function('permit', ['i32', 'i32', 'i32'], ['i32']);
  const [rights, key, access] = [f.param(0, 'i32'), f.param(1, 'i32'), f.param(2, 'i32')];
  const flags = f.local('i32');
  const denied = f.local('i32');
  const flag = (bit: number): I32 => test32(f, f.get(flags), bit);
  const userPage = (): I32 => test32(f, f.get(rights), Pte.US);
  const deny = (): void => f.set(denied, f.i32.const(PageFault.P));
  const denyReadOnlyWrite = (): void => f.if(isWrite(f, access), () => f.if(not(f, test32(f, f.get(rights), Pte.RW)), deny));

  f.set(flags, loadState(env, f, 'flags'));
  f.if(
    isUser(f, access),
    () => {
      f.if(not(f, userPage()), deny);
      denyReadOnlyWrite();
    },
    () => {
      f.if(flag(MmuFlag.WP), denyReadOnlyWrite);
      f.if(userPage(), () =>
        f.if(
          isFetch(f, access),
          () => f.if(flag(MmuFlag.SMEP), deny),
          () => f.if(flag(MmuFlag.SMAP), () => f.if(test32(f, f.get(access), Access.smap), deny)),
        ),
      );
    },
  );
  f.if(isFetch(f, access), () => f.if(test32(f, f.get(rights), RIGHT_XD), deny));
  f.if(flag(MmuFlag.PKE), () => denyByKey(env, f, { rights, key, access, flags, denied }));
  f.get(denied);
  return f.ref<[I32, I32, I32], I32>();
}

type KeyCheck = Readonly<Record<'rights' | 'key' | 'access' | 'flags' | 'denied', Local<I32>>>;

/** SDM vol. 3 §4.6.2: ADi denies data accesses; WDi denies writes from user mode, and from supervisor mode when CR0.WP = 1. */
function denyByKey(env: Env, f: FunctionBuilder, { rights, key, access, flags, denied }: KeyCheck): void {
  const pkruBits = f.local('i32');
  const deny = (): void => f.set(denied, f.i32.const(PageFault.P | PageFault.PK));
  f.block((done) => {
    f.brIf(done, f.i32.lt_u(loadState(env, f, 'mode'), f.i32.const(PagingMode.fourLevel)));
    f.brIf(done, not(f, test32(f, f.get(rights), Pte.US)));
    f.brIf(done, isFetch(f, access));
    f.set(pkruBits, f.i32.shr_u(loadState(env, f, 'pkru'), f.i32.shl(f.get(key), f.i32.const(1))));
    f.if(test32(f, f.get(pkruBits), 1), deny);
    f.brIf(done, not(f, test32(f, f.get(pkruBits), 2)));
    f.brIf(done, not(f, isWrite(f, access)));
    f.if(f.i32.or(isUser(f, access), test32(f, f.get(flags), MmuFlag.WP)), deny);
  });
}

/** SDM vol. 3 §4.7: the bits of the error code that describe the access, whatever the reason for the fault. */
function defineFault(env: Env): FuncRef<[I32, I32], I32> {
  const f = env.module.function('fault', ['i32', 'i32'], ['i32']);
  const [error, access] = [f.param(0, 'i32'), f.param(1, 'i32')];
  const add = (bit: number): void => f.set(error, f.i32.or(f.get(error), f.i32.const(bit)));
  const flag = (bit: number): I32 => test32(f, loadState(env, f, 'flags'), bit);
  f.if(isWrite(f, access), () => add(PageFault.WR));
  f.if(isUser(f, access), () => add(PageFault.US));
  f.if(isFetch(f, access), () => {
    f.if(flag(MmuFlag.SMEP), () => add(PageFault.ID));
    // CR4.PAE = 1 and IA32_EFER.NXE = 1; 32-bit paging has neither XD nor this bit.
    f.if(flag(MmuFlag.NXE), () =>
      f.if(f.i32.ge_u(loadState(env, f, 'mode'), f.i32.const(PagingMode.pae)), () => add(PageFault.ID)),
    );
  });
  f.i32.store(f.globalGet(env.state), f.get(error), MMU.offset.faultError);
  f.i32.const(-1);
  return f.ref<[I32, I32], I32>();
}

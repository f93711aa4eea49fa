/** Near control transfers (SDM vol. 1 §6.4, §7.3.8). Far ones are system operations. */
import type { I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { CPU, Reg, Seg } from '../state.ts';
import { peek, push, setStackPointer } from './stack.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const GENERAL_PROTECTION = 13;

/** A run-time branch target: cut to the operand size; a non-canonical one (64-bit mode) or one beyond CS faults on the branch itself. */
function target(e: Emitter, value: I64): Local<I64> {
  const { f } = e;
  const rip = e.let(e.truncate(value, e.form.opSize));
  if (e.form.mode === 64) {
    const extended = f.i64.shr_s(f.i64.shl(f.get(rip), f.i64.const(16)), f.i64.const(16));
    f.if(f.unlikely(f.i64.ne(extended, f.get(rip))), () =>
      f.if(f.i32.eqz(f.call(e.helpers.canonical, f.get(rip))), () => e.raise(GENERAL_PROTECTION, 0)),
    );
  } else {
    // SDM vol. 2, CALL, JMP, RET: beyond the code segment's limit is #GP on the branch.
    const limit = (): I64 => f.i64.load32_u(e.cpu(), CPU.offset.segLimit + 4 * Seg.CS);
    f.if(f.unlikely(f.i64.gt_u(f.get(rip), limit())), () => e.raise(GENERAL_PROTECTION, 0));
  }
  return rip;
}

const call: Semantics = (e) => {
  push(e, e.let(e.nextRip()), e.form.opSize);
  e.jumpDirect();
};

const callIndirect: Semantics = (e) => {
  const rip = target(e, e.read(0));
  push(e, e.let(e.nextRip()), e.form.opSize);
  e.jumpTo(rip);
};

const ret: Semantics = (e) => {
  const { f } = e;
  const { value, after } = peek(e, e.form.opSize);
  const rip = target(e, f.get(value));
  if (e.form.classes.length > 0) {
    const released = f.i64.add(f.get(after), e.read(0, 2));
    f.set(after, e.form.mode === 64 ? released : f.i64.and(released, e.load64('stackMask')));
  }
  setStackPointer(e, after);
  e.jumpTo(rip);
};

/** LOOP, LOOPE, LOOPNE: the count is rCX by address size; no flag changes. */
const loop =
  (zero: boolean | undefined): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.form.addrSize;
    const count = e.let(e.truncate(f.i64.sub(e.gpr(Reg.RCX, size), f.i64.const(1)), size));
    e.setGpr(Reg.RCX, size, count);
    e.jumpIf(() => {
      const more = f.i64.ne(f.get(count), f.i64.const(0));
      return zero === undefined ? more : f.i32.and(more, e.condition(zero ? 4 : 5));
    });
  };

export const branchSemantics: SemanticsTable = {
  jmp: (e) => e.jumpDirect(),
  jcc: (e) => e.jumpIf(() => e.condition(e.form.cond)),
  jcxz: (e) => e.jumpIf(() => e.f.i64.eqz(e.gpr(Reg.RCX, e.form.addrSize))),
  loop: loop(undefined),
  loope: loop(true),
  loopne: loop(false),
  call,
  call_ind: callIndirect,
  jmp_ind: (e) => e.jumpTo(target(e, e.read(0))),
  ret,
};

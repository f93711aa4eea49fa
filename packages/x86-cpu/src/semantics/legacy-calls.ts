/**
 * SYSENTER from flat 32-bit code of CPL 3, and SYSEXIT to it (SDM vol. 2B): what the vDSO of a 32-bit Linux uses. Neither reads a
 * descriptor; other modes are the helper's, with nothing changed before.
 */
import type { I32 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { CODE32, DATA, DPL3, loadFlat, switchPrivilege } from '../emit/privilege.ts';
import { Reg, Rflags, Seg } from '../state.ts';

type Slow = () => void;

/** Bits 15–2 of IA32_SYSENTER_CS. */
const codeSelector = (e: Emitter): I32 => e.f.i32.and(e.f.i32.wrap_i64(e.load64('sysenterCs')), e.f.i32.const(0xfffc));

/** Goes the slow way unless the mode is the expected one and IA32_SYSENTER_CS is not null. */
function expectUsual(e: Emitter, key: 'userKey' | 'kernelKey', slow: Slow): void {
  const { f } = e;
  const expected = f.i32.and(f.i32.eq(e.load32('modeKey'), e.load32(key)), e.load32('fastFlat32'));
  const usual = f.i32.and(expected, f.i32.ne(codeSelector(e), f.i32.const(0)));
  f.if(f.i32.eqz(usual), slow);
}

export function enterSystem(e: Emitter, slow: Slow): void {
  const { f } = e;
  expectUsual(e, 'userKey', slow);
  e.store32('rflags', () => f.i32.and(e.load32('rflags'), f.i32.const(~(Rflags.VM | Rflags.IF))));
  loadFlat(e, Seg.CS, codeSelector(e), CODE32);
  loadFlat(e, Seg.SS, f.i32.add(codeSelector(e), f.i32.const(8)), DATA);
  switchPrivilege(e, false);
  e.setGpr(Reg.RSP, 4, e.let(e.truncate(e.load64('sysenterEsp'), 4)));
  e.leaveTo(e.let(e.truncate(e.load64('sysenterEip'), 4)));
}

export function leaveSystem(e: Emitter, slow: Slow): void {
  const { f } = e;
  expectUsual(e, 'kernelKey', slow);
  loadFlat(e, Seg.CS, f.i32.or(f.i32.add(codeSelector(e), f.i32.const(16)), f.i32.const(3)), CODE32 | DPL3);
  loadFlat(e, Seg.SS, f.i32.or(f.i32.add(codeSelector(e), f.i32.const(24)), f.i32.const(3)), DATA | DPL3);
  switchPrivilege(e, true);
  e.setGpr(Reg.RSP, 4, e.let(e.gpr(Reg.RCX, 4)));
  e.leaveTo(e.let(e.gpr(Reg.RDX, 4)));
}

/**
 * IRETD from flat 32-bit code at CPL 0, to flat 32-bit code of CPL 0 or 3 (SDM vol. 2A, IRET), as interrupt-return.ts has it for 64-bit
 * mode: the frame lies in one page, the descriptors are the usual ones, or nothing has changed and the helper does it.
 */
import type { I32, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { CODE32, CODE32_HIGH, DATA, DATA_HIGH, DPL3, DPL3_HIGH, loadFlat, switchPrivilege } from '../emit/privilege.ts';
import { Reg, Rflags, Seg } from '../state.ts';
import { expectDescriptor, expectInPage, expectOuterSegments, finish } from './interrupt-return.ts';

/** EIP, CS, EFLAGS, and for CPL 3 ESP and SS. */
const FRAME_BYTES = 12;
const OUTER_FRAME_BYTES = 20;

/** Emits the usual case, which ends in a jump; falls through where it is not that. */
export function returnInProtectedMode(e: Emitter): void {
  const { f } = e;
  const { i32, i64 } = f;
  const rpl = (selector: Local<I32>): I32 => i32.and(f.get(selector), i32.const(3));
  f.block((unusual) => {
    const usual = i32.and(i32.eq(e.load32('modeKey'), e.load32('kernelKey')), e.load32('fastFlat32'));
    f.brIf(unusual, i32.eqz(usual));
    // A nested task (SDM vol. 3 §7.4).
    f.brIf(unusual, i32.and(e.load32('rflags'), i32.const(Rflags.NT)));
    const at = e.let(e.gpr(Reg.RSP, 8));
    expectInPage(e, at, FRAME_BYTES, unusual);
    f.brIf(unusual, i64.ne(i64.shr_u(f.get(at), i64.const(32)), i64.const(0)));
    const host = e.let32(f.call(e.helpers.plainHost, f.get(at), i32.const(0)));
    f.brIf(unusual, i32.eqz(f.get(host)));
    const rip = e.let(i64.load32_u(f.get(host)));
    const cs = e.let32(i32.load16_u(f.get(host), 4));
    const image = e.let32(i32.load(f.get(host), 8));
    // Single stepping, virtual-8086 mode, alignment checking.
    f.brIf(unusual, i32.and(f.get(image), i32.const(Rflags.TF | Rflags.VM | Rflags.AC)));
    const rsp = e.tmp();
    f.if(
      rpl(cs),
      () => {
        expectInPage(e, at, OUTER_FRAME_BYTES, unusual);
        const ss = e.let32(i32.load16_u(f.get(host), 16));
        // CPL 1 and 2 have no flat segments here: their descriptors differ.
        expectDescriptor(e, cs, CODE32_HIGH | DPL3_HIGH, unusual);
        expectDescriptor(e, ss, DATA_HIGH | DPL3_HIGH, unusual);
        f.brIf(unusual, i32.ne(i32.and(rpl(cs), rpl(ss)), i32.const(3)));
        expectOuterSegments(e, unusual);
        f.set(rsp, i64.load32_u(f.get(host), 12));
        loadFlat(e, Seg.CS, f.get(cs), CODE32 | DPL3);
        loadFlat(e, Seg.SS, f.get(ss), DATA | DPL3);
        switchPrivilege(e, true);
      },
      () => {
        expectDescriptor(e, cs, CODE32_HIGH, unusual);
        f.set(rsp, e.truncate(i64.add(f.get(at), i64.const(FRAME_BYTES)), 4));
        loadFlat(e, Seg.CS, f.get(cs), CODE32);
      },
    );
    finish(e, { rip, image, rsp });
  });
}

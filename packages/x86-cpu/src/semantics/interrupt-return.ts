/**
 * IRETQ from 64-bit code at CPL 0 to flat 64-bit code of CPL 0 or 3 (SDM vol. 2A, IRET). The frame lies in one page, the descriptors say
 * what Linux and others have there; anything else is the helper's, with nothing changed.
 */
import type { I32, I64, Label, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import {
  announceWaiting,
  CODE64,
  CODE64_HIGH,
  DATA,
  DATA_HIGH,
  DPL3,
  DPL3_HIGH,
  FLAT_LOW,
  loadFlat,
  switchPrivilege,
} from '../emit/privilege.ts';
import { CPU, Reg, Rflags, Seg, STATUS_FLAGS } from '../state.ts';

const FRAME_BYTES = 40;
const PAGE = 4096;

/** What IRET at CPL 0 takes from the image: all but VM, which does not exist in IA-32e mode and is the helper's elsewhere. */
const CHANGEABLE =
  STATUS_FLAGS |
  Rflags.TF |
  Rflags.IF |
  Rflags.DF |
  Rflags.IOPL |
  Rflags.NT |
  Rflags.RF |
  Rflags.AC |
  Rflags.VIF |
  Rflags.VIP |
  Rflags.ID;

type Frame = {
  readonly rip: Local<I64>;
  readonly cs: Local<I32>;
  readonly image: Local<I32>;
  readonly rsp: Local<I64>;
  readonly ss: Local<I32>;
};

/** Emits the usual case, which ends in a jump; falls through where it is not that. */
export function returnFromInterrupt(e: Emitter): void {
  const { f } = e;
  const rpl = (selector: Local<I32>): I32 => f.i32.and(f.get(selector), f.i32.const(3));
  f.block((unusual) => {
    const frame = readFrame(e, unusual);
    f.if(
      rpl(frame.cs),
      () => {
        // CPL 1 and 2 have no flat segments here: their descriptors differ.
        expectDescriptor(e, frame.cs, CODE64_HIGH | DPL3_HIGH, unusual);
        expectDescriptor(e, frame.ss, DATA_HIGH | DPL3_HIGH, unusual);
        f.brIf(unusual, f.i32.ne(f.i32.and(rpl(frame.cs), rpl(frame.ss)), f.i32.const(3)));
        expectOuterSegments(e, unusual);
        loadFlat(e, Seg.CS, f.get(frame.cs), CODE64 | DPL3);
        loadFlat(e, Seg.SS, f.get(frame.ss), DATA | DPL3);
        switchPrivilege(e, true);
        finish(e, frame);
      },
      () => {
        expectDescriptor(e, frame.cs, CODE64_HIGH, unusual);
        f.if(
          f.get(frame.ss),
          () => {
            expectDescriptor(e, frame.ss, DATA_HIGH, unusual);
            f.brIf(unusual, rpl(frame.ss));
            loadFlat(e, Seg.SS, f.get(frame.ss), DATA);
          },
          () => loadFlat(e, Seg.SS, f.i32.const(0), 0), // 64-bit mode runs with a null SS (SDM vol. 3 §6.14.4)
        );
        loadFlat(e, Seg.CS, f.get(frame.cs), CODE64);
        finish(e, frame);
      },
    );
  });
}

function readFrame(e: Emitter, unusual: Label): Frame {
  const { f } = e;
  const { i32, i64 } = f;
  const usual = i32.and(i32.eq(e.load32('modeKey'), e.load32('kernelKey')), e.load32('fastEvents'));
  f.brIf(unusual, i32.eqz(usual));
  f.brIf(unusual, i32.and(e.load32('rflags'), i32.const(Rflags.NT)));
  const at = e.let(e.gpr(Reg.RSP, 8));
  expectInPage(e, at, FRAME_BYTES, unusual);
  const host = e.let32(f.call(e.helpers.plainHost, f.get(at), i32.const(0)));
  f.brIf(unusual, i32.eqz(f.get(host)));
  const frame = {
    rip: e.let(i64.load(f.get(host))),
    cs: e.let32(i32.load16_u(f.get(host), 8)),
    image: e.let32(i32.load(f.get(host), 16)),
    rsp: e.let(i64.load(f.get(host), 24)),
    ss: e.let32(i32.load16_u(f.get(host), 32)),
  };
  f.brIf(unusual, i32.eqz(f.call(e.helpers.canonical, f.get(frame.rip))));
  f.brIf(unusual, i32.and(f.get(frame.image), i32.const(Rflags.TF | Rflags.AC)));
  return frame;
}

/** Goes on only if so many bytes at a linear address lie in one page. */
export function expectInPage(e: Emitter, at: Local<I64>, bytes: number, unusual: Label): void {
  const { i32 } = e.f;
  const offset = i32.and(i32.wrap_i64(e.f.get(at)), i32.const(PAGE - 1));
  e.f.brIf(unusual, i32.gt_u(offset, i32.const(PAGE - bytes)));
}

/** Goes on only if the selector is one of the GDT whose descriptor is flat with the given upper half. */
export function expectDescriptor(e: Emitter, selector: Local<I32>, high: number, unusual: Label): void {
  const { f } = e;
  const { i32, i64 } = f;
  f.brIf(unusual, i32.and(f.get(selector), i32.const(4)));
  f.brIf(unusual, i32.lt_u(f.get(selector), i32.const(4)));
  f.brIf(unusual, i32.gt_u(i32.or(f.get(selector), i32.const(7)), e.load32('gdtrLimit')));
  const offset = i64.extend_i32_u(i32.and(f.get(selector), i32.const(0xfff8)));
  const host = e.let32(f.call(e.helpers.systemHost, i64.add(offset, e.load64('gdtrBase')), i32.const(0)));
  f.brIf(unusual, i32.eqz(f.get(host)));
  f.brIf(unusual, i64.ne(i64.load(f.get(host)), i64.halves(FLAT_LOW, high)));
}

/** Data segments that CPL 3 may not keep become null on the way out, which is the helper's (SDM vol. 3 §5.8.1). */
export function expectOuterSegments(e: Emitter, unusual: Label): void {
  const { f } = e;
  for (const segment of [Seg.ES, Seg.DS, Seg.FS, Seg.GS]) {
    const attr = e.let32(f.i32.load(e.cpu(), CPU.offset.segAttr + 4 * segment));
    const inner = f.i32.ne(f.i32.and(f.get(attr), f.i32.const(DPL3)), f.i32.const(DPL3));
    f.brIf(unusual, f.i32.and(inner, f.i32.ne(f.get(attr), f.i32.const(0))));
  }
}

/** Takes the flags, RIP and RSP. */
export function finish(e: Emitter, { rip, image, rsp }: Pick<Frame, 'rip' | 'image' | 'rsp'>): void {
  const { f } = e;
  const kept = (): I32 => f.i32.and(e.load32('rflags'), f.i32.const(~CHANGEABLE));
  const taken = (): I32 => f.i32.and(f.get(image), f.i32.const(CHANGEABLE & ~STATUS_FLAGS));
  e.store32('rflags', () => f.i32.or(kept(), taken()));
  e.setStatusFlags(image);
  e.setGpr(Reg.RSP, 8, rsp);
  e.store32('nmiBlocked', () => f.i32.const(0));
  f.if(f.i32.and(f.get(image), f.i32.const(Rflags.IF)), () => announceWaiting(e));
  e.leaveTo(rip);
}

/**
 * XSAVE and its kin (SDM vol. 1 ch. 13): x87, SSE, AVX and PKRU state, in the standard and the compacted format. x87 and SSE state always
 * count as in use, which §13.6 leaves to the processor; AVX state does if an upper half is not zero, PKRU if it is not. There is no supervisor
 * component, so XSAVES is XSAVEC and XRSTORS an XRSTOR of the compacted format, for CPL 0.
 */
import type { I32, I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { CPU, Reg } from '../state.ts';
import { Xcr0 } from '../system/context.ts';
import { zeroVector } from './sse-operands.ts';
import {
  at,
  forOffsets,
  probeEnds,
  readMxcsr,
  restoreHalves,
  restoreX87,
  saveHalves,
  saveMxcsr,
  saveX87,
  xmmBytes,
} from './sse-state.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const GP = 13;
/** Offsets in the area (§13.4). In the compacted format PKRU follows what is there. */
const Area = { header: 512, compaction: 520, reserved: 528, avx: 576, pkru: 832, end: 840 } as const;
const PKRU_BYTES = 8;
const ALIGNMENT = 64;
const MXCSR_RESET = 0x1f80;
const FCW_RESET = 0x37f;

/** EDX:EAX of what XCR0 enables: no component has a number above 31. */
const requested = (e: Emitter): Local<I32> => {
  const { i32 } = e.f;
  return e.let32(i32.and(i32.wrap_i64(e.gpr(Reg.RAX, 4)), i32.wrap_i64(e.load64('xcr0'))));
};

const has = (e: Emitter, components: Local<I32>, bits: number): I32 => e.f.i32.and(e.f.get(components), e.f.i32.const(bits));

/** Linear address of the area; #GP(0) unless it is 64-byte aligned. */
function areaAddress(e: Emitter, write: boolean, components: Local<I32>): Local<I64> {
  const { f } = e;
  const va = e.address(ALIGNMENT, write);
  f.if(f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(ALIGNMENT - 1)), () => e.raise(GP, 0));
  const probe = (size: number) => () => probeEnds(e, va, write, size);
  f.if(has(e, components, Xcr0.PKRU), probe(Area.end), () =>
    f.if(has(e, components, Xcr0.AVX), probe(Area.pkru), probe(Area.avx)),
  );
  return va;
}

/** Components in use. */
function inUse(e: Emitter): Local<I32> {
  const { f } = e;
  const { v128, i32 } = f;
  const upper = e.letV(zeroVector(f));
  for (let n = 0; n < 16; n++) {
    const soFar = f.get(upper);
    f.set(upper, v128.or(soFar, v128.load(e.cpu(), CPU.offset.ymmHigh + 16 * n)));
  }
  const avx = i32.shl(v128.any_true(f.get(upper)), i32.const(2));
  const pkru = i32.shl(i32.ne(e.load32('pkru'), i32.const(0)), i32.const(9));
  return e.let32(i32.or(i32.or(avx, pkru), i32.const(Xcr0.X87 | Xcr0.SSE)));
}

/** Where PKRU is in a compacted area with a layout of components, an i32 or the low half of XCOMP_BV. */
function pkruPlace(e: Emitter, va: Local<I64>, compacted: I32, layout: () => I32): Local<I64> {
  const { f } = e;
  const close = f.i32.and(compacted, f.i32.eqz(f.i32.and(layout(), f.i32.const(Xcr0.AVX))));
  const offset = e.let32(close);
  return e.let(f.i64.add(f.get(va), f.select(f.i64.const(Area.avx), f.i64.const(Area.pkru), f.get(offset))));
}

/** `lazy`: state that is not in use is not written (XSAVEOPT, XSAVEC). */
const save =
  (lazy: boolean, compacted: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const { i32, i64 } = f;
    const components = requested(e);
    const va = areaAddress(e, true, components);
    const used = inUse(e);
    const saved = lazy ? e.let32(i32.and(f.get(components), f.get(used))) : components;
    f.if(has(e, saved, Xcr0.X87), () => saveX87(e, va));
    // In the standard format MXCSR goes with AVX state too (§13.7).
    f.if(has(e, components, compacted ? Xcr0.SSE : Xcr0.SSE | Xcr0.AVX), () => saveMxcsr(e, va));
    f.if(has(e, saved, Xcr0.SSE), () => saveHalves(e, va, 'xmm'));
    f.if(has(e, saved, Xcr0.AVX), () => saveHalves(e, va, 'ymmHigh', Area.avx));
    f.if(has(e, saved, Xcr0.PKRU), () => {
      const place = pkruPlace(e, va, i32.const(compacted ? 1 : 0), () => f.get(components));
      e.store(place, PKRU_BYTES, e.let(i64.extend_i32_u(e.load32('pkru'))));
    });
    const header = at(e, va, Area.header);
    const present = e.let(i64.extend_i32_u(i32.and(f.get(used), f.get(components))));
    if (compacted) {
      e.store(header, 8, present);
      const layout = i64.or(i64.extend_i32_u(f.get(components)), i64.const(1n << 63n));
      e.store(at(e, va, Area.compaction), 8, e.let(layout));
      return;
    }
    e.modifyAt(header, 8, (old) => {
      const kept = i64.and(f.get(old), i64.xor(i64.extend_i32_u(f.get(components)), i64.const(-1)));
      return e.let(i64.or(kept, f.get(present)));
    });
  };

function initialX87(e: Emitter): void {
  const { f } = e;
  e.store32('fcw', () => f.i32.const(FCW_RESET));
  e.store32('fsw', () => f.i32.const(0));
  e.store32('ftop', () => f.i32.const(0));
  e.store32('fempty', () => f.i32.const(0xff));
  e.store32('fop', () => f.i32.const(0));
  e.store64('fip', () => f.i64.const(0));
  e.store64('fdp', () => f.i64.const(0));
  e.store32('fcs', () => f.i32.const(0));
  e.store32('fds', () => f.i32.const(0));
  for (let n = 0; n < 8; n++) f.v128.store(e.cpu(), zeroVector(f), CPU.offset.fpr + 16 * n);
}

function clearHalves(e: Emitter, field: 'xmm' | 'ymmHigh'): void {
  const { f } = e;
  for (let n = 0; n < xmmBytes(e) / 16; n++) f.v128.store(e.cpu(), zeroVector(f), CPU.offset[field] + 16 * n);
}

/**
 * `compactedOnly`: XRSTORS. `changed` tells the MMU of another PKRU, in TypeScript; compiled code leaves an instruction that restores PKRU
 * whole to the interpreter.
 */
export const restore =
  (compactedOnly: boolean, changed: (e: Emitter) => void): Semantics =>
  (e) => {
    const { f } = e;
    const { i32, i64 } = f;
    const components = requested(e);
    if (e.inRegion) f.if(has(e, components, Xcr0.PKRU), () => changed(e));
    const va = areaAddress(e, false, components);
    const present = e.let(e.load(at(e, va, Area.header), 8));
    const layout = e.let(e.load(at(e, va, Area.compaction), 8));
    const refuse = (what: I64): void => f.if(i64.ne(what, i64.const(0)), () => e.raise(GP, 0));
    const enabled = (): I64 => e.load64('xcr0');
    const beyond = (bits: I64, allowed: I64): I64 => i64.and(bits, i64.xor(allowed, i64.const(-1)));
    const compacted = e.let32(i32.wrap_i64(i64.shr_u(f.get(layout), i64.const(63))));
    if (compactedOnly) f.if(i32.eqz(f.get(compacted)), () => e.raise(GP, 0));
    f.if(
      f.get(compacted),
      () => {
        const listed = e.let(i64.and(f.get(layout), i64.const((1n << 63n) - 1n)));
        refuse(beyond(f.get(listed), enabled()));
        refuse(beyond(f.get(present), f.get(listed)));
        forOffsets(e, Area.avx - Area.reserved, 8, (offset) => refuse(e.load(at(e, va, Area.reserved, offset), 8)));
      },
      () => {
        refuse(beyond(f.get(present), enabled()));
        refuse(f.get(layout));
        refuse(e.load(at(e, va, Area.reserved), 8));
      },
    );
    const given = e.let32(i32.and(i32.wrap_i64(f.get(present)), f.get(components)));
    const isSet = (set: Local<I32>, bits: number): I32 => i32.ne(has(e, set, bits), i32.const(0));
    // The standard format gives MXCSR with SSE or AVX state, whatever is present; the compacted one with SSE state that is (§13.8).
    const mxcsr = e.let(i64.const(-1));
    const standard = (): I32 => i32.and(i32.eqz(f.get(compacted)), isSet(components, Xcr0.SSE | Xcr0.AVX));
    f.if(i32.or(standard(), i32.and(f.get(compacted), isSet(given, Xcr0.SSE))), () => f.set(mxcsr, f.get(readMxcsr(e, va))));
    const absent = i32.and(isSet(components, Xcr0.SSE), i32.eqz(has(e, given, Xcr0.SSE)));
    f.if(i32.and(absent, f.get(compacted)), () => f.set(mxcsr, i64.const(MXCSR_RESET)));
    f.if(i64.ge_s(f.get(mxcsr), i64.const(0)), () => e.store32('mxcsr', () => i32.wrap_i64(f.get(mxcsr))));
    const each = (component: number, load: () => void, reset: () => void): void =>
      f.if(has(e, components, component), () => f.if(has(e, given, component), load, reset));
    each(
      Xcr0.X87,
      () => restoreX87(e, va),
      () => initialX87(e),
    );
    each(
      Xcr0.SSE,
      () => restoreHalves(e, va, 'xmm'),
      () => clearHalves(e, 'xmm'),
    );
    each(
      Xcr0.AVX,
      () => restoreHalves(e, va, 'ymmHigh', Area.avx),
      () => clearHalves(e, 'ymmHigh'),
    );
    if (e.inRegion) return;
    each(
      Xcr0.PKRU,
      () => {
        const place = pkruPlace(e, va, f.get(compacted), () => i32.wrap_i64(f.get(layout)));
        const value = e.let(e.load(place, 4));
        e.store32('pkru', () => i32.wrap_i64(f.get(value)));
      },
      () => e.store32('pkru', () => i32.const(0)),
    );
    f.if(has(e, components, Xcr0.PKRU), () => changed(e));
  };

export const xsaveSemantics: SemanticsTable = {
  xsave: save(false, false),
  xsaveopt: save(true, false),
  xsavec: save(true, true),
  xsaves: save(true, true),
};

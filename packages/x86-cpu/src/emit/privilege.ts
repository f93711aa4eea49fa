/** What generated code does to change privilege in 64-bit mode or flat protected mode: segments, and everything that goes with CPL 0 or 3. */
import type { I32, Local } from '@tsvisor/wasm-codegen';
import { CPU, ExitRequest, Rflags, STATUS_FLAGS } from '../state.ts';
import type { Emitter } from './emitter.ts';
import { TLB_ENTRIES } from './emitter.ts';

/** The processor state as `Emitter` gives access to it. */
export type StateAccess = Pick<Emitter, 'f' | 'cpu' | 'load32' | 'store32' | 'let32'>;

/** Access rights of flat segments, as `CPU.segAttr` has them. */
export const CODE64 = 0xa09b;
export const CODE32 = 0xc09b;
export const DATA = 0xc093;
export const DPL3 = 0x60;

/**
 * Descriptors of the same segments, in halves: base 0, limit 4 GiB, accessed. An operating system may write them otherwise (AVL, limits
 * that 64-bit mode ignores); then the general path reads them.
 */
export const FLAT_LOW = 0xffff;
export const CODE64_HIGH = 0x00af_9b00;
export const CODE32_HIGH = 0x00cf_9b00;
export const DATA_HIGH = 0x00cf_9300;
export const DPL3_HIGH = DPL3 << 8;

/** Distance of the user's TLB set from the supervisor's. */
export const TLB_SET_BYTES = 3 * TLB_ENTRIES * 16;
const ACCESS_USER = 4;

/** Puts a flat segment, or with `attr` 0 an unusable one, into a segment register. */
export function loadFlat(e: StateAccess, segment: number, selector: I32, attr: number): void {
  const { f } = e;
  const chosen = e.let32(selector);
  f.i32.store16(e.cpu(), f.get(chosen), CPU.offset.segSel + 2 * segment);
  f.i64.store(e.cpu(), f.i64.const(0), CPU.offset.segBase + 8 * segment);
  f.i32.store(e.cpu(), f.i32.const(-1), CPU.offset.segLimit + 4 * segment);
  f.i32.store(e.cpu(), f.i32.const(0), CPU.offset.segLow + 4 * segment);
  f.i32.store(e.cpu(), f.i32.const(attr), CPU.offset.segAttr + 4 * segment);
}

/** Switches mode key, jump-cache tag and TLB set to user or supervisor. */
export function switchPrivilege(e: StateAccess, user: boolean): void {
  const { f } = e;
  e.store32('cpl', () => f.i32.const(user ? 3 : 0));
  e.store32('modeKey', () => e.load32(user ? 'userKey' : 'kernelKey'));
  e.store32('jumpTag', () => e.load32(user ? 'userTag' : 'kernelTag'));
  for (const array of ['tlbRead', 'tlbWrite', 'tlbFetch'] as const)
    e.store32(array, () => f.i32.add(e.load32(array), f.i32.const(user ? TLB_SET_BYTES : -TLB_SET_BYTES)));
  e.store32('mmuAccess', () => f.i32.const(user ? ACCESS_USER : 0));
}

/** Sets RFLAGS as a whole from an image. */
export function loadFlagsImage(e: Emitter, image: Local<I32>): void {
  const { f } = e;
  e.store32('rflags', () => f.i32.and(f.get(image), f.i32.const(~(STATUS_FLAGS | Rflags.FIXED))));
  e.setStatusFlags(image);
}

/** IF has been set: an interrupt that waited for it is for the next block boundary. Others may store to `exitRequest` at any time, so it is not read. */
export function announceWaiting(e: Emitter): void {
  e.f.if(e.load32('interruptPending'), () => e.store32('exitRequest', () => e.f.i32.const(ExitRequest.LOOK)));
}

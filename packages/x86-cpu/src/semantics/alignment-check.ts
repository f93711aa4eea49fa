import type { I32 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { Watch } from '../state.ts';

/** Lets an instruction access memory as if RFLAGS.AC were clear, if `lifted` holds. */
export function withoutAlignmentCheck(e: Emitter, lifted: () => I32, body: () => void): void {
  const { f } = e;
  const before = e.let32(e.load32('watch'));
  const change = e.let32(f.i32.and(f.i32.and(f.get(before), f.i32.const(Watch.Alignment)), f.i32.sub(f.i32.const(0), lifted())));
  f.if(f.get(change), () => e.store32('watch', () => f.i32.xor(f.get(before), f.get(change))));
  body();
  // After a fault it is whoever delivers that that looks at the mode again.
  f.if(f.get(change), () => e.store32('watch', () => f.get(before)));
}

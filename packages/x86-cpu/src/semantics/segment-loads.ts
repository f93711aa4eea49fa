/** MOV and POP to segment registers: core/segments.ts has the usual case, and the helper the others, with nothing changed before. */
import type { I32, Local } from '@tsvisor/wasm-codegen';
import { Load } from '../core/segments.ts';
import type { Emitter } from '../emit/emitter.ts';
import { Seg } from '../state.ts';
import { peek, setStackPointer } from './stack.ts';

type Slow = () => void;

/** Whether the register is always the helper's: SS holds interrupts off, and CS cannot be loaded at all. */
const isSpecial = (segment: number): boolean => segment === Seg.SS || segment === Seg.CS;

function load(e: Emitter, selector: I32, slow: Slow): Local<I32> {
  const { f } = e;
  const how = e.let32(f.call(e.helpers.loadSegment, selector, f.i32.const(e.form.special)));
  f.if(f.i32.eq(f.get(how), f.i32.const(Load.Unusual)), slow);
  return how;
}

function goOn(e: Emitter, how: Local<I32>): void {
  e.lookUpNextIf(e.f.i32.eq(e.f.get(how), e.f.i32.const(Load.Changed)));
}

export function moveToSegment(e: Emitter, slow: Slow): void {
  const { f } = e;
  if (isSpecial(e.form.special) || e.form.mode !== 32) f.if(f.i32.const(1), slow);
  else goOn(e, load(e, f.i32.wrap_i64(e.read(1, 2)), slow));
}

export function popSegment(e: Emitter, slow: Slow): void {
  const { f } = e;
  if (isSpecial(e.form.special)) {
    f.if(f.i32.const(1), slow);
    return;
  }
  const { value, after } = peek(e, e.form.opSize);
  const how = load(e, f.i32.wrap_i64(f.get(value)), slow);
  setStackPointer(e, after);
  goOn(e, how);
}

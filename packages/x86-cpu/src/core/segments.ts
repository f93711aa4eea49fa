/**
 * Loading ES, DS, FS and GS as 32-bit operating systems do at every entry and exit, while everything is flat (`fastFlat32`): a data
 * segment of the GDT, for ES and DS a flat one, or for FS and GS null (SDM vol. 3 §3.4.3, §5.6). Anything else is for system/segments.ts.
 */
import type { FuncRef, I32, I64, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { ModeKey } from '../records/mode-key.ts';
import { CPU, Seg } from '../state.ts';
import { CoreState } from './core-state.ts';
import type { CoreImports } from './imports.ts';

/** What follows from a segment load. */
export const Load = {
  /** Nothing was done: the general path has to. */
  Unusual: 0,
  /** The code that runs is right as it is. */
  Kept: 1,
  /** The mode is another now: the next instruction must be looked up afresh. */
  Changed: 2,
} as const;

/** Bits 47–40 of a descriptor, without the DPL: present, a data segment, expand-up, writable, accessed (SDM vol. 3 table 3-1). */
const TYPE_MASK = 0x9f;
const WRITABLE_ACCESSED = 0x93;
const GRANULARITY = 1 << 23;

/** (selector, segment register) → `Load`. */
export type LoadSegment = FuncRef<[I32, I32], I32>;

export function addLoadSegment(module: ModuleBuilder, io: CoreImports, systemHost: FuncRef<[I64, I32], I32>): LoadSegment {
  const f = module.function('loadSegment', ['i32', 'i32'], ['i32']);
  const [given, segment] = [f.param(0, 'i32'), f.param(1, 'i32')];
  const s = new CoreState(f, io);
  const { i32, i64 } = f;
  const refuseIf = (condition: I32): void => f.if(condition, () => f.return(i32.const(Load.Unusual)));

  refuseIf(i32.eqz(s.load32('fastFlat32')));
  const key = s.let32(s.load32('modeKey'));
  refuseIf(s.isOtherMode(key));
  refuseIf(i32.or(i32.eq(f.get(segment), i32.const(Seg.SS)), i32.eq(f.get(segment), i32.const(Seg.CS))));
  const special = s.let32(i32.ge_u(f.get(segment), i32.const(Seg.FS)));

  const selector = s.let32(i32.and(f.get(given), i32.const(0xffff)));
  const base = s.let(i64.const(0));
  const limit = s.let32(i32.const(0));
  const attr = s.let32(i32.const(0));
  f.if(
    i32.and(f.get(selector), i32.const(0xfffc)),
    () => {
      refuseIf(i32.and(f.get(selector), i32.const(4)));
      refuseIf(i32.gt_u(i32.or(f.get(selector), i32.const(7)), s.load32('gdtrLimit')));
      const place = i64.extend_i32_u(i32.and(f.get(selector), i32.const(0xfff8)));
      const host = s.let32(f.call(systemHost, i64.add(place, s.load64(CPU.offset.gdtrBase)), i32.const(0)));
      refuseIf(i32.eqz(f.get(host)));
      const low = s.let32(i32.load(f.get(host)));
      const high = s.let32(i32.load(f.get(host), 4));
      const byte = i32.shr_u(f.get(high), i32.const(8));
      refuseIf(i32.ne(i32.and(byte, i32.const(TYPE_MASK)), i32.const(WRITABLE_ACCESSED)));
      // SDM vol. 3 §5.6: neither CPL nor RPL may be above the DPL.
      const dpl = s.let32(i32.and(i32.shr_u(f.get(high), i32.const(13)), i32.const(3)));
      refuseIf(i32.lt_u(f.get(dpl), s.load32('cpl')));
      refuseIf(i32.lt_u(f.get(dpl), i32.and(f.get(selector), i32.const(3))));
      f.set(attr, i32.and(i32.shr_u(f.get(high), i32.const(8)), i32.const(0xf0ff)));
      const lowBase = i32.or(i32.shr_u(f.get(low), i32.const(16)), i32.shl(i32.and(f.get(high), i32.const(0xff)), i32.const(16)));
      f.set(base, i64.extend_i32_u(i32.or(lowBase, i32.and(f.get(high), i32.const(-0x100_0000)))));
      f.set(limit, i32.or(i32.and(f.get(low), i32.const(0xffff)), i32.and(f.get(high), i32.const(0xf_0000))));
      f.if(i32.and(f.get(high), i32.const(GRANULARITY)), () =>
        f.set(limit, i32.or(i32.shl(f.get(limit), i32.const(12)), i32.const(0xfff))),
      );
    },
    () => refuseIf(i32.eqz(f.get(special))),
  );
  const unlimited = s.let32(i32.eq(f.get(limit), i32.const(-1)));
  // ES and DS stay flat: the mode has nothing for one of them being otherwise.
  const flat = i32.and(f.get(unlimited), i64.eqz(f.get(base)));
  refuseIf(i32.eqz(i32.or(flat, f.get(special))));

  const field = (shift: number): I32 => i32.add(s.cpu(), i32.shl(f.get(segment), i32.const(shift)));
  i32.store16(field(1), f.get(selector), CPU.offset.segSel);
  i64.store(field(3), f.get(base), CPU.offset.segBase);
  i32.store(field(2), f.get(limit), CPU.offset.segLimit);
  i32.store(field(2), i32.const(0), CPU.offset.segLow);
  i32.store(field(2), f.get(attr), CPU.offset.segAttr);

  // Of FS and GS the mode knows whether they are unlimited: a bit of the key, and one of the number in the tags.
  f.if(f.get(special), () => {
    const number = s.let32(i32.sub(f.get(segment), i32.const(Seg.FS)));
    const shift = s.let32(i32.add(f.get(number), i32.const(ModeKey.VARIANT_SHIFT)));
    const before = i32.and(i32.shr_u(f.get(key), f.get(shift)), i32.const(1));
    f.if(i32.ne(before, f.get(unlimited)), () => {
      for (const keyField of ['modeKey', 'userKey', 'kernelKey'] as const)
        s.store32(keyField, () => i32.xor(s.load32(keyField), i32.shl(i32.const(1), f.get(shift))));
      for (const tagField of ['jumpTag', 'userTag', 'kernelTag'] as const)
        s.store32(tagField, () => i32.xor(s.load32(tagField), i32.shl(i32.const(1), f.get(number))));
      f.return(i32.const(Load.Changed));
    });
  });
  i32.const(Load.Kept);
  return f.ref();
}

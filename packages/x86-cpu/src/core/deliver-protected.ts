/**
 * Delivery as 32-bit operating systems have it: protected mode, a 32-bit gate to flat code of CPL 0, from CPL 3 with the stack of a 32-bit TSS
 * or from CPL 0, everything flat, a stack within one page (SDM vol. 3 §6.12.1). As in 64-bit mode (deliver.ts) nothing changes before
 * everything is found to be so; the rest is for system/events.ts.
 */
import type { FuncRef, I32, I64, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { CODE32, CODE32_HIGH, DATA, DATA_HIGH, FLAT_LOW, loadFlat, switchPrivilege } from '../emit/privilege.ts';
import { CPU, Reg, Seg } from '../state.ts';
import { CoreState } from './core-state.ts';
import type { Deliver } from './deliver.ts';
import type { CoreImports } from './imports.ts';

const GATE_BYTES = 8;
/** Bits 47–40 of a gate: present, a system descriptor, type 14 or 15 (SDM vol. 3 figure 6-2). */
const GATE_MASK = 0x9e;
const GATE_32 = 0x8e;
/** ESP0 in the TSS, SS0 behind it (SDM vol. 3 figure 7-2). */
const TSS_ESP0 = 4;
/** In the attributes of TR: the TSS is a 32-bit one. */
const TSS_32 = 8;

/** For `Deliver`, while `fastFlat32`. */
export function addDeliverProtected(module: ModuleBuilder, io: CoreImports, systemHost: FuncRef<[I64, I32], I32>): Deliver {
  const f = module.function('deliverProtected', ['i32', 'i32', 'i64', 'i32', 'i32'], ['i32']);
  const [vector, error, rip] = [f.param(0, 'i32'), f.param(1, 'i32'), f.param(2, 'i64')];
  const [extra, software] = [f.param(3, 'i32'), f.param(4, 'i32')];
  const s = new CoreState(f, io);
  const { i32, i64 } = f;
  const refuseIf = (condition: I32): void => f.if(condition, () => f.return(i32.const(0)));
  const host = f.local('i32');
  const hostOf = (va: I64, write: 0 | 1): void => {
    f.set(host, f.call(systemHost, va, i32.const(write)));
    refuseIf(i32.eqz(f.get(host)));
  };
  /** Goes on only if the selector is one of the GDT whose descriptor is flat with the given upper half. */
  const expectFlat = (selector: Local<I32>, high: number): void => {
    refuseIf(i32.eqz(i32.and(f.get(selector), i32.const(0xfffc))));
    refuseIf(i32.and(f.get(selector), i32.const(4)));
    refuseIf(i32.gt_u(i32.or(f.get(selector), i32.const(7)), s.load32('gdtrLimit')));
    hostOf(i64.add(s.load64(CPU.offset.gdtrBase), i64.extend_i32_u(i32.and(f.get(selector), i32.const(0xfff8)))), 0);
    refuseIf(i64.ne(i64.load(f.get(host)), i64.halves(FLAT_LOW, high)));
  };

  // Neither under single stepping nor in an interrupt shadow: those have keys of their own.
  const key = s.let32(s.load32('modeKey'));
  refuseIf(i32.and(i32.ne(f.get(key), s.load32('userKey')), i32.ne(f.get(key), s.load32('kernelKey'))));

  // The gate (SDM vol. 3 figure 6-2).
  const place = s.let32(i32.mul(f.get(vector), i32.const(GATE_BYTES)));
  refuseIf(i32.gt_u(i32.add(f.get(place), i32.const(GATE_BYTES - 1)), s.load32('idtrLimit')));
  hostOf(i64.add(s.load64(CPU.offset.idtrBase), i64.extend_i32_u(f.get(place))), 0);
  const low = s.let32(i32.load(f.get(host)));
  const high = s.let32(i32.load(f.get(host), 4));
  refuseIf(i32.ne(i32.and(i32.shr_u(f.get(high), i32.const(8)), i32.const(GATE_MASK)), i32.const(GATE_32)));
  refuseIf(s.gateForbids(high, software));
  const offset = i32.or(i32.and(f.get(low), i32.const(0xffff)), i32.and(f.get(high), i32.const(~0xffff)));
  const target = s.let(i64.extend_i32_u(offset));
  const selector = s.let32(i32.shr_u(f.get(low), i32.const(16)));
  expectFlat(selector, CODE32_HIGH);

  // The stack: of the TSS, or the one in use (SDM vol. 3 §6.12.1).
  const inner = s.let32(i32.eq(s.load32('cpl'), i32.const(3)));
  const stack = s.let(s.load64(CPU.offset.gpr + 8 * Reg.RSP));
  const stackSelector = f.local('i32');
  f.if(f.get(inner), () => {
    refuseIf(i32.eqz(i32.and(i32.load(s.cpu(), CPU.offset.segAttr + 4 * Seg.TR), i32.const(TSS_32))));
    refuseIf(i32.lt_u(i32.load(s.cpu(), CPU.offset.segLimit + 4 * Seg.TR), i32.const(TSS_ESP0 + 5)));
    hostOf(i64.add(s.load64(CPU.offset.segBase + 8 * Seg.TR), i64.const(TSS_ESP0)), 0);
    f.set(stack, i64.load32_u(f.get(host)));
    f.set(stackSelector, i32.load16_u(f.get(host), 4));
    refuseIf(i32.and(f.get(stackSelector), i32.const(3)));
    expectFlat(stackSelector, DATA_HIGH);
  });
  const hasError = s.let32(i32.ge_s(f.get(error), i32.const(0)));
  const words = i32.add(f.select(i32.const(5), i32.const(3), f.get(inner)), f.get(hasError));
  const bytes = s.let(i64.extend_i32_u(i32.shl(words, i32.const(2))));
  const bottom = s.let(i64.sub(f.get(stack), f.get(bytes)));
  const lastPage = i64.shr_u(i64.sub(f.get(stack), i64.const(1)), i64.const(12));
  refuseIf(i64.ne(lastPage, i64.shr_u(f.get(bottom), i64.const(12))));
  hostOf(f.get(bottom), 1);

  // From here on nothing can go wrong.
  f.if(f.get(hasError), () => {
    i32.store(f.get(host), f.get(error));
    f.set(host, i32.add(f.get(host), i32.const(4)));
  });
  i64.store32(f.get(host), f.get(rip));
  i32.store(f.get(host), i32.load16_u(s.cpu(), CPU.offset.segSel + 2 * Seg.CS), 4);
  i32.store(f.get(host), s.flagsImage(f.get(extra)), 8);
  f.if(f.get(inner), () => {
    i32.store(f.get(host), i32.load(s.cpu(), CPU.offset.gpr + 8 * Reg.RSP), 12);
    i32.store(f.get(host), i32.load16_u(s.cpu(), CPU.offset.segSel + 2 * Seg.SS), 16);
    loadFlat(s, Seg.SS, f.get(stackSelector), DATA);
    switchPrivilege(s, false);
  });
  i64.store(s.cpu(), f.get(bottom), CPU.offset.gpr + 8 * Reg.RSP);
  loadFlat(s, Seg.CS, i32.and(f.get(selector), i32.const(0xfffc)), CODE32);
  s.enterHandler(high, target);
  i32.const(1);
  return f.ref();
}

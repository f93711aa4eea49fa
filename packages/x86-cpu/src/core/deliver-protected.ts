/**
 * Delivery as 32-bit operating systems have it: protected mode, a 32-bit gate to flat code of CPL 0, from CPL 3 with the stack of a 32-bit TSS
 * or from CPL 0, everything flat, a stack within one page (SDM vol. 3 §6.12.1). As in 64-bit mode (deliver.ts) nothing changes before
 * everything is found to be so; the rest is for system/events.ts.
 */
import type { FuncRef, I32, I64, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { CODE32, CODE32_HIGH, DATA, DATA_HIGH, loadFlat, switchPrivilege } from '../emit/privilege.ts';
import { CPU, Reg, Seg } from '../state.ts';
import { addDeliveryFunction, type Deliver } from './delivery-function.ts';
import type { CoreImports } from './imports.ts';

const GATE_BYTES = 8;
/** ESP0 in the TSS, SS0 behind it (SDM vol. 3 figure 7-2). */
const TSS_ESP0 = 4;
/** In the attributes of TR: the TSS is a 32-bit one. */
const TSS_32 = 8;

/** For `Deliver`, while `fastFlat32`. */
export function addDeliverProtected(module: ModuleBuilder, io: CoreImports, systemHost: FuncRef<[I64, I32], I32>): Deliver {
  const s = addDeliveryFunction(module, 'deliverProtected', io, systemHost);
  const { f, host } = s;
  const { i32, i64 } = f;

  s.refuseIf(s.isOtherMode(s.let32(s.load32('modeKey'))));
  const { low, high } = s.readGate(GATE_BYTES);
  const offset = i32.or(i32.and(f.get(low), i32.const(0xffff)), i32.and(f.get(high), i32.const(~0xffff)));
  const target = s.let(i64.extend_i32_u(offset));
  const selector = s.let32(i32.shr_u(f.get(low), i32.const(16)));
  s.expectFlat(selector, CODE32_HIGH);

  // The stack: of the TSS, or the one in use (SDM vol. 3 §6.12.1).
  const inner = s.let32(i32.eq(s.load32('cpl'), i32.const(3)));
  const stack = s.let(s.load64(CPU.offset.gpr + 8 * Reg.RSP));
  const stackSelector = f.local('i32');
  f.if(f.get(inner), () => {
    s.refuseIf(i32.eqz(i32.and(i32.load(s.cpu(), CPU.offset.segAttr + 4 * Seg.TR), i32.const(TSS_32))));
    s.refuseIf(i32.lt_u(i32.load(s.cpu(), CPU.offset.segLimit + 4 * Seg.TR), i32.const(TSS_ESP0 + 5)));
    s.findHost(i64.add(s.load64(CPU.offset.segBase + 8 * Seg.TR), i64.const(TSS_ESP0)), 0);
    f.set(stack, i64.load32_u(f.get(host)));
    f.set(stackSelector, i32.load16_u(f.get(host), 4));
    s.refuseIf(i32.and(f.get(stackSelector), i32.const(3)));
    s.expectFlat(stackSelector, DATA_HIGH);
  });
  const hasError = s.let32(i32.ge_s(f.get(s.error), i32.const(0)));
  const words = i32.add(f.select(i32.const(5), i32.const(3), f.get(inner)), f.get(hasError));
  const bytes = s.let(i64.extend_i32_u(i32.shl(words, i32.const(2))));
  const bottom = s.findStack(stack, () => f.get(bytes));

  // From here on nothing can go wrong.
  f.if(f.get(hasError), () => {
    i32.store(f.get(host), f.get(s.error));
    f.set(host, i32.add(f.get(host), i32.const(4)));
  });
  i64.store32(f.get(host), f.get(s.rip));
  i32.store(f.get(host), i32.load16_u(s.cpu(), CPU.offset.segSel + 2 * Seg.CS), 4);
  i32.store(f.get(host), s.flagsImage(f.get(s.extra)), 8);
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

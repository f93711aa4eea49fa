/**
 * Delivery of exceptions and interrupts as operating systems have it by the million: 64-bit mode, a gate to flat 64-bit code of CPL 0,
 * from CPL 3 or 0, a stack within one page (SDM vol. 3 §6.14). Everything is found out before anything changes: whatever is unusual,
 * a fault on the way included, is left to the TypeScript path (system/events.ts), which begins afresh.
 */
import type { FuncRef, I32, I64, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { tlbIndex } from '../emit/emitter.ts';
import { CODE64, CODE64_HIGH, loadFlat, switchPrivilege, TLB_SET_BYTES } from '../emit/privilege.ts';
import { CPU, Exit, ExitRequest, Record, Reg, Rflags, Seg } from '../state.ts';
import { CoreState } from './core-state.ts';
import { addDeliverProtected } from './deliver-protected.ts';
import { addDeliveryFunction, type Deliver } from './delivery-function.ts';
import type { CoreImports } from './imports.ts';
import type { MemoryHelpers } from './memory.ts';
import { Vector } from './memory.ts';

const PAGE = 4096;
const GATE_BYTES = 16;
/** Exceptions that do not push RF: traps, and the abort (SDM vol. 3 §6.8.3, §17.3.1.1). */
const WITHOUT_RF = (1 << Vector.DB) | (1 << Vector.BP) | (1 << Vector.OF) | (1 << Vector.DF);
const LAST_EXCEPTION = 31;
/** So often a delivery makes generated code leave: a handler that faults before it retires anything would never do so. */
const DELIVERIES_PER_CALL = 1024;

export type Delivery = {
  /** (linear address, write) → host address of eight bytes that the processor itself accesses, as a supervisor; 0 unless they are in one
   * page of plain memory. Without SMAP. */
  readonly systemHost: FuncRef<[I64, I32], I32>;
  /** (vector) delivers a hardware interrupt at `CPU.rip`: 1; or 0 with nothing changed. */
  readonly deliverInterrupt: FuncRef<[I32], I32>;
  /** (vector, RIP to return to) INT n: 1, with `CPU.rip` the handler's; or 0 with nothing changed. */
  readonly deliverSoftware: FuncRef<[I32, I64], I32>;
  /** (record, or 0 for `CPU.rip`) delivers the recorded fault: the instructions of the block that did not run; or -1 with nothing changed. */
  readonly deliverFault: FuncRef<[I32], I32>;
};

export function addDelivery(module: ModuleBuilder, io: CoreImports, memory: MemoryHelpers): Delivery {
  const systemHost = addSystemHost(module, io, memory);
  const deliver = addDeliver(module, io, memory, systemHost);
  return {
    systemHost,
    deliverSoftware: addDeliverSoftware(module, deliver),
    deliverInterrupt: addDeliverInterrupt(module, io, deliver),
    deliverFault: addDeliverFault(module, io, deliver),
  };
}

function addSystemHost(module: ModuleBuilder, io: CoreImports, memory: MemoryHelpers): Delivery['systemHost'] {
  const f = module.function('systemHost', ['i64', 'i32'], ['i32']);
  const [va, write] = [f.param(0, 'i64'), f.param(1, 'i32')];
  const s = new CoreState(f, io);
  const entry = f.local('i32');
  const array = f.select(s.load32('tlbWrite'), s.load32('tlbRead'), f.get(write));
  const set = f.select(f.i32.const(TLB_SET_BYTES), f.i32.const(0), f.i32.eq(s.load32('cpl'), f.i32.const(3)));
  const index = (): I32 => tlbIndex(f, va);
  f.set(entry, f.i32.add(f.i32.sub(array, set), index()));
  f.if(f.i64.le_u(f.i64.sub(f.get(va), f.i64.load(f.get(entry))), f.i64.const(PAGE - 8)), () =>
    f.return(f.i32.add(f.i32.wrap_i64(f.get(va)), f.i32.load(f.get(entry), 8))),
  );
  // 32-bit addresses wrap at 4 GiB in the general path.
  f.if(s.load32('fastFlat32'), () =>
    f.if(f.i64.ne(f.i64.shr_u(f.get(va), f.i64.const(32)), f.i64.const(0)), () => f.return(f.i32.const(0))),
  );
  const beyond = f.i32.gt_u(f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(PAGE - 1)), f.i32.const(PAGE - 8));
  f.if(f.i32.or(beyond, f.i32.eqz(f.call(memory.canonical, f.get(va)))), () => f.return(f.i32.const(0)));
  f.set(entry, f.call(io.mmuFill, f.get(va), f.get(write)));
  f.select(f.i32.const(0), f.get(entry), f.i32.eq(f.get(entry), f.i32.const(-1)));
  return f.ref();
}

function addDeliver(module: ModuleBuilder, io: CoreImports, memory: MemoryHelpers, systemHost: Delivery['systemHost']): Deliver {
  const inProtectedMode = addDeliverProtected(module, io, systemHost);
  const s = addDeliveryFunction(module, 'deliver', io, systemHost);
  const { f, host } = s;
  const { i32, i64 } = f;

  f.if(s.load32('fastFlat32'), () =>
    f.returnCall(inProtectedMode, f.get(s.vector), f.get(s.error), f.get(s.rip), f.get(s.extra), f.get(s.software)),
  );
  s.refuseIf(i32.eqz(s.load32('fastEvents')));
  s.refuseIf(s.isOtherMode(s.let32(s.load32('modeKey'))));
  // A gate that lies across two pages is left to the other path as well.
  const { place, low, high } = s.readGate(GATE_BYTES, () => s.refuseIf(i32.and(f.get(host), i32.const(GATE_BYTES - 1))));
  const middle = i32.or(i32.and(f.get(low), i32.const(0xffff)), i32.and(f.get(high), i32.const(~0xffff)));
  const target = s.let(i64.or(i64.extend_i32_u(middle), i64.shl(i64.load32_u(f.get(host), 8), i64.const(32))));
  s.refuseIf(i32.eqz(f.call(memory.canonical, f.get(target))));

  // Its code segment: flat, 64-bit, DPL 0, not conforming, in the GDT.
  const selector = s.let32(i32.shr_u(f.get(low), i32.const(16)));
  s.expectFlat(selector, CODE64_HIGH);

  // The stack: by the gate's IST, by privilege, or the one in use; aligned to 16 (SDM vol. 3 §6.14.2 to §6.14.5).
  const inner = s.let32(i32.eq(s.load32('cpl'), i32.const(3)));
  const stack = s.let(s.load64(CPU.offset.gpr + 8 * Reg.RSP));
  const ist = s.let32(i32.and(f.get(high), i32.const(7)));
  f.if(i32.or(f.get(ist), f.get(inner)), () => {
    const field = f.select(i32.add(i32.shl(f.get(ist), i32.const(3)), i32.const(0x1c)), i32.const(4), f.get(ist));
    f.set(place, field);
    s.refuseIf(i32.gt_u(i32.add(f.get(place), i32.const(7)), i32.load(s.cpu(), CPU.offset.segLimit + 4 * Seg.TR)));
    s.findHost(i64.add(s.load64(CPU.offset.segBase + 8 * Seg.TR), i64.extend_i32_u(f.get(place))), 0);
    f.set(stack, i64.load(f.get(host)));
  });
  f.set(stack, i64.and(f.get(stack), i64.const(-16)));
  const hasError = s.let32(i32.ge_s(f.get(s.error), i32.const(0)));
  const bytes = (): I64 => f.select(i64.const(48), i64.const(40), f.get(hasError));
  const bottom = s.findStack(stack, bytes);

  // From here on nothing can go wrong.
  f.if(f.get(hasError), () => {
    i64.store(f.get(host), i64.extend_i32_u(f.get(s.error)));
    f.set(host, i32.add(f.get(host), i32.const(8)));
  });
  const image = s.let32(s.flagsImage(f.get(s.extra)));
  const pushed = [
    () => f.get(s.rip),
    () => i64.load16_u(s.cpu(), CPU.offset.segSel + 2 * Seg.CS),
    () => i64.extend_i32_u(f.get(image)),
    () => s.load64(CPU.offset.gpr + 8 * Reg.RSP),
    () => i64.load16_u(s.cpu(), CPU.offset.segSel + 2 * Seg.SS),
  ];
  pushed.forEach((word, n) => i64.store(f.get(host), word(), 8 * n));
  i64.store(s.cpu(), f.get(bottom), CPU.offset.gpr + 8 * Reg.RSP);
  loadFlat(s, Seg.CS, i32.and(f.get(selector), i32.const(0xfffc)), CODE64);
  f.if(f.get(inner), () => {
    // A new stack at a new privilege has a null SS (SDM vol. 3 §6.14.4).
    loadFlat(s, Seg.SS, i32.const(0), 0);
    switchPrivilege(s, false);
  });
  s.enterHandler(high, target);
  i32.const(1);
  return f.ref();
}

function addDeliverInterrupt(module: ModuleBuilder, io: CoreImports, deliver: Deliver): Delivery['deliverInterrupt'] {
  const f = module.function('deliverInterrupt', ['i32'], ['i32']);
  const rip = f.i64;
  const vector = f.get(f.param(0, 'i32'));
  const noError = f.i32.const(-1);
  f.call(deliver, vector, noError, rip.load(f.globalGet(io.cpu), CPU.offset.rip), f.i32.const(0), f.i32.const(0));
  return f.ref();
}

function addDeliverSoftware(module: ModuleBuilder, deliver: Deliver): Delivery['deliverSoftware'] {
  const f = module.function('deliverSoftware', ['i32', 'i64'], ['i32']);
  const [vector, rip] = [f.param(0, 'i32'), f.param(1, 'i64')];
  f.call(deliver, f.get(vector), f.i32.const(-1), f.get(rip), f.i32.const(0), f.i32.const(1));
  return f.ref();
}

function addDeliverFault(module: ModuleBuilder, io: CoreImports, deliver: Deliver): Delivery['deliverFault'] {
  const f = module.function('deliverFault', ['i32'], ['i32']);
  const record = f.param(0, 'i32');
  const s = new CoreState(f, io);
  const { i32, i64 } = f;
  const vector = s.let32(s.load32('faultVector'));
  // A resync came the same way; NON_CANONICAL is for the run loop to make out.
  const notFault = i32.ne(s.load32('exitReason'), i32.const(Exit.Fault));
  f.if(i32.or(notFault, i32.gt_u(f.get(vector), i32.const(LAST_EXCEPTION))), () => f.return(i32.const(-1)));
  const rip = s.let(s.load64(CPU.offset.rip));
  const offset = (): I64 => i64.and(i64.load16_u(f.get(record), Record.place), i64.const(PAGE - 1));
  f.if(f.get(record), () => f.set(rip, i64.add(s.load64(CPU.offset.pageRip), offset())));
  const error = s.let32(f.select(s.load32('faultError'), i32.const(-1), s.load32('faultHasError')));
  const trap = (): I32 => i32.and(i32.shr_u(i32.const(WITHOUT_RF), f.get(vector)), i32.const(1));
  const extra = s.let32(f.select(i32.const(0), i32.const(Rflags.RF), trap()));
  const delivered = f.call(deliver, f.get(vector), f.get(error), f.get(rip), f.get(extra), i32.const(0));
  f.if(i32.eqz(delivered), () => f.return(i32.const(-1)));
  const count = s.let32(i32.add(s.load32('deliveries'), i32.const(1)));
  s.store32('deliveries', () => f.get(count));
  f.if(i32.eqz(i32.and(f.get(count), i32.const(DELIVERIES_PER_CALL - 1))), () =>
    s.store32('exitRequest', () => i32.const(ExitRequest.LOOK)),
  );
  f.if(i32.eqz(f.get(record)), () => f.return(i32.const(0)));

  // What a header counted and did not run: see Translator.remaining.
  const header = s.let32(f.get(record));
  f.loop((again) =>
    f.if(i32.shr_u(i32.load16_u(f.get(header), Record.place), i32.const(12)), () => {
      f.set(header, i32.sub(f.get(header), i32.const(Record.size)));
      f.br(again);
    }),
  );
  f.if(i32.eq(f.get(header), f.get(record)), () => f.return(i32.const(0)));
  const before = (): I32 => i32.sub(i32.div_u(i32.sub(f.get(record), f.get(header)), i32.const(Record.size)), i32.const(1));
  f.set(count, i32.sub(i32.load(f.get(header), Record.b), before()));
  f.select(f.get(count), i32.const(0), i32.gt_s(f.get(count), i32.const(0)));
  return f.ref();
}

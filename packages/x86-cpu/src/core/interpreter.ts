/**
 * The interpreter: one function, a `loop` around a `br_table` on the record's handler number. Hot forms are cases of it; a handler
 * number beyond them is a slot of the function table. A function per form instead (tail calls) ran at a third of this speed, because
 * each handler then pays a frame, a stack check and a signature check.
 */
import type { FuncRef, FunctionBuilder, I32, I64, Label, ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { Helpers } from '../emit/emitter.ts';
import { InlineEmitter, Status } from '../emit/interpreter.ts';
import type { Form } from '../form.ts';
import { reachesMemory } from '../form.ts';
import type { HotPair } from '../records/hot-pairs.ts';
import type { SemanticsTable } from '../semantics/types.ts';
import { CPU, Exit, JUMP_CACHE, Record as R } from '../state.ts';
import type { Delivery } from './deliver.ts';
import type { CoreImports } from './imports.ts';
import { jumpIndex } from './lookup.ts';

/** Handlers that are no instruction. */
export const Handler = {
  /** Never dispatched; what cleared memory holds. */
  Invalid: 0,
  /** Starts a block: counts its instructions against the budget and looks for events. */
  Header: 1,
  /** As Header, for a block whose one instruction crosses into another page: that page must still be mapped as translated. */
  CrossingHeader: 2,
  /** A direct branch not yet followed, within the page. */
  Link: 3,
  /** A direct branch to another page: `imm` is the target's offset from the page's RIP, `shift` 32 outside 64-bit mode (48 for 16 bits). */
  Cross: 4,
  /** Code that was written to: leaves to have it translated again. */
  Stale: 5,
  /** An exception known at translation: vector `a`, error code `b`. */
  Raise: 6,
  /** Goes on at record `imm`: fall-through into a neighbouring block, or a replaced one. */
  Goto: 7,
  /** An instruction the engine refuses to run rather than run wrongly. */
  Refuse: 8,
} as const;
export const FIRST_CASE = 9;
/** Handler numbers from here on are compiled regions. */
export const FIRST_REGION = 0x4000;

/** Function-table slot of handler n is n: cases leave theirs empty. */
export const HANDLER_TYPE = { params: ['i32'], results: ['i32'] } as const;

/**
 * `chain() → status`: from one compiled region to the next: goes on at `CPU.rip` if that is a region's, as the jump cache has it; else
 * `Status.Jump`.
 */
export function addChain(module: ModuleBuilder, io: CoreImports): FunctionBuilder {
  const f = module.function('chain', [], HANDLER_TYPE.results);
  const rip = f.local('i64');
  const entry = f.local('i32');
  const record = f.local('i32');
  const handler = f.local('i32');
  const index = f.local('i32');
  const guess = f.local('i32');
  const cpu = (): I32 => f.globalGet(io.cpu);
  f.set(rip, f.i64.load(cpu(), CPU.offset.rip));
  f.set(index, jumpIndex(f, rip));
  f.set(entry, f.i32.add(f.globalGet(io.jumpCache), f.get(index)));
  f.set(guess, f.i32.add(f.globalGet(io.jumpCache), f.i32.shr_u(f.get(index), f.i32.const(3))));
  const sameRip = f.i64.eq(f.i64.load(f.get(entry)), f.get(rip));
  const sameTag = f.i32.eq(f.i32.load(f.get(entry), 12), f.i32.load(cpu(), CPU.offset.jumpTag));
  f.if(f.i32.and(sameRip, sameTag), () => {
    f.set(record, f.i32.load(f.get(entry), 8));
    // The header is seldom in the host's first-level cache. By the handler that it had the last time the host goes on to the region, and learns meanwhile
    // that it still has that one.
    const real = (): I32 => f.i32.load16_u(f.get(record), R.handler);
    f.set(handler, f.i32.load16_u(f.get(guess), JUMP_CACHE.handlers));
    f.if(f.i32.ne(f.get(handler), real()), () => {
      f.set(handler, real());
      f.i32.store16(f.get(guess), f.get(handler), JUMP_CACHE.handlers);
    });
    f.if(f.i32.ge_u(f.get(handler), f.i32.const(FIRST_REGION)), () => {
      const offset = (): I64 => f.i64.and(f.i64.load16_u(f.get(record), R.place), f.i64.const(0xfff));
      const page = f.local('i64');
      f.set(page, f.i64.sub(f.get(rip), offset()));
      f.i64.store(cpu(), f.get(page), CPU.offset.pageRip);
      f.returnCallIndirect(HANDLER_TYPE, [f.get(record)], f.get(handler));
    });
  });
  f.i32.const(Status.Jump);
  return f;
}

export function addInterpreter(
  module: ModuleBuilder,
  io: CoreImports,
  helpers: Helpers,
  resolve: FuncRef<[I64], I32>,
  checkCrossing: FuncRef<[I32], I32>,
  { deliverFault }: Delivery,
  forms: readonly Form[],
  pairs: readonly HotPair[],
  semantics: SemanticsTable,
): FunctionBuilder {
  const f = module.function('interpret', ['i32'], []);
  const budget = f.param(0, 'i32');
  const cpu = f.local('i32');
  const record = f.local('i32');
  const result = f.local('i64');
  const carry = f.local('i64');
  const target = f.local('i64');
  const entry = f.local('i32');
  const status = f.local('i32');
  const before = f.local('i32');

  const loadFlags = (): void => {
    f.set(result, f.i64.load(f.get(cpu), CPU.offset.flagResult));
    f.set(carry, f.i64.load(f.get(cpu), CPU.offset.flagCarry));
  };
  const storeFlags = (): void => {
    f.i64.store(f.get(cpu), f.get(result), CPU.offset.flagResult);
    f.i64.store(f.get(cpu), f.get(carry), CPU.offset.flagCarry);
  };
  /** RIP of a record's instruction, not cut to the mode's width: the run loop does that. */
  const ripOfRecord = (): I64 => {
    const offset = f.i64.and(f.i64.load16_u(f.get(record), R.place), f.i64.const(0xfff));
    return f.i64.add(offset, f.i64.load(f.get(cpu), CPU.offset.pageRip));
  };
  const leave = (reason: number, exit: Label): void => {
    f.i32.store(f.get(cpu), f.i32.const(reason), CPU.offset.exitReason);
    f.br(exit);
  };

  /** Counts a header down; at zero the translator may have another handler for it. */
  const countHeat = (jump: Label): void => {
    f.set(entry, f.i32.sub(f.i32.load(f.get(record), R.disp), f.i32.const(1)));
    f.i32.store(f.get(record), f.get(entry), R.disp);
    f.if(f.i32.eqz(f.get(entry)), () => {
      f.call(io.hot, f.get(record));
      f.br(jump);
    });
  };

  /** Takes a block's instructions off the budget. */
  const takeBlock = (): void => f.set(budget, f.i32.sub(f.get(budget), f.i32.load(f.get(record), R.b)));

  /** The same; leaves before the block when the budget is used up or an event waits. */
  const countBlock = (exit: Label): void => {
    takeBlock();
    const events = f.i32.or(f.get(budget), f.i32.load(f.get(cpu), CPU.offset.exitRequest));
    f.if(f.i32.lt_s(events, f.i32.const(0)), () => {
      const usedUp = f.i32.lt_s(f.get(budget), f.i32.const(0));
      f.if(f.i32.or(usedUp, f.i32.eqz(f.call(helpers.standAside))), () => {
        f.set(budget, f.i32.add(f.get(budget), f.i32.load(f.get(record), R.b)));
        f.i64.store(f.get(cpu), ripOfRecord(), CPU.offset.rip);
        f.i32.store(f.get(cpu), f.i32.const(0), CPU.offset.exitRecord);
        leave(Exit.Budget, exit);
      });
    });
  };

  /** Leaves before a block that crosses pages if the second one is not what it was translated from. */
  const crossInto = (fault: Label): void =>
    f.if(f.i32.eqz(f.call(checkCrossing, f.get(record))), () => {
      f.i64.store(f.get(cpu), ripOfRecord(), CPU.offset.rip);
      f.set(record, f.i32.const(0));
      f.br(fault);
    });

  /** Jump cache: the record of `target` under the present mode and mappings; 0 if fetching it faulted. */
  const find = (): void => {
    f.set(entry, f.i32.add(f.globalGet(io.jumpCache), jumpIndex(f, target)));
    const sameRip = f.i64.eq(f.i64.load(f.get(entry)), f.get(target));
    const sameTag = f.i32.eq(f.i32.load(f.get(entry), 12), f.i32.load(f.get(cpu), CPU.offset.jumpTag));
    f.if(
      f.i32.and(sameRip, sameTag),
      () => {
        f.set(record, f.i32.load(f.get(entry), 8));
        // The page's RIP is the target less its offset in the page, which the header holds: CS may have an unaligned base.
        const offset = (): I64 => f.i64.and(f.i64.load16_u(f.get(record), R.place), f.i64.const(0xfff));
        f.i64.store(f.get(cpu), f.i64.sub(f.get(target), offset()), CPU.offset.pageRip);
      },
      () => f.set(record, f.call(resolve, f.get(target))),
    );
  };

  f.set(cpu, f.globalGet(io.cpu));
  loadFlags();
  f.set(target, f.i64.load(f.get(cpu), CPU.offset.rip));
  f.block((exit) => {
    f.loop((enter) => {
      f.block((fault) => {
        find();
        f.brIf(fault, f.i32.eqz(f.get(record)));
        // Jumps come here rather than to the dispatch: nearly every target is a header, and testing for it costs less than
        // dispatching it.
        const jump = f.openLoop();
        f.if(f.i32.eq(f.i32.load16_u(f.get(record), R.handler), f.i32.const(Handler.Header)), () => {
          countHeat(jump);
          countBlock(exit);
          f.set(record, f.i32.add(f.get(record), f.i32.const(R.size)));
        });
        f.loop((dispatch) => {
          const emitter = new InlineEmitter(f, helpers, { cpu, record, result, carry, target }, { dispatch, jump, enter, fault });
          const next = (): void => {
            f.set(record, f.i32.add(f.get(record), f.i32.const(R.size)));
            f.br(dispatch);
          };
          const emit = (form: Form): void => {
            emitter.begin(form);
            semantics[form.sem](emitter);
          };
          const special: Record<number, () => void> = {
            [Handler.Invalid]: () => f.unreachable(),
            // A block that falls into the next one reaches its header here.
            [Handler.Header]: () => f.br(jump),
            [Handler.CrossingHeader]: () => {
              crossInto(fault);
              countBlock(exit);
              next();
            },
            [Handler.Link]: () => {
              f.set(record, f.call(io.link, f.get(record)));
              f.brIf(fault, f.i32.eqz(f.get(record)));
              f.br(jump);
            },
            [Handler.Cross]: () => {
              const sum = f.i64.add(f.i64.load(f.get(record), R.imm), f.i64.load(f.get(cpu), CPU.offset.pageRip));
              const shift = (): I64 => f.i64.load8_u(f.get(record), R.shift);
              f.set(target, f.i64.shr_u(f.i64.shl(sum, shift()), shift()));
              f.br(enter);
            },
            [Handler.Stale]: () => {
              f.i32.store(f.get(cpu), f.get(record), CPU.offset.exitRecord);
              leave(Exit.Resync, exit);
            },
            [Handler.Raise]: () => {
              f.call(helpers.raise, f.i32.load(f.get(record), R.a), f.i32.load(f.get(record), R.b));
              f.br(fault);
            },
            [Handler.Goto]: () => {
              f.set(record, f.i32.load(f.get(record), R.imm));
              f.br(jump);
            },
            [Handler.Refuse]: () => {
              f.i32.store(f.get(cpu), f.get(record), CPU.offset.exitRecord);
              leave(Exit.Refused, exit);
            },
          };
          const firstPair = FIRST_CASE + forms.length;
          const cases = firstPair + pairs.length;
          const blocks: Label[] = [];
          for (let n = 0; n <= cases; n++) blocks.push(f.openBlock());
          // The innermost block is case 0: labels are opened outermost (default) first.
          const labels = blocks.slice(1).reverse();
          f.brTable(labels, blocks[0], f.i32.load16_u(f.get(record), R.handler));
          for (let n = 0; n < cases; n++) {
            f.closeBlock();
            if (n < FIRST_CASE) {
              special[n]();
              continue;
            }
            if (n < firstPair) emit(forms[n - FIRST_CASE]);
            else {
              const { first, second } = pairs[n - firstPair];
              emit(first);
              f.set(record, f.i32.add(f.get(record), f.i32.const(R.size)));
              // The first may have changed the second's code, or waited while another processor did.
              const stale = (): I32 => f.i32.eq(f.i32.load16_u(f.get(record), R.handler), f.i32.const(Handler.Stale));
              if (reachesMemory(first)) f.if(f.unlikely(stale()), () => f.br(dispatch));
              emit(second);
            }
            if (!emitter.ended) emitter.next();
          }
          f.closeBlock();
          callHandler(jump, enter, fault, exit, next);
        });
        f.closeBlock();
        f.unreachable();
      });
      // A fault at `record`, or with 0 at `CPU.rip`; or the translator wants the run loop.
      storeFlags();
      // The others go on before anything else happens: the handler may be waiting for them.
      f.if(f.i32.load(f.get(cpu), CPU.offset.exclusive), () => f.call(helpers.exclusiveLeave));
      f.set(entry, f.call(deliverFault, f.get(record)));
      f.if(f.i32.ge_s(f.get(entry), f.i32.const(0)), () => {
        f.set(budget, f.i32.add(f.get(budget), f.get(entry)));
        f.set(target, f.i64.load(f.get(cpu), CPU.offset.rip));
        f.br(enter);
      });
    });
    f.i32.store(f.get(cpu), f.get(record), CPU.offset.exitRecord);
  });
  storeFlags();
  f.i32.store(f.get(cpu), f.get(budget), CPU.offset.budget);

  /** The default case: a form that is a function of its own. Its flags are in the state. */
  function callHandler(jump: Label, enter: Label, fault: Label, exit: Label, next: () => void): void {
    storeFlags();
    // A compiled region counts its blocks itself.
    f.i32.store(f.get(cpu), f.get(budget), CPU.offset.budget);
    f.set(before, f.get(budget));
    f.set(status, f.callIndirect(HANDLER_TYPE, [f.get(record)], f.i32.load16_u(f.get(record), R.handler)));
    f.set(budget, f.i32.load(f.get(cpu), CPU.offset.budget));
    loadFlags();
    f.if(f.i32.eqz(f.get(status)), next);
    // From here on it was a region, or several that chained, or a form that leaves: that one has not touched the budget.
    const spent = (): I64 => f.i64.extend_i32_u(f.i32.sub(f.get(before), f.get(budget)));
    f.i64.store(f.get(cpu), f.i64.add(f.i64.load(f.get(cpu), CPU.offset.compiled), spent()), CPU.offset.compiled);
    f.if(f.i32.eq(f.get(status), f.i32.const(Status.Record)), () => {
      f.set(record, f.i32.load(f.get(cpu), CPU.offset.exitRecord));
      f.br(jump);
    });
    f.if(f.i32.eq(f.get(status), f.i32.const(Status.Jump)), () => {
      f.set(target, f.i64.load(f.get(cpu), CPU.offset.rip));
      f.br(enter);
    });
    f.if(f.i32.eq(f.get(status), f.i32.const(Status.Leave)), () => {
      // An instruction that cannot be fetched faults before it gives way to anything: as where the interpreter counts a block. A halted
      // processor fetches nothing.
      f.if(f.i32.eqz(f.i32.load(f.get(cpu), CPU.offset.halted)), () =>
        f.brIf(exit, f.i32.eqz(f.call(resolve, f.i64.load(f.get(cpu), CPU.offset.rip)))),
      );
      f.i32.store(f.get(cpu), f.i32.const(0), CPU.offset.exitRecord);
      leave(Exit.Budget, exit);
    });
    const interpreted = f.i32.eq(f.get(status), f.i32.const(Status.Interpret));
    f.if(f.i32.or(interpreted, f.i32.eq(f.get(status), f.i32.const(Status.Moved))), () => {
      f.set(target, f.i64.load(f.get(cpu), CPU.offset.rip));
      find();
      f.brIf(fault, f.i32.eqz(f.get(record)));
      const handler = (): I32 => f.i32.load16_u(f.get(record), R.handler);
      // The jump cache may lead to a header that the block had before it was translated again. To dispatch that would be to enter the region again.
      f.loop((again) =>
        f.if(f.i32.eq(handler(), f.i32.const(Handler.Goto)), () => {
          f.set(record, f.i32.load(f.get(record), R.imm));
          f.br(again);
        }),
      );
      f.if(f.i32.eq(handler(), f.i32.const(Handler.Stale)), () => {
        f.set(record, f.call(resolve, f.get(target)));
        f.brIf(fault, f.i32.eqz(f.get(record)));
      });
      f.if(f.i32.eq(handler(), f.i32.const(Handler.CrossingHeader)), () => crossInto(fault));
      // The block may be a region's, the one that has just left for it.
      f.if(
        f.i32.eq(f.get(status), f.i32.const(Status.Moved)),
        () => countBlock(exit),
        // Whatever waits: the region may have found out already that its store is one, and a page is dirty.
        takeBlock,
      );
      next();
    });
    f.if(f.i32.eq(f.get(status), f.i32.const(Status.FaultAt)), () => f.set(record, f.i32.const(0)));
    f.br(fault);
  }
  return f;
}

/**
 * How processors on several threads make one another stand still for an instruction, without leaving generated code: the protocol is vmm-core's
 * (src/threads/world-protocol.ts), the words are those of ports.ts, `ExclusiveWords`. Whatever would have to sleep, or to serve a request, is left to
 * `ExclusiveAccess`.
 */
import type { FuncRef, FunctionBuilder, I32, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { CPU, ExitRequest } from '../state.ts';
import { CoreState } from './core-state.ts';
import type { CoreImports } from './imports.ts';
import { exchanged, wakeAll } from './shared-words.ts';

export type ExclusivityFunctions = {
  /** () returns when all other processors stand still. */
  readonly exclusiveEnter: FuncRef<[], void>;
  readonly exclusiveLeave: FuncRef<[], void>;
  /**
   * () at an instruction boundary, with `exitRequest` negative: 1 if that was for another processor's exclusivity alone, which is over now. Else generated
   * code has to be left.
   */
  readonly standAside: FuncRef<[], I32>;
};

const INSIDE = 1;
const SLEEPERS = 2;
const APPLIED_SHIFT = 2;

export function addExclusivity(module: ModuleBuilder, io: CoreImports): ExclusivityFunctions {
  return {
    exclusiveEnter: addEnter(module, io, addStopOthers(module, io)),
    exclusiveLeave: addLeave(module, io),
    standAside: addStandAside(module, io),
  };
}

const standAside = (f: FunctionBuilder) => (): I32 => f.i32.const(ExitRequest.STAND_ASIDE);
const none = (f: FunctionBuilder) => (): I32 => f.i32.const(0);

/** Looks whether a condition still holds, as often as `looks` says and no oftener. */
function lookWhile(f: FunctionBuilder, looks: Local<I32>, holds: () => I32, giveUp: () => void): void {
  f.loop((look) => {
    f.if(f.i32.eqz(f.get(looks)), giveUp);
    f.set(looks, f.i32.sub(f.get(looks), f.i32.const(1)));
    f.brIf(look, holds());
  });
}

/** () asks all others to stand still; 1 when they do, 0 if it takes so long that the thread should rather sleep. */
function addStopOthers(module: ModuleBuilder, io: CoreImports): FuncRef<[], I32> {
  const f = module.function('stopOthers', [], ['i32']);
  const s = new CoreState(f, io);
  const { i32 } = f;
  const [other, request, looks] = [f.local('i32'), f.local('i32'), f.local('i32')];
  const isInside = (): I32 => i32.and(i32.atomic_load(f.get(other)), i32.const(INSIDE));
  const forEachOther = (body: () => void): void => {
    f.set(other, s.load32('stateWords'));
    f.loop((next) => {
      f.if(i32.ne(f.get(other), s.load32('stateWord')), () => f.if(isInside(), body));
      f.set(other, i32.add(f.get(other), s.load32('stateBytes')));
      f.brIf(next, i32.ne(f.get(other), s.load32('stateWordsEnd')));
    });
  };
  // All are asked before any is waited for.
  forEachOther(() => {
    f.set(request, i32.atomic_load(f.get(other), 4));
    f.if(f.get(request), () => f.drop(exchanged(f, () => f.get(request), none(f), standAside(f))));
  });
  f.set(looks, s.load32('looks'));
  forEachOther(() => lookWhile(f, looks, isInside, () => f.return(i32.const(0))));
  i32.const(1);
  return f.ref();
}

const wordsOf = (s: CoreState) => ({
  word: () => s.load32('exclusiveWord'),
  mine: () => s.load32('exclusiveId'),
});

function addEnter(module: ModuleBuilder, io: CoreImports, stopOthers: FuncRef<[], I32>): FuncRef<[], void> {
  const f = module.function('exclusiveEnter', [], []);
  const s = new CoreState(f, io);
  const { word, mine } = wordsOf(s);
  const noteEntry = (): void => {
    s.store32('exclusives', () => f.i32.add(s.load32('exclusives'), f.i32.const(1)));
    s.store32('exclusive', () => f.i32.const(1));
  };
  f.if(word(), () =>
    f.if(exchanged(f, word, none(f), mine), () => {
      noteEntry();
      // Who stays inside while it waits for all others is in nobody's way: those who wait are outside.
      f.if(f.i32.eqz(f.call(stopOthers)), () => f.call(io.exclusiveWait));
      f.return();
    }),
  );
  f.call(io.exclusiveEnter);
  noteEntry();
  return f.ref();
}

function addLeave(module: ModuleBuilder, io: CoreImports): FuncRef<[], void> {
  const f = module.function('exclusiveLeave', [], []);
  const s = new CoreState(f, io);
  const { word, mine } = wordsOf(s);
  s.store32('exclusive', () => f.i32.const(0));
  f.if(word(), () => f.if(exchanged(f, word, mine, none(f)), () => f.return()));
  // Somebody sleeps until then.
  f.call(io.exclusiveLeave);
  return f.ref();
}

function addStandAside(module: ModuleBuilder, io: CoreImports): FuncRef<[], I32> {
  const f = module.function('standAside', [], ['i32']);
  const s = new CoreState(f, io);
  const { i32 } = f;
  const [state, looks] = [f.local('i32'), f.local('i32')];
  const exclusive = (): I32 => i32.atomic_load(s.load32('exclusiveWord'));
  const leaveIf = (condition: I32): void => f.if(condition, () => f.return(i32.const(0)));
  const setState = (): void => {
    const before = i32.atomic_xchg(s.load32('stateWord'), f.get(state));
    f.if(i32.and(before, i32.const(SLEEPERS)), () => wakeAll(f, s.load32('stateWord')));
  };
  leaveIf(i32.eqz(s.load32('exclusiveWord')));
  // What else there may be to look for was asked for by another value, or is from now on.
  const request = (): I32 => i32.add(s.cpu(), i32.const(CPU.offset.exitRequest));
  leaveIf(i32.eqz(exchanged(f, request, standAside(f), none(f))));
  f.set(state, i32.and(i32.atomic_load(s.load32('stateWord')), i32.const(~SLEEPERS)));
  f.loop((again) => {
    leaveIf(i32.ne(i32.atomic_load(s.load32('headWord')), i32.shr_s(f.get(state), i32.const(APPLIED_SHIFT))));
    f.if(i32.eqz(exclusive()), () => f.return(i32.const(1)));
    f.set(state, i32.and(f.get(state), i32.const(~INSIDE)));
    setState();
    f.set(looks, s.load32('looks'));
    lookWhile(f, looks, exclusive, () => {
      f.call(io.enterGuest);
      f.return(i32.const(0));
    });
    f.set(state, i32.or(f.get(state), i32.const(INSIDE)));
    setState();
    f.br(again);
  });
  f.unreachable();
  return f.ref();
}

/**
 * 32-bit programs run twice: with what generated code does by itself, and with all of that left to TypeScript. The processor and its memory must
 * end up the same.
 */
import { expect } from 'vitest';
import { Rflags } from '../../src/index.ts';
import type { EngineOptions } from './engine.ts';
import { picture } from './picture.ts';
import { Place, ProtectedModeMachine } from './protected-mode.ts';

export type Setup = (machine: ProtectedModeMachine) => void;
export type Scenario = {
  readonly user?: boolean;
  readonly program?: string;
  readonly setup?: Setup | undefined;
  /** Whether generated code has to do it, or has not to; not given, either is right. */
  readonly usual?: boolean | undefined;
};

export const all = (...setups: Setup[]): Setup => {
  return (machine) => {
    for (const setup of setups) setup(machine);
  };
};
export const flags = (image: number): Setup => {
  return (machine) => {
    machine.processor.context.rflags = image | Rflags.FIXED;
  };
};
export const descriptorAt = (selector: number, value: bigint): Setup => {
  return (machine) => machine.setU64(Place.gdt + (selector & ~7), value);
};

const RANGES = [
  [Place.gdt, Place.table + 0x1000],
  [Place.data, Place.data + 0x100],
  ...[Place.stack, Place.esp0, Place.userStack].map((top) => [top - 0x1100, top + 0x100] as const),
] as const;

/** What follows from the mode, which must be as `updateMode` has it. */
function derived({ state }: ProtectedModeMachine): object {
  const { modeKey, jumpTag, stackMask, tlbRead, tlbWrite, tlbFetch, mmuAccess } = state;
  const pair = state.fastFlat32 ? [state.userKey, state.kernelKey, state.userTag, state.kernelTag] : [];
  return { modeKey, jumpTag, stackMask, tlbRead, tlbWrite, tlbFetch, mmuAccess, pair };
}

/** What TypeScript did for generated code. */
function left(machine: ProtectedModeMachine): number {
  const { exits, system } = machine.processor.stats();
  return exits + system;
}

/** Runs a program both ways; returns the machine whose generated code was free to do what it can. */
export function bothWays(tier: EngineOptions, { user = false, program = '0f 0b', setup, usual }: Scenario): ProtectedModeMachine {
  const run = (shortcuts: boolean) => {
    const machine = new ProtectedModeMachine(tier);
    const { context } = machine.processor;
    context.shortcuts = shortcuts;
    machine.load(program, user ? Place.user : Place.code);
    if (user) machine.enterUser();
    setup?.(machine);
    context.updateMode();
    return { machine, picture: picture(machine, machine.run(10_000), RANGES) };
  };
  const [own, general] = [run(true), run(false)];
  expect(own.picture).toEqual(general.picture);
  if (usual !== undefined) expect(left(own.machine) < left(general.machine)).toBe(usual);
  const before = derived(own.machine);
  own.machine.processor.context.updateMode();
  expect(derived(own.machine)).toEqual(before);
  return own.machine;
}

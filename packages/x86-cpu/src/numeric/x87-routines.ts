/** The x87 routines, as emitters find them in `Helpers.routines`. */
import type { FuncRef, GlobalRef, I32, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { addArithmetic } from './x87-arith.ts';
import { addCompare } from './x87-compare.ts';
import { addControl } from './x87-control.ts';
import { addConversions } from './x87-convert.ts';
import { Routines } from './x87-kit.ts';
import { addLogarithms } from './x87-log.ts';
import { addRemainder } from './x87-remainder.ts';
import { addRounding } from './x87-round.ts';
import { addCommit } from './x87-stack.ts';
import { addStackArithmetic } from './x87-stack-arith.ts';
import { addStackComparisons } from './x87-stack-compare.ts';
import { addStackMoves } from './x87-stack-move.ts';
import { addTranscendental } from './x87-transcendental.ts';
import { addTrigonometry } from './x87-trig.ts';
import { addWide } from './x87-wide.ts';

/** Defines the x87 routines in `module`; `cpu` holds the address of the processor state. Names start with `x87.`. */
export function addX87Routines(module: ModuleBuilder, cpu: GlobalRef<I32>): Map<string, FuncRef<never, unknown>> {
  const r = new Routines(module, cpu);
  addRounding(r);
  addArithmetic(r);
  addRemainder(r);
  addConversions(r);
  addCompare(r);
  addWide(r);
  addTrigonometry(r);
  addLogarithms(r);
  addCommit(r);
  addStackArithmetic(r);
  addStackMoves(r);
  addStackComparisons(r);
  addTranscendental(r);
  addControl(r);
  return r.map;
}

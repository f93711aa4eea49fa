import { arithmeticSemantics } from './arithmetic.ts';
import { bitSemantics } from './bits.ts';
import { branchSemantics } from './branch.ts';
import { moveSemantics } from './move.ts';
import { multiplySemantics } from './multiply.ts';
import { shiftSemantics } from './shift.ts';
import { sseSemantics } from './sse.ts';
import { stackSemantics } from './stack.ts';
import { stringSemantics } from './string.ts';
import { systemSemantics } from './system.ts';
import type { SemanticsTable } from './types.ts';
import { vexSemantics } from './vex.ts';
import { x87Semantics } from './x87.ts';

/** The semantics of every instruction the engine has, by the opcode table's `sem` key. */
export const semantics: SemanticsTable = {
  ...arithmeticSemantics,
  ...bitSemantics,
  ...branchSemantics,
  ...moveSemantics,
  ...multiplySemantics,
  ...shiftSemantics,
  ...stackSemantics,
  ...stringSemantics,
  ...systemSemantics,
  ...sseSemantics,
  ...vexSemantics,
  ...x87Semantics,
};

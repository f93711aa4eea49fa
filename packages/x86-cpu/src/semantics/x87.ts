/** The semantics of the x87 instructions. */
import type { SemanticsTable } from './types.ts';
import { x87ArithmeticSemantics } from './x87-arithmetic.ts';
import { x87ControlSemantics } from './x87-control.ts';
import { x87MoveSemantics } from './x87-move.ts';

export const x87Semantics: SemanticsTable = { ...x87ArithmeticSemantics, ...x87MoveSemantics, ...x87ControlSemantics };

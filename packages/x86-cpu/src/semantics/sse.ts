/** The semantics of MMX, SSE and what followed, by topic. */
import { sseCompareSemantics } from './sse-compare.ts';
import { sseConvertSemantics } from './sse-convert.ts';
import { sseFloatSemantics } from './sse-float.ts';
import { sseIntegerSemantics } from './sse-int.ts';
import { sseMoveSemantics } from './sse-move.ts';
import { sseShuffleSemantics } from './sse-shuffle.ts';
import { sseStateSemantics } from './sse-state.ts';
import type { SemanticsTable } from './types.ts';

export const sseSemantics: SemanticsTable = {
  ...sseMoveSemantics,
  ...sseIntegerSemantics,
  ...sseShuffleSemantics,
  ...sseFloatSemantics,
  ...sseConvertSemantics,
  ...sseCompareSemantics,
  ...sseStateSemantics,
};

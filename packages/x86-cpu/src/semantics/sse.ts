/** The semantics of MMX, SSE and what followed, by topic. */
import { sseCompareSemantics } from './sse-compare.ts';
import { sseConvertSemantics } from './sse-convert.ts';
import { sseCryptoSemantics } from './sse-crypto.ts';
import { sseFloatSemantics } from './sse-float.ts';
import { sseIntegerSemantics } from './sse-int.ts';
import { sseMoveSemantics } from './sse-move.ts';
import { sseShuffleSemantics } from './sse-shuffle.ts';
import { sseStateSemantics } from './sse-state.ts';
import { sse3Semantics } from './sse3.ts';
import { sse41Semantics } from './sse41.ts';
import { sse42Semantics } from './sse42.ts';
import type { SemanticsTable } from './types.ts';
import { xsaveSemantics } from './xsave.ts';

export const sseSemantics: SemanticsTable = {
  ...sseMoveSemantics,
  ...sseIntegerSemantics,
  ...sseShuffleSemantics,
  ...sseFloatSemantics,
  ...sseConvertSemantics,
  ...sseCompareSemantics,
  ...sseStateSemantics,
  ...sse3Semantics,
  ...sse41Semantics,
  ...sse42Semantics,
  ...sseCryptoSemantics,
  ...xsaveSemantics,
};

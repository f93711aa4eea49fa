/** MMX, SSE and VEX rows of all maps. */
import type { OpcodeRow } from './opcodes.ts';

export function simdRows(): OpcodeRow[] {
  return [];
}

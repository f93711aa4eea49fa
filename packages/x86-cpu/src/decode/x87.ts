/** x87 escapes D8–DF (SDM vol. 2, tables; APM vol. 3, table A-15). */
import type { OpcodeRow } from './opcodes.ts';

export function x87Rows(): OpcodeRow[] {
  return [];
}

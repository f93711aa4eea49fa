/** What the rest of the package takes from the decoder. */
export { decode, LOOKAHEAD } from './decoder.ts';
export { BASE_RIP, DecodeStatus, Insn, OperandKind, SegmentNumber } from './instruction.ts';
export { rows } from './lookup.ts';
export type { Flow, OpcodeRow } from './opcodes.ts';

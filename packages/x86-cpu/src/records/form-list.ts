/** The forms of the opcode table's rows, as instructions in flat 32- and 64-bit code have them. */
import { encodingsOf, xorshift32 } from '../decode/encodings.ts';
import { DecodeStatus, decode, Insn, OperandKind } from '../decode/insn.ts';
import { rows } from '../decode/lookup.ts';
import type { OpcodeRow } from '../decode/opcodes.ts';
import type { Form } from '../form.ts';
import { AddressMode, formOf, StackMode } from '../form.ts';

/** Encodings of each shape; their registers are random, and special ones are part of a form. */
const ROUNDS = 8;

/** In a fixed order. */
export function listForms(wanted: (row: OpcodeRow) => boolean): Form[] {
  const found = new Map<string, Form>();
  const insn = new Insn();
  const rng = xorshift32(1);
  for (const mode of [64, 32] as const) {
    for (const row of rows) {
      if (!wanted(row) || (mode === 64 ? row.i64 : row.o64)) continue;
      for (let round = 0; round < ROUNDS; round++) {
        for (const bytes of encodingsOf(row, mode, rng, {})) {
          if (decode(bytes, 0, bytes.length, mode, insn) !== DecodeStatus.Ok) continue;
          const stack = mode === 64 ? StackMode.Long : StackMode.Flat32;
          const memory = insn.kind.includes(OperandKind.Mem);
          const modes = memory && mode === 64 ? [AddressMode.Base, AddressMode.Indexed] : [AddressMode.Indexed];
          for (const address of modes) {
            const form = formOf(insn, address, stack);
            found.set(form.key, form);
          }
        }
      }
    }
  }
  return [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** Where in an instruction's bytes its memory operand is described. */
import type { Insn } from '../../src/decode/instruction.ts';

const isLegacyPrefix = (byte: number): boolean =>
  [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(byte);

/** Index of the ModRM byte of a decoded instruction: behind prefixes, VEX or escapes, and the opcode. */
function modrmIndex(insn: Insn, bytes: Uint8Array): number {
  let at = 0;
  while (isLegacyPrefix(bytes[at])) at++;
  if (insn.vex) return at + (bytes[at] === 0xc5 ? 3 : 4);
  if (insn.mode === 64 && (bytes[at] & 0xf0) === 0x40) at++;
  return at + [1, 2, 3, 3][insn.map];
}

/** Index of the displacement, which follows ModRM and SIB. Not for 16-bit addresses, which have no SIB. */
export const displacementIndex = (insn: Insn, bytes: Uint8Array): number =>
  modrmIndex(insn, bytes) + 1 + ((insn.modrm & 7) === 4 ? 1 : 0);

/** The largest address of `size` bytes. */
export const addressMask = (size: number): bigint => (1n << BigInt(8 * size)) - 1n;

/** The inverse of an odd number modulo 2^64: what makes `r + r * 2^scale` any address. */
export function inverse(odd: bigint): bigint {
  let x = odd;
  for (let i = 0; i < 6; i++) x = BigInt.asUintN(64, x * (2n - odd * x));
  return x;
}

/** Text of an instruction for reports, by iced-x86. */
import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';

export function disassemble(bytes: Uint8Array, mode: 16 | 32 | 64, rip: bigint): string {
  const decoder = new Decoder(mode, bytes, DecoderOptions.None);
  decoder.ip = rip;
  const instruction = decoder.decode();
  const formatter = new Formatter(FormatterSyntax.Nasm);
  try {
    return formatter.format(instruction);
  } finally {
    formatter.free();
    instruction.free();
    decoder.free();
  }
}

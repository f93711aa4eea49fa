/** Text of a program for reports. */
import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { Place } from './places.ts';
import type { Program } from './program.ts';
import { assemble, startOf } from './program.ts';

function disassemble(bytes: Uint8Array, mode: 32 | 64, rip: bigint): { text: string; length: number } {
  const decoder = new Decoder(mode, bytes, DecoderOptions.None);
  decoder.ip = rip;
  const instruction = decoder.decode();
  const formatter = new Formatter(FormatterSyntax.Nasm);
  try {
    return { text: formatter.format(instruction), length: instruction.length };
  } finally {
    formatter.free();
    instruction.free();
    decoder.free();
  }
}

export function programText(program: Program): string {
  const { code } = assemble(program);
  const lines = [`seed ${program.seed}, ${program.mode}-bit, CPL ${program.cpl}, rflags ${program.rflags.toString(16)}`];
  const { stackTop, frame, frame2, fsBase, gsBase } = program;
  lines.push(
    Object.entries({ stackTop, frame, frame2, fsBase, gsBase })
      .map(([name, value]) => `${name}=${value.toString(16)}`)
      .join(' '),
  );
  lines.push(Array.from(program.gpr, (value, n) => `r${n}=${value.toString(16)}`).join(' '));
  let at = program.offset;
  program.blocks.forEach((block, n) => {
    at = startOf(block, at);
    lines.push(`block ${n}:`);
    for (const { bytes } of block.items) {
      const end = at + bytes.length;
      while (at < end) {
        const address = Place.code + at;
        const { text, length } = disassemble(code.subarray(at, at + 15), program.mode, BigInt(address));
        if (address >= Place.code + code.length) return;
        lines.push(
          `  ${address.toString(16)}  ${Buffer.from(code.subarray(at, at + length))
            .toString('hex')
            .padEnd(22)} ${text}`,
        );
        at += Math.max(1, length);
      }
    }
  });
  return lines.join('\n');
}

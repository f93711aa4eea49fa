import { Decoder, Formatter, FormatterSyntax, type Instruction, MemorySizeOptions } from 'iced-x86';
import { describe, expect, it } from 'vitest';
import { encodingsOf, xorshift32 } from './encodings.ts';
import { formatInstruction } from './format.ts';
import { DecodeStatus, decode, Insn } from './insn.ts';
import { rows } from './lookup.ts';
import type { OpcodeRow } from './opcodes.ts';

const insn = new Insn();

function icedText(bytes: Uint8Array, mode: 16 | 32 | 64, rip: bigint, formatter: Formatter): string {
  const decoder = new Decoder(mode, bytes, 0);
  decoder.ip = rip;
  const instruction: Instruction = decoder.decode();
  const text = formatter.format(instruction);
  instruction.free();
  decoder.free();
  return text;
}

/** Names that iced has otherwise than the manual's table: its name → ours. */
const SPELLINGS: Readonly<Record<string, string>> = {
  ...{ je: 'jz', jne: 'jnz', sete: 'setz', setne: 'setnz', cmove: 'cmovz', cmovne: 'cmovnz', fstpnce: 'fstp' },
  ...{ prefetch_reserved: 'prefetchw', prefetch_exclusive: 'prefetchw', prefetch: 'prefetchw' },
  ...{ pcmpestri64: 'pcmpestri', pcmpestrm64: 'pcmpestrm', vpcmpestri64: 'vpcmpestri', vpcmpestrm64: 'vpcmpestrm' },
};
/** Prefixes that iced writes though the operands say it. */
const NOISE = /^(?:(?:addr|data)(?:16|32|64) )+/;
/** What iced calls the image of a descriptor-table register. */
const IMAGES = /^fword ptr /;
/** Operands that one of the two leaves out, because they are implied: ST(0), the accumulator of string instructions, XMM0. */
const IMPLIED = /^(?:st|xmm0|[re]?ax|al|es)$/;
/** Table rows whose operands are all implied (so iced lists none), or whose memory operand is. */
const UNLISTED = new Set([
  'monitor',
  'mwait',
  'maskmovq',
  'maskmovdqu',
  'vmaskmovdqu',
  'vmrun',
  'vmload',
  'vmsave',
  'skinit',
  'invlpga',
]);
/** Only a part of the register matters, or the upper half is cleared: the table and iced name it by different sizes. */
const PART = /^(?:lar|lsl|v?movmskp[sd]|v?pinsrw|v?pextr[bw]|v?pmovmskb|v?extractps)$/;

type Parts = { readonly mnemonic: string; readonly operands: string[] };

function partsOf(text: string): Parts {
  const [, mnemonic = '', rest = ''] = /^((?:lock |rep |repe |repne )*\S+(?: far)?) ?(.*)$/.exec(text.replace(NOISE, '')) ?? [];
  return { mnemonic: SPELLINGS[mnemonic] ?? mnemonic, operands: rest === '' ? [] : rest.split(', ') };
}

const isImmediate = (operand: string): boolean => /^-?0x[0-9a-f]+(?::0x[0-9a-f]+)?$/.test(operand);
/** `r12w` and `r12d` → `r12`, `di` and `rdi` → `di`. */
const whole = (operand: string): string => operand.replace(/^(r\d+)[dwb]$/, '$1').replace(/^[re]([a-z]{2})$/, '$1');

function same(row: OpcodeRow, ours: Parts, theirs: Parts): boolean {
  // Hints and NOPs have operands, and names by which later processors know them. SAL is SHL, of which it is the second encoding.
  if (row.sem === 'nop') return true;
  if (ours.mnemonic !== theirs.mnemonic && row.mnemonic !== 'sal') return false;
  if (UNLISTED.has(row.mnemonic)) return true;
  const named = ({ operands }: Parts): string[] =>
    operands.filter((operand) => !isImmediate(operand)).map((operand) => (PART.test(row.mnemonic) ? whole(operand) : operand));
  const [a, b] = [
    named(ours),
    named(theirs).map((operand) => operand.replace(row.operands.includes('Ms') ? IMAGES : /^fpu\w+ ptr /, '')),
  ];
  if (a.join() === b.join()) return true;
  const explicit = (list: string[]): string => list.filter((operand) => !IMPLIED.test(operand)).join();
  return a.length !== b.length && explicit(a) === explicit(b);
}

describe('the formatter', () => {
  const formatter = new Formatter(FormatterSyntax.Intel);
  formatter.memorySizeOptions = MemorySizeOptions.Always;
  formatter.hexPrefix = '0x';
  formatter.hexSuffix = '';
  formatter.uppercaseHex = false;
  formatter.smallHexNumbersInDecimal = false;
  formatter.spaceAfterOperandSeparator = true;
  formatter.branchLeadingZeros = false;
  formatter.showBranchSize = false;
  formatter.usePseudoOps = false;

  for (const mode of [64, 32, 16] as const) {
    it(`names what iced-x86 names, for every row and shape in ${mode}-bit code`, () => {
      const rng = xorshift32(5);
      const rip = mode === 16 ? 0x1000n : 0x1000_0000n;
      const different: string[] = [];
      let cases = 0;
      for (const row of rows) {
        for (const bytes of encodingsOf(row, mode, rng)) {
          expect(decode(bytes, 0, bytes.length, mode, insn)).toBe(DecodeStatus.Ok);
          const ours = formatInstruction(insn, rip);
          const theirs = icedText(bytes, mode, rip, formatter);
          cases++;
          if (!same(row, partsOf(ours), partsOf(theirs))) different.push(`${ours} | ${theirs}`);
        }
      }
      expect(cases).toBeGreaterThan(2000);
      expect(different.slice(0, 20)).toEqual([]);
    });
  }

  it.each([
    [64, '48 83 c4 f8', 'add rsp, -0x8'],
    [64, 'b8 00 00 00 80', 'mov eax, 0x80000000'],
    [64, '48 b8 00 00 00 00 00 00 00 80', 'mov rax, 0x8000000000000000'],
    [64, '65 48 8b 04 25 28 00 00 00', 'mov rax, qword ptr gs:[0x28]'],
    [64, '48 8d 05 f9 ff ff ff', 'lea rax, [0x1000]'],
    [64, 'f3 a4', 'rep movsb byte ptr [rdi], byte ptr [rsi]'],
    [64, '74 fe', 'jz 0x1000'],
    [64, 'c8 10 00 01', 'enter 0x10, 0x1'],
    [32, 'ea 00 10 00 00 08 00', 'jmp far 0x8:0x1000'],
    [16, 'ff 2e 34 12', 'jmp far dword ptr [0x1234]'],
  ] as const)('%d-bit %s is %s', (mode, text, expected) => {
    const bytes = Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16));
    expect(decode(bytes, 0, bytes.length, mode, insn)).toBe(DecodeStatus.Ok);
    expect(formatInstruction(insn, 0x1000n)).toBe(expected);
  });
});

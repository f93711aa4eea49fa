import { describe, expect, it } from 'vitest';
import { BASE_RIP, DecodeStatus, decode, Insn, OperandKind, SegmentNumber } from './insn.ts';

const insn = new Insn();

/** Decodes hexadecimal bytes, exactly those. */
function status(mode: 16 | 32 | 64, hex: string): DecodeStatus {
  const bytes = Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  return decode(bytes, 0, bytes.length, mode, insn);
}

function decoded(mode: 16 | 32 | 64, hex: string): Insn {
  expect(status(mode, hex), hex).toBe(DecodeStatus.Ok);
  expect(insn.length).toBe(hex.replaceAll(' ', '').length / 2);
  return insn;
}

describe('prefixes (SDM vol. 2, §2.1.1, §2.2.1)', () => {
  it('REX counts only immediately before the opcode', () => {
    expect(decoded(64, '48 66 01 c0').opSize).toBe(2);
    expect(insn.rex).toBe(0);
    expect(decoded(64, '66 48 01 c0').opSize).toBe(8);
    expect(decoded(64, '48 41 01 c0').opSize).toBe(4);
  });

  it('any REX turns AH, CH, DH, BH into SPL, BPL, SIL, DIL', () => {
    expect([...decoded(64, '88 e0').kind]).toEqual([OperandKind.Gpr, OperandKind.GprHigh, 0, 0]);
    expect(insn.reg[1]).toBe(0);
    expect([...decoded(64, '40 88 e0').kind]).toEqual([OperandKind.Gpr, OperandKind.Gpr, 0, 0]);
    expect(insn.reg[1]).toBe(4);
  });

  it('LOCK is #UD except on a memory destination of an instruction that allows it', () => {
    expect(decoded(64, 'f0 01 00').lock).toBe(true);
    for (const hex of ['f0 01 c0', 'f0 03 00', 'f0 39 00', 'f0 89 00', 'f0 90', 'f0 0f a3 00', 'f0 0f 0b']) {
      expect(status(64, hex), hex).toBe(DecodeStatus.Invalid);
    }
    for (const hex of [
      'f0 86 00',
      'f0 0f ab 00',
      'f0 0f ba 28 01',
      'f0 0f b1 08',
      'f0 0f c1 08',
      'f0 0f c7 08',
      'f0 f7 10',
      'f0 ff 00',
    ]) {
      expect(status(64, hex), hex).toBe(DecodeStatus.Ok);
    }
  });

  it('an instruction of 15 bytes is the longest; one more is #GP (§2.3.11)', () => {
    expect(status(64, `${'66'.repeat(14)}90`)).toBe(DecodeStatus.Ok);
    expect(status(64, `${'66'.repeat(15)}90`)).toBe(DecodeStatus.TooLong);
    expect(status(64, `${'2e'.repeat(8)}81847844332211 88776655`)).toBe(DecodeStatus.TooLong);
    expect(status(64, '66'.repeat(40))).toBe(DecodeStatus.TooLong);
    expect(status(64, '66'.repeat(14))).toBe(DecodeStatus.Truncated);
  });

  it('the last of F2 and F3 selects the mandatory prefix, before 66', () => {
    expect(decoded(64, 'f2 f3 0f b8 c1').row.sem).toBe('popcnt');
    expect(decoded(64, '66 f3 0f b8 c1').opSize).toBe(2);
    expect(decoded(64, 'f2 66 0f 58 c1').row.sem).toBe('addsd');
  });

  it('66 that selects the opcode does not change the operand size', () => {
    expect(decoded(64, '66 0f 6e c0').size[1]).toBe(4);
    expect(decoded(64, '66 48 0f 6e c0').size[1]).toBe(8);
  });
});

describe('addresses (SDM vol. 2, tables 2-1 to 2-3)', () => {
  const address = (): number[] => [insn.base, insn.index, insn.scale, insn.disp, insn.seg];
  const { SS, DS, FS } = SegmentNumber;

  it('16-bit forms', () => {
    decoded(16, '8b 42 fe');
    expect(address()).toEqual([5, 6, 0, -2, SS]);
    decoded(16, '8b 06 00 80');
    expect(address()).toEqual([-1, -1, 0, -0x8000, DS]);
    decoded(32, '67 8b 40 01');
    expect(address()).toEqual([3, 6, 0, 1, DS]);
  });

  it('SIB, its missing base and its missing index', () => {
    decoded(64, '8b 44 9d 10');
    expect(address()).toEqual([5, 3, 2, 16, SS]);
    decoded(64, '8b 04 25 78 56 34 92');
    expect(address()).toEqual([-1, -1, 0, 0x92345678 | 0, DS]);
    decoded(64, '4a 8b 04 24');
    expect(address().slice(0, 2)).toEqual([4, 12]);
    decoded(64, '49 8b 45 00');
    expect(address()).toEqual([13, -1, 0, 0, DS]);
  });

  it('mod 0, rm 5 is RIP-relative in 64-bit mode only', () => {
    expect(decoded(64, '8b 05 01 00 00 00').base).toBe(BASE_RIP);
    expect(decoded(64, '67 8b 05 01 00 00 00').addrSize).toBe(4);
    expect(decoded(32, '8b 05 01 00 00 00').base).toBe(-1);
  });

  it('64-bit mode ignores ES, CS, SS and DS prefixes and obeys FS and GS (vol. 1, §3.3.7.1)', () => {
    decoded(64, '2e 8b 00');
    expect([insn.seg, insn.segOverride]).toEqual([DS, -1]);
    decoded(64, '64 2e 8b 00');
    expect([insn.seg, insn.segOverride]).toEqual([FS, FS]);
    expect(decoded(32, '36 8b 00').seg).toBe(SS);
  });

  it('moffs has the size of an address', () => {
    decoded(64, '48 a1 88 77 66 55 44 33 22 91');
    expect([insn.moffsLo, insn.moffsHi]).toEqual([0x55667788, 0x91223344 | 0]);
    expect(decoded(64, '67 a1 88 77 66 55').kind[1]).toBe(OperandKind.Moffs);
    decoded(16, 'a0 34 12');
    expect(insn.moffsLo).toBe(0x1234);
  });
});

describe('operands', () => {
  it('implicit registers and constants are operands like others', () => {
    decoded(64, '04 80');
    expect([insn.kind[0], insn.reg[0], insn.size[0], insn.immLo, insn.immHi]).toEqual([OperandKind.Gpr, 0, 1, -128, -1]);
    decoded(64, 'd1 e0');
    expect([insn.kind[1], insn.immLo]).toEqual([OperandKind.Imm, 1]);
    decoded(64, 'ed');
    expect([...insn.size.subarray(0, 2), insn.reg[1]]).toEqual([4, 2, 2]);
  });

  it('immediates are extended as their instruction says', () => {
    decoded(64, '48 83 c0 ff');
    expect([insn.immLo, insn.immHi]).toEqual([-1, -1]);
    decoded(64, '48 b8 01 00 00 00 02 00 00 80');
    expect([insn.immLo, insn.immHi]).toEqual([1, 0x80000002 | 0]);
    decoded(64, 'cd 80');
    expect([insn.immLo, insn.immHi]).toEqual([0x80, 0]);
    decoded(64, 'c8 34 92 1f');
    expect([insn.immLo, insn.imm2]).toEqual([0x9234, 0x1f]);
    decoded(32, '9a 78 56 34 12 cd ab');
    expect([insn.kind[0], insn.immLo, insn.imm2]).toEqual([OperandKind.Far, 0x12345678, 0xabcd]);
  });

  it('string operands carry rSI with its segment, and rDI with ES', () => {
    decoded(64, '64 a5');
    expect([...insn.reg.subarray(0, 2), insn.base, insn.seg]).toEqual([7, 6, 6, SegmentNumber.FS]);
    decoded(32, '64 aa');
    expect([insn.reg[0], insn.base, insn.seg]).toEqual([7, 7, SegmentNumber.ES]);
  });
});

describe('64-bit mode (SDM vol. 2, §2.2.1)', () => {
  it('stack instructions default to 64 bits and take 66; near branches ignore 66 as Intel does', () => {
    expect(decoded(64, '50').size[0]).toBe(8);
    expect(decoded(64, '66 50').size[0]).toBe(2);
    expect(decoded(64, '66 e8 00 00 00 00').opSize).toBe(8);
    expect(decoded(32, '66 e8 00 80').rel).toBe(-0x8000);
    expect(decoded(64, '0f 20 c0').size[0]).toBe(8);
  });

  it('90 is NOP, with F3 PAUSE, with REX.B XCHG', () => {
    expect(decoded(64, '90').row.sem).toBe('nop');
    expect(decoded(64, '48 90').row.sem).toBe('nop');
    expect(decoded(64, 'f3 90').row.sem).toBe('pause');
    expect(decoded(64, '41 90').row.sem).toBe('xchg');
    expect(insn.reg[0]).toBe(8);
  });

  it('one-byte forms that the mode removes are #UD', () => {
    for (const op of [
      0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea,
    ]) {
      expect(status(64, `${op.toString(16).padStart(2, '0')}c0000000000000`), op.toString(16)).toBe(DecodeStatus.Invalid);
    }
  });
});

describe('VEX (SDM vol. 2, §2.3)', () => {
  it('is #UD after 66, F2, F3, LOCK or REX', () => {
    expect(status(64, 'c5 f8 58 c1')).toBe(DecodeStatus.Ok);
    for (const prefix of ['66', 'f2', 'f3', 'f0', '40']) expect(status(64, `${prefix} c5 f8 58 c1`)).toBe(DecodeStatus.Invalid);
  });

  it('is LES or LDS with a memory ModRM outside 64-bit mode', () => {
    expect(decoded(32, 'c5 00').row.mnemonic).toBe('lds');
    expect(decoded(32, 'c5 f8 58 c1').row.mnemonic).toBe('vaddps');
    expect(decoded(16, 'c4 00').row.mnemonic).toBe('les');
  });

  it('needs vvvv = 1111b where it names nothing', () => {
    expect(status(64, 'c5 f8 28 c1')).toBe(DecodeStatus.Ok);
    expect(status(64, 'c5 f0 28 c1')).toBe(DecodeStatus.Invalid);
  });

  it('gathers refuse equal destination, index and mask', () => {
    expect(decoded(64, 'c4 e2 71 90 04 10').index).toBe(2);
    for (const hex of ['c4 e2 69 90 04 10', 'c4 e2 79 90 04 10', 'c4 e2 71 90 14 10'])
      expect(status(64, hex)).toBe(DecodeStatus.Invalid);
  });
});

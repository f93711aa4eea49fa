import { describe, expect, it } from 'vitest';
import * as aml from './aml.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('AML encoding (ACPI 6.4 §20.2)', () => {
  it('constants take their shortest form', () => {
    expect([0, 1, 2, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff].map((value) => hex(aml.integer(value)))).toEqual([
      '00',
      '01',
      '0a02',
      '0aff',
      '0b0001',
      '0bffff',
      '0c00000100',
      '0cffffffff',
    ]);
  });

  it('PkgLength counts itself, in one to four bytes', () => {
    const lead = (bodyLength: number): string => hex(aml.withPkgLength(new Uint8Array(bodyLength)).subarray(0, 4));
    expect(lead(0).slice(0, 2)).toBe('01');
    expect(lead(62).slice(0, 2)).toBe('3f');
    expect(lead(63).slice(0, 4)).toBe('4104');
    expect(lead(4093).slice(0, 4)).toBe('4fff');
    expect(lead(4094).slice(0, 6)).toBe('810001');
    // 2^20 - 3 bytes and the four of the length: 0x100001.
    expect(lead(2 ** 20 - 3)).toBe('c1000001');
  });

  it('names are padded with underscores, and bad ones refused', () => {
    expect(hex(aml.nameString('RTC'))).toBe(Buffer.from('RTC_').toString('hex'));
    expect(hex(aml.nameString('\\_SB'))).toBe(Buffer.from('\\_SB_').toString('hex'));
    for (const bad of ['', 'ABCDE', '1AB', 'a', '\\\\A']) expect(() => aml.nameString(bad)).toThrow(RangeError);
  });

  it('EISA ids are compressed big endian: PNP0501 is 41 D0 05 01', () => {
    expect(hex(aml.eisaId('PNP0501'))).toBe('0c41d00501');
    expect(hex(aml.eisaId('PNP0B00'))).toBe('0c41d00b00');
    expect(() => aml.eisaId('PNP05')).toThrow(RangeError);
  });

  it('a resource template is a buffer of descriptors and an end tag', () => {
    expect(hex(aml.resourceTemplate([aml.ioPorts(0x3f8, 8), aml.isaIrq(4)]))).toBe(
      '11100a0d' + '4701f803f8030108' + '221000' + '7900',
    );
  });
});

import { describe, expect, it } from 'vitest';
import { encodingsOf, xorshift32 } from './encodings.ts';
import { DecodeStatus, decode, Insn } from './insn.ts';
import { rows } from './lookup.ts';
import { compareWithIced } from './testing/iced-oracle.ts';

const MODES = [16, 32, 64] as const;
const insn = new Insn();
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Collects differences; the first few are shown. */
class Differences {
  cases = 0;
  readonly found: string[] = [];
  check(bytes: Uint8Array, mode: 16 | 32 | 64): void {
    this.cases++;
    const d = compareWithIced(bytes, 0, mode, insn, true);
    if (d !== '' && this.found.length < 20) this.found.push(`${mode}: ${hex(bytes.subarray(0, 15))} ${insn.row.mnemonic}: ${d}`);
  }
}

const PREFIXES: readonly (readonly number[])[] = [
  [],
  [0x66],
  [0xf2],
  [0xf3],
  [0x48],
  [0x67],
  [0xf0],
  [0x45],
  [0x66, 0xf2],
  [0x66, 0xf3],
  [0x66, 0x48],
];

/** Every opcode of a map with every ModRM byte, random SIB, displacement and immediate bytes. */
function exhaustive(escapes: readonly number[], seed: number): Differences {
  const differences = new Differences();
  const rng = xorshift32(seed);
  const bytes = new Uint8Array(40);
  for (const mode of MODES) {
    for (const prefix of PREFIXES) {
      if (mode !== 64 && prefix.some((b) => b >> 4 === 4)) continue;
      for (let opcode = 0; opcode < 256; opcode++) {
        for (let modrm = 0; modrm < 256; modrm++) {
          let at = 0;
          for (const b of prefix) bytes[at++] = b;
          for (const b of escapes) bytes[at++] = b;
          bytes[at++] = opcode;
          bytes[at++] = modrm;
          while (at < 16) {
            const r = rng();
            bytes[at++] = r;
            bytes[at++] = r >>> 8;
          }
          differences.check(bytes, mode);
        }
      }
    }
  }
  return differences;
}

describe('the decoder agrees with iced-x86 on validity, length and operands', () => {
  it.each([
    ['one-byte map with x87', [], 1],
    ['0F', [0x0f], 2],
    ['0F 38', [0x0f, 0x38], 3],
    ['0F 3A', [0x0f, 0x3a], 4],
  ] as const)('every opcode and ModRM: %s', { timeout: 60_000 }, (_name, escapes, seed) => {
    const { cases, found } = exhaustive(escapes, seed);
    expect(found).toEqual([]);
    expect(cases).toBe(65_536 * (2 * 8 + 11));
  });

  it('every VEX opcode with every pp, L and W', { timeout: 60_000 }, () => {
    const differences = new Differences();
    const rng = xorshift32(5);
    const bytes = new Uint8Array(40);
    for (const mode of MODES) {
      for (let i = 0; i < 3 * 16 * 256 * 256; i++) {
        const r = rng();
        const map = 1 + ((i >> 20) % 3);
        const vvvv = r & 1 ? 15 : (r >> 1) & 15;
        const w = (i >> 19) & 1;
        const tail = rng();
        bytes[0] = 0xc4;
        bytes[1] = (mode === 64 ? r & 0xe0 : 0xc0 | (r & 0x20)) | map;
        bytes[2] = (w << 7) | (vvvv << 3) | ((i >> 16) & 7);
        bytes[3] = i >> 8;
        bytes[4] = i;
        for (let at = 5; at < 15; at++) bytes[at] = tail >>> (at & 15);
        differences.check(bytes, mode);
      }
    }
    expect(differences.found).toEqual([]);
  });

  it('1,000,000 random byte strings', { timeout: 60_000 }, () => {
    const seed = Number(process.env['TSVISOR_SEED'] ?? 20261120);
    const differences = new Differences();
    const rng = xorshift32(seed);
    const bytes = new Uint8Array(40);
    const common = [0x66, 0xf2, 0xf3, 0x67, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x40, 0x41, 0x44, 0x48, 0x49, 0x4c, 0x4f];
    const starts = [[], [], [0x0f], [0x0f], [0x0f, 0x38], [0x0f, 0x3a], [0xc5], [0xc4]];
    for (let n = 0; n < 1_000_000; n++) {
      if (n % 250_000 === 0) console.info(`random byte strings: ${n} of 1000000, seed ${seed}`);
      for (let i = 0; i < 15; i++) bytes[i] = rng() >>> 9;
      // A quarter is left as it is; the rest gets prefixes and an escape, so that most strings reach an opcode.
      if ((n & 3) !== 0) {
        let at = 0;
        for (let count = (rng() >>> 7) % 4; count > 0; count--) bytes[at++] = common[(rng() >>> 5) % common.length] ?? 0;
        for (const b of starts[(rng() >>> 5) & 7] ?? []) bytes[at++] = b;
      }
      differences.check(bytes, MODES[n % 3] ?? 64);
    }
    expect(differences.found).toEqual([]);
  });
});

describe('encodingsOf', () => {
  const everything = (seed: number): [mode: 16 | 32 | 64, bytes: Uint8Array, id: number][] => {
    const rng = xorshift32(seed);
    return MODES.flatMap((mode) =>
      rows.flatMap((row) =>
        [...encodingsOf(row, mode, rng)].map((bytes): [16 | 32 | 64, Uint8Array, number] => [mode, bytes, row.id]),
      ),
    );
  };

  it('gives every row of a mode, each encoding decoding to its row and agreeing with iced', () => {
    const differences = new Differences();
    const reached = new Set<string>();
    const padded = new Uint8Array(40);
    for (const [mode, bytes, id] of everything(7)) {
      padded.fill(0);
      padded.set(bytes);
      expect(decode(bytes, 0, bytes.length, mode, insn)).toBe(DecodeStatus.Ok);
      expect(insn.row.id).toBe(id);
      expect(insn.length).toBe(bytes.length);
      differences.check(padded, mode);
      reached.add(`${mode}/${id}`);
    }
    const missing = MODES.flatMap((mode) =>
      rows
        .filter((row) => !(mode === 64 ? row.i64 : row.o64) && !reached.has(`${mode}/${row.id}`))
        .map((row) => `${mode} ${row.mnemonic}`),
    );
    expect(missing).toEqual([]);
    expect(differences.found).toEqual([]);
  });

  it('is reproducible from the seed and obeys memory and register', () => {
    expect(everything(9)).toEqual(everything(9));
    const add = rows.find((row) => row.sem === 'add' && row.opcode === 1);
    if (!add) throw new Error('no add row');
    const forms = (options: { memory?: boolean; register?: boolean }): boolean[] =>
      [...encodingsOf(add, 64, xorshift32(1), options)].map((bytes) => {
        decode(bytes, 0, bytes.length, 64, insn);
        return insn.modrm < 0xc0;
      });
    expect(new Set(forms({ register: false }))).toEqual(new Set([true]));
    expect(new Set(forms({ memory: false }))).toEqual(new Set([false]));
  });

  it('any instruction cut short is truncated, never valid and never invalid', () => {
    for (const [mode, bytes] of everything(11)) {
      for (let end = 0; end < bytes.length; end++) {
        const status = decode(bytes, 0, end, mode, insn);
        if (status !== DecodeStatus.Truncated) expect(`${mode} ${hex(bytes)} cut to ${end}: ${status}`).toBe('truncated');
      }
    }
  });
});

/** The semantics of MMX and SSE against the processor this runs on: same states in, same states out. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sseSemantics } from '../../src/semantics/sse.ts';
import { disassemble } from '../host-oracle/disassemble.ts';
import { hostHas } from '../host-oracle/excluded.ts';
import { randomFpState } from '../host-oracle/fp-state.ts';
import { hostFeatures, hostOracleUnavailable } from '../host-oracle/host.ts';
import { failureText, runOracle } from '../host-oracle/run.ts';
import { createTestMachine } from '../host-oracle/test-machine.ts';
import { coveredRows, encodings, fillState, Random } from './cases.ts';
import { differences } from './compare.ts';
import { hostUnavailable, openHost, Rec } from './host.ts';
import { decoded, Machine } from './machine.ts';

const STATES = 30;
/** RCP and RSQRT are approximations that processors make differently within a bound. */
const APPROXIMATE = /^(rcp|rsqrt)/;

const sems = [...new Set(coveredRows().map((row) => row.sem))];
const setsFlags = (sem: string): boolean => /comis|ptest|pcmp.str/.test(sem);
let host: ReturnType<typeof openHost> | undefined;
beforeAll(() => {
  const reason = hostUnavailable();
  if (reason === '') host = openHost();
  else console.warn(`not compared with the host processor: ${reason}`);
});
afterAll(() => host?.[Symbol.dispose]());

type Run = {
  readonly sem: string;
  readonly code: Uint8Array;
  readonly input: Uint8Array;
  readonly ours: Uint8Array;
  readonly vector: number;
};

/** Runs every encoding of the instructions on `STATES` states. */
function runAll(only: (sem: string) => boolean, known: boolean, seed: number): Run[] {
  const random = new Random(seed);
  const list = coveredRows()
    .filter((row) => only(row.sem))
    .flatMap((row) => encodings(row, random).map((code) => [row.sem, code] as const));
  const machine = new Machine(
    list.map(([, code]) => code),
    sseSemantics,
    known,
  );
  return list.flatMap(([sem, code], n) =>
    Array.from({ length: STATES }, () => {
      const input = new Uint8Array(Rec.size);
      fillState(input, code, sem, random);
      const ours = input.slice();
      return { sem, code, input, ours, vector: machine.run(n, ours) };
    }),
  );
}

function expectAgreement(runs: readonly Run[]): void {
  expect(runs.length).toBeGreaterThan(0);
  if (!host) return;
  const records = new Uint8Array(runs.length * Rec.size);
  runs.forEach((run, n) => records.set(run.input, n * Rec.size));
  const output = host.run(records);
  const wrong = runs.flatMap((run, n) => {
    const theirs = output.subarray(n * Rec.size, (n + 1) * Rec.size);
    const found = differences(run.sem, setsFlags(run.sem), run.ours, run.vector, theirs);
    return found.length === 0 ? [] : [`${run.sem} ${Buffer.from(run.code).toString('hex')}: ${found.slice(0, 3).join('; ')}`];
  });
  expect(wrong.slice(0, 10)).toEqual([]);
}

describe('MMX and SSE semantics', () => {
  it('has the semantics of every row of the features it covers', () => {
    expect(sems.filter((sem) => !(sem in sseSemantics))).toEqual([]);
  });

  const groups: readonly (readonly [string, RegExp])[] = [
    ['moves', /^(mov|mask|lddqu)/],
    ['packed integers, shuffles and logic', /^(p(?!cmp.str)|and|or|xor|unpck|shuf|emms|blend|insert|extract|mpsad)/],
    ['floating-point arithmetic', /^(add|sub|mul|div|sqrt|min|max|hadd|hsub|dpp|round)/],
    ['comparisons', /^(cmp|u?comis)/],
    ['conversions', /^cvt/],
    ['MXCSR and the FXSAVE image', /mxcsr|^fx/],
    ['strings, checksums, AES and SHA', /^(pcmp.str|crc32|aes|sha|pclmul)/],
  ];
  it.each(groups)('leaves the state a processor leaves: %s', (_name, pattern) => {
    expectAgreement(runAll((sem) => pattern.test(sem) && !APPROXIMATE.test(sem), false, 7));
  });

  it('leaves that state too where immediates are known at translation', () => {
    const withImmediate = new Set(coveredRows().flatMap((row) => (row.operands.includes('Iub') ? [row.sem] : [])));
    expectAgreement(runAll((sem) => withImmediate.has(sem), true, 11));
  });

  it('approximates reciprocals and reciprocal roots within 1.5 · 2^-12 (SDM vol. 2B, RCPSS, RSQRTSS)', () => {
    const codes = [0x53, 0x52].map((opcode) => Uint8Array.of(0xf3, 0x0f, opcode, 0xc1));
    const machine = new Machine(codes, sseSemantics);
    const random = new Random(5);
    for (let n = 0; n < 1000; n++) {
      const record = new Uint8Array(Rec.size);
      const view = new DataView(record.buffer);
      const value = Math.fround(2 ** (random.below(240) - 120) * (1 + random.below(1 << 23) / (1 << 23)));
      const which = n & 1;
      view.setFloat32(Rec.image + 176, value, true);
      machine.run(which, record);
      const exact = which === 0 ? 1 / value : 1 / Math.sqrt(value);
      expect(Math.abs(view.getFloat32(Rec.image + 160, true) / exact - 1)).toBeLessThan(1.5 * 2 ** -12);
    }
  });

  it('runs through the whole engine: page crossings, faults, high registers, every 64-bit address form', () => {
    if (hostOracleUnavailable() !== undefined) return;
    // FXSAVE's MXCSR_MASK and last-instruction pointers are the processor's own, and so is what masked-out bytes may raise.
    const own = /^(fxsave|fxrstor|maskmov.*|sha.*)$/;
    const features = hostFeatures();
    const list = coveredRows().filter((row) => !own.test(row.sem) && !APPROXIMATE.test(row.sem) && hostHas(row, features));
    const options = { seed: 21, cases: 6000, modes: ['64'] as const, engine: createTestMachine() };
    expect(failureText(runOracle({ ...options, rows: list, generator: { fp: randomFpState }, disassemble }))).toBe('');
  });

  it('belongs to a group, whatever it covers', () => {
    expect(sems.filter((sem) => !APPROXIMATE.test(sem) && !groups.some(([, pattern]) => pattern.test(sem)))).toEqual([]);
  });

  it('decodes what the test encodes', () => {
    const random = new Random(3);
    for (const row of coveredRows()) for (const code of encodings(row, random)) expect(decoded(code).row.sem).toBe(row.sem);
  });
});

import { describe, expect, it } from 'vitest';
import { rows } from '../../src/decode/lookup.ts';
import { Layout, type OracleCase, type OracleResult } from '../host-oracle/case.ts';
import { disassemble } from '../host-oracle/disassemble.ts';
import { randomFpState } from '../host-oracle/fp-state.ts';
import { hostOracleUnavailable, runOnHost } from '../host-oracle/host.ts';
import { failureText, type OracleMode, runOracle } from '../host-oracle/run.ts';
import { createTestMachine } from '../host-oracle/test-machine.ts';
import { hostUnavailable } from './host.ts';

const reason = hostOracleUnavailable() ?? (hostUnavailable() || undefined);
/** Not bit for bit the same on any two processors; x87-routines.test.ts compares them as closely as they can be. */
const TRANSCENDENTAL = new Set('f2xm1 fyl2x fyl2xp1 fptan fpatan fsin fcos fsincos'.split(' '));
/**
 * They store pointers that the oracle's FXRSTOR clears on an AMD processor, or load an image that may take in the harness's own
 * code. x87-routines.test.ts has them, with all formats.
 */
const IMAGES = new Set(['fnstenv', 'fnsave', 'fldenv', 'frstor']);

const tested = rows.filter(
  (row) => row.map === 0 && !row.vex && (row.sem === 'fwait' || (row.opcode >= 0xd8 && row.opcode <= 0xdf)),
);
const bitExact = tested.filter((row) => !TRANSCENDENTAL.has(row.sem) && !IMAGES.has(row.sem));

const title = `x87 instructions against the host processor${reason ? ` (not run: ${reason})` : ''}`;

describe.skipIf(reason !== undefined)(title, () => {
  it.each([
    ['64', 30_000],
    ['16s', 10_000],
  ] as readonly (readonly [OracleMode, number])[])(
    'leave registers, flags, memory and faults as the host does: mode %s, %i cases',
    (mode, cases) => {
      const summary = runOracle({
        seed: 0x87,
        cases,
        rows: bitExact,
        modes: [mode],
        engine: createTestMachine(),
        disassemble,
        generator: { fp: (random, insn) => randomFpState(random, insn) },
      });
      expect(failureText(summary)).toBe('');
      expect(summary.cases).toBeGreaterThanOrEqual(cases);
    },
    60_000,
  );

  it('report a pending exception, #MF, at the next instruction that waits, and only there (SDM vol. 1 §8.6)', () => {
    const waiting = {
      fwait: [0x9b],
      fnop: [0xd9, 0xd0],
      fld1: [0xd9, 0xe8],
      fadd: [0xd8, 0xc1],
      fincstp: [0xd9, 0xf7],
      fldcw: [0xd9, 0x28],
    };
    const others = {
      fninit: [0xdb, 0xe3],
      fnclex: [0xdb, 0xe2],
      fnstsw: [0xdf, 0xe0],
      fnstcw: [0xd9, 0x38],
    };
    const image = new Uint8Array(Layout.bytes);
    const fp = new Uint8Array(512);
    const view = new DataView(fp.buffer);
    view.setUint16(0, 0x37e, true); // invalid operation unmasked
    view.setUint16(2, 0x8081, true); // and pending
    view.setUint32(24, 0x1f80, true);
    const gpr = new BigUint64Array(16).fill(BigInt(Layout.data + 0x100));
    const make = (bytes: number[]): OracleCase => ({
      mode: 64,
      bytes: Uint8Array.from(bytes),
      codeOffset: 0,
      gpr,
      rflags: 0,
      patches: [],
      fp: { image: fp },
      branch: false,
    });
    const vectors = (results: readonly OracleResult[]) => results.map((r) => r.fault?.vector ?? -1);
    const faults = (set: Record<string, number[]>): number[] => {
      const list = Object.values(set).map(make);
      const engine = vectors(createTestMachine().run(image, list));
      expect(engine).toEqual(vectors(runOnHost(image, list)));
      return engine;
    };
    expect(faults(waiting)).toEqual(Object.keys(waiting).map(() => 16));
    expect(faults(others)).toEqual(Object.keys(others).map(() => -1));
  });
});

import { describe, expect, it } from 'vitest';
import { rows } from '../../src/decode/lookup.ts';
import { disassemble } from '../host-oracle/disassemble.ts';
import { randomFpState } from '../host-oracle/fp-state.ts';
import { hostOracleUnavailable } from '../host-oracle/host.ts';
import { failureText, type OracleMode, runOracle } from '../host-oracle/run.ts';
import { createTestMachine } from '../host-oracle/test-machine.ts';

const reason = hostOracleUnavailable();
/** Not bit for bit the same on any two processors; x87-routines.test.ts compares them as closely as they can be. */
const TRANSCENDENTAL = new Set('f2xm1 fyl2x fyl2xp1 fptan fpatan fsin fcos fsincos'.split(' '));
/**
 * They store pointers that the oracle's FXRSTOR clears on an AMD processor, or load an image that may take in the harness's own code.
 * x87-routines.test.ts has them, with all formats.
 */
const IMAGES = new Set(['fnstenv', 'fnsave', 'fldenv', 'frstor']);

const tested = rows.filter(
  (row) => row.map === 0 && !row.vex && (row.sem === 'fwait' || (row.opcode >= 0xd8 && row.opcode <= 0xdf)),
);
const bitExact = tested.filter((row) => !TRANSCENDENTAL.has(row.sem) && !IMAGES.has(row.sem));

describe.skipIf(reason !== undefined)(
  `x87 instructions against the host processor${reason ? ` (not run: ${reason})` : ''}`,
  () => {
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
  },
);

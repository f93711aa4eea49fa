import { beforeAll, describe, expect, it } from 'vitest';
import { DESCRIPTORS, type Engine, Layout, type OracleCase, type OracleResult } from './host-oracle/case.ts';
import { differences } from './host-oracle/compare.ts';
import { disassemble } from './host-oracle/disassemble.ts';
import { randomFpState } from './host-oracle/fp-state.ts';
import { buildHarness, hostOracleUnavailable, modeUnavailable, runOnHost } from './host-oracle/host.ts';
import {
  failureText,
  integerRows,
  isLocked,
  type OracleMode,
  type OracleOptions,
  runOracle,
  runSequences,
  vectorRows,
} from './host-oracle/run.ts';
import { createTestMachine, engineHas } from './host-oracle/test-machine.ts';

const reason = hostOracleUnavailable();
/** Why this host cannot run a mode, or undefined. */
const lackingOf = (mode: OracleMode): string | undefined =>
  reason ?? modeUnavailable(Number.parseInt(mode, 10) as 16 | 32 | 64, mode.endsWith('s'));

const title = reason === undefined ? 'against the host processor' : `against the host processor (not run: ${reason})`;

const image = Uint8Array.from({ length: Layout.bytes }, (_, i) => i * 7);
const registers = (...values: bigint[]): BigUint64Array => {
  const gpr = new BigUint64Array(16);
  gpr.set(values);
  return gpr;
};
function host(bytes: number[], more: Partial<OracleCase> = {}): OracleResult {
  const one: OracleCase = {
    mode: 64,
    bytes: Uint8Array.from(bytes),
    codeOffset: 0x100,
    gpr: registers(),
    rflags: 0,
    patches: [],
    branch: false,
    ...more,
  };
  return runOnHost(image, [one])[0];
}

describe.skipIf(reason !== undefined)(`the oracle ${title}`, () => {
  beforeAll(() => {
    buildHarness();
  });

  it('reports registers, flags and the next RIP', () => {
    // add rax, rbx
    const result = host([0x48, 0x01, 0xd8], { gpr: registers(0xffff_ffff_ffff_ffffn, 0n, 0n, 1n) });
    expect(result).toMatchObject({ rip: BigInt(Layout.code + 0x103), fault: undefined, changes: [] });
    expect(result.gpr[0]).toBe(0n);
    expect(result.rflags & 0x8d5).toBe(0x55); // CF PF AF ZF
  });

  it('reports what an instruction wrote, and begins the next case with the image again', () => {
    const push: OracleCase = {
      mode: 64,
      bytes: Uint8Array.of(0x50),
      codeOffset: 0,
      gpr: registers(0x1122_3344_5566_7788n, 0n, 0n, 0n, BigInt(Layout.data + 0x10)),
      rflags: 0,
      patches: [{ offset: 8, bytes: new Uint8Array(8) }],
      branch: false,
    };
    for (const { changes } of runOnHost(image, [push, push])) {
      expect(changes.map((c) => [c.offset, Buffer.from(c.bytes).toString('hex')])).toEqual([[8, '8877665544332211']]);
    }
  });

  it('reports page faults with error code and address, and state as before', () => {
    // mov eax, [0x10001ffe]
    const result = host([0x8b, 0x04, 0x25, 0xfe, 0x1f, 0x00, 0x10], { gpr: registers(5n) });
    expect(result.fault).toEqual({ vector: 14, error: 4, cr2: BigInt(Layout.data + Layout.bytes) });
    expect(result.gpr[0]).toBe(5n);
    expect(result.rip).toBe(BigInt(Layout.code + 0x100));
  });

  it('follows branches wherever they go', () => {
    expect(host([0xe9, 0, 0, 0, 0x50], { branch: true })).toMatchObject({ rip: 0x7000_0105n, fault: undefined });
    expect(host([0xeb, 0xfe], { branch: true })).toMatchObject({ rip: BigInt(Layout.code + 0x100), fault: undefined });
  });

  it.skipIf(lackingOf('16s') !== undefined)('runs 32-bit code, and 16-bit code in segments', () => {
    const values = registers(0xffff_ffffn, 0n, 0n, 1n);
    expect(host([0x01, 0xd8], { mode: 32, gpr: values })).toMatchObject({ rip: BigInt(Layout.code + 0x102) });
    // add eax, ebx in 16-bit code
    const narrow = host([0x66, 0x01, 0xd8], { mode: 16, gpr: values, segments: { cs: 1, ss: 3, ds: 3, es: 3 } });
    expect(narrow).toMatchObject({ rip: 0x103n, fault: undefined });
    expect(narrow.gpr[0]).toBe(0n);
    // mov al, [0x1800] in a segment that ends there
    const beyond = host([0xa0, 0x00, 0x18], { mode: 16, segments: { cs: 1, ss: 3, ds: 8, es: 3 } });
    expect(DESCRIPTORS[8]?.limit).toBe(0x17ff);
    expect(beyond.fault).toMatchObject({ vector: 13, error: 0 });
  });

  it('takes and gives x87 and vector state', () => {
    const fp = new Uint8Array(512);
    fp.set([0x7f, 3]);
    new DataView(fp.buffer).setUint32(24, 0x1f80, true);
    new DataView(fp.buffer).setFloat32(160, 1.5, true);
    new DataView(fp.buffer).setFloat32(176, 2.25, true);
    const result = host([0xf3, 0x0f, 0x58, 0xc1], { fp: { image: fp } }); // addss xmm0, xmm1
    const out = result.fp?.image as Uint8Array;
    expect(new DataView(out.buffer, out.byteOffset).getFloat32(160, true)).toBe(3.75);
  });

  it('tells a difference from none', () => {
    const one = {
      mode: 64,
      bytes: Uint8Array.of(0x50),
      codeOffset: 0,
      gpr: registers(),
      rflags: 0,
      patches: [],
      branch: false,
    } as const;
    const result: OracleResult = { gpr: registers(1n), rip: 1n, rflags: 2, fault: undefined, changes: [] };
    expect(differences(one, result, { ...result, gpr: registers(1n) })).toBeUndefined();
    expect(differences(one, result, { ...result, rflags: 0x41 })).toEqual(['flags CF ZF: expected -, got CF ZF']);
    expect(differences(one, result, { ...result, gpr: registers(2n) })).toEqual(['rax: expected 1, got 2']);
    expect(differences(one, result, { ...result, fault: { vector: 6, error: 0, cr2: 0n } })).toHaveLength(1);
    const changes = [{ offset: 8, bytes: new Uint8Array(8) }];
    expect(differences(one, { ...result, changes }, result)).toHaveLength(1);
  });
});

/** Modes and cases of the short run; the long one is `pnpm soak:oracle`. */
const CASES: readonly (readonly [mode: OracleMode, title: string, cases: number])[] = [
  ['64', '64-bit mode', 500_000],
  ['32', '32-bit mode', 300_000],
  ['32s', '32-bit mode with segments', 100_000],
  ['16s', '16-bit mode with segments', 100_000],
];
const MODES = CASES.map(([mode, name, cases]) => ({ mode, name, cases, lacking: lackingOf(mode) }));
const runnable = MODES.flatMap(({ mode, lacking }) => (lacking === undefined ? [mode] : []));
const LIMIT_MS = 120_000;

/** A run that must find no difference. */
function expectNone(
  run: typeof runOracle,
  options: Omit<OracleOptions, 'engine' | 'disassemble'>,
  engine: Engine = createTestMachine(),
): void {
  const summary = run({ ...options, engine, disassemble });
  expect(failureText(summary), `seed ${options.seed}`).toBe('');
  expect(summary.cases).toBeGreaterThanOrEqual(options.cases);
}

describe.skipIf(reason !== undefined)(`every integer instruction ${title}`, () => {
  it('has semantics, if the host can judge it', () => {
    const without = integerRows().filter((row) => !engineHas(row));
    expect(without.map((row) => row.sem)).toEqual([]);
  });

  for (const { mode, name, cases, lacking } of MODES) {
    const note = lacking === undefined ? `${cases} cases` : `not run: ${lacking}`;
    it.skipIf(lacking !== undefined)(
      `leaves registers, flags and memory as the host does in ${name} (${note})`,
      () => expectNone(runOracle, { seed: 0x7531 + cases, cases, rows: integerRows(), modes: [mode] }),
      LIMIT_MS,
    );
  }
});

describe.skipIf(reason !== undefined)(`every locked instruction, made atomic, ${title}`, () => {
  const rows = integerRows().filter((row) => row.lock);

  it(
    'leaves registers, flags and memory as the host does (60000 cases)',
    () => {
      const options = { seed: 0x10c, cases: 60_000, rows, modes: runnable, only: isLocked };
      expectNone(runOracle, options, createTestMachine('interp', true));
    },
    LIMIT_MS,
  );

  it(
    'does so in loops that are compiled (1000 loops of 4000 rounds)',
    () => {
      const flat = runnable.filter((mode) => mode === '64' || mode === '32');
      const engine = createTestMachine('jit', true);
      expectNone(runSequences, { seed: 0x10c5, cases: 1000, rounds: 4000, rows, modes: flat }, engine);
      expect(engine.regions).toBeGreaterThan(500);
    },
    LIMIT_MS,
  );
});

describe.skipIf(reason !== undefined)(`sequences of instructions ${title}`, () => {
  it(
    'hand flags, registers and memory on as the host does, in blocks that branch (60000 sequences)',
    () => {
      const flat = runnable.filter((mode) => mode === '64' || mode === '32');
      expectNone(runSequences, { seed: 0x5e9, cases: 60_000, rows: integerRows(), modes: flat });
    },
    LIMIT_MS,
  );
});

describe.skipIf(reason !== undefined)(`loops ${title}`, () => {
  const flat = runnable.filter((mode) => mode === '64' || mode === '32');

  it.each(['interp', 'jit'] as const)(
    'end, or fault in the very round and state, as on the host: tier %s, 2000 loops of 4000 rounds',
    (tier) => {
      const engine = createTestMachine(tier);
      expectNone(runSequences, { seed: 0x100b, cases: 2000, rounds: 4000, rows: integerRows(), modes: flat }, engine);
      if (tier === 'jit') expect(engine.regions).toBeGreaterThan(1000);
    },
    LIMIT_MS,
  );

  it(
    'do the same with x87, MMX and SSE instructions: tier jit, 1000 loops of 2000 rounds',
    () => {
      const engine = createTestMachine('jit');
      const rows = vectorRows().filter(engineHas);
      const generator = { fp: randomFpState };
      expectNone(runSequences, { seed: 0xf100b, cases: 1000, rounds: 2000, rows, modes: flat, generator }, engine);
    },
    LIMIT_MS,
  );
});

describe.skipIf(reason !== undefined)(`every x87, MMX and SSE instruction ${title}`, () => {
  it(
    'leaves registers, MXCSR, status word and memory as the host does (100000 cases)',
    () => {
      const rows = vectorRows().filter(engineHas);
      expectNone(runOracle, { seed: 0xf0a7, cases: 100_000, rows, modes: runnable, generator: { fp: randomFpState } });
    },
    LIMIT_MS,
  );
});

describe.skipIf(reason !== undefined)(`sequences of x87, MMX and SSE instructions ${title}`, () => {
  it(
    'hand their registers and exceptions on as the host does (30000 sequences)',
    () => {
      const flat = runnable.filter((mode) => mode === '64' || mode === '32');
      const rows = vectorRows().filter(engineHas);
      expectNone(runSequences, { seed: 0xf5e9, cases: 30_000, rows, modes: flat, generator: { fp: randomFpState } });
    },
    LIMIT_MS,
  );
});

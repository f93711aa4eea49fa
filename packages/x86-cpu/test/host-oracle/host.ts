/** The host processor as an engine: builds and runs `harness.c`. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Engine, OracleCase, OracleResult, Patch } from './case.ts';
import { DESCRIPTORS, Layout } from './case.ts';

const SOURCE = fileURLToPath(new URL('./harness.c', import.meta.url));
const CACHE = join(dirname(SOURCE), '../../.cache/host-oracle');
const OPTIONS = ['-O2', '-Wall', '-Wextra', '-Werror', '-fno-stack-protector', '-fPIE', '-pie', '-mgeneral-regs-only'];

const MAGIC = 0x4c43524f;
const CaseFlag = { Narrow: 1, Fp: 2, Avx: 4, Step: 8, Narrowest: 16, Long: 32, Select: 64 } as const;
const IN_BYTES = 176;
/** Longer code follows the case's fixed part. */
const CODE_BYTES = 16;
const DESCRIPTOR_BYTES = 12;
const TABLE_BYTES = 16 * DESCRIPTOR_BYTES;
const HEAD_BYTES = 8 + TABLE_BYTES + Layout.bytes;
/** `contents` of struct user_desc, in place. */
const DescriptorType = { data: 0, down: 2, code: 4, conforming: 6 } as const;
const DescriptorFlag = { Wide: 1, ReadOnly: 8, Pages: 16, Used: 32, Absent: 64 } as const;
const OUT_BYTES = 184;
const NO_TRAP = 0xffff_ffff;

/** Why this machine cannot be the oracle, or undefined if it can. */
export function hostOracleUnavailable(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `needs Linux on x86-64, this is ${process.platform} ${process.arch}`;
  if (spawnSync('gcc', ['--version']).status !== 0) return 'needs gcc';
  return undefined;
}

const cpuinfo = (): string => readFileSync('/proc/cpuinfo', 'utf8');

/** Whether the host's processor is AMD's, whose way the engine goes where vendors differ. */
export const hostIsAmd = (): boolean => /^vendor_id\s*:\s*(AuthenticAMD|HygonGenuine)/m.test(cpuinfo());

/**
 * Why cases of a kind cannot run here, or undefined: kernels are built and booted without 32-bit code, or without modify_ldt. Tries
 * one NOP.
 */
export function modeUnavailable(mode: 16 | 32 | 64, segmented: boolean): string | undefined {
  const nop: OracleCase = {
    mode,
    bytes: Uint8Array.of(0x90),
    codeOffset: 0,
    gpr: new BigUint64Array(16),
    rflags: 0,
    patches: [],
    branch: false,
    ...(segmented && { segments: { cs: mode === 16 ? 1 : 2, ss: 4, ds: 4, es: 4 } }),
  };
  try {
    const [{ fault }] = runOnHost(new Uint8Array(Layout.bytes), [nop]);
    return fault && `this kernel does not run ${mode}-bit code`;
  } catch {
    return 'this kernel has no modify_ldt';
  }
}

/** Features of the host processor by their names in /proc/cpuinfo. */
export function hostFeatures(): ReadonlySet<string> {
  return new Set(/^flags\s*:(.*)$/m.exec(cpuinfo())?.[1].trim().split(/\s+/));
}

/** Compiles the harness unless this very source has been compiled before; its path. */
export function buildHarness(): string {
  built ??= compile();
  return built;
}
let built: string | undefined;

function compile(): string {
  const hash = createHash('sha256').update(readFileSync(SOURCE)).update(OPTIONS.join(' ')).digest('hex').slice(0, 16);
  const program = join(CACHE, `harness-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(CACHE, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  execFileSync('gcc', [...OPTIONS, SOURCE, '-o', fresh]);
  renameSync(fresh, program);
  return program;
}

const padded = (bytes: number): number => (bytes + 7) & ~7;

function sizeOf(one: OracleCase): number {
  const fp = one.fp === undefined ? 0 : one.fp.ymmHigh ? 768 : 512;
  const code = one.bytes.length > CODE_BYTES ? padded(one.bytes.length) : 0;
  return one.patches.reduce((sum, patch) => sum + 8 + padded(patch.bytes.length), IN_BYTES + fp + code);
}

const modeFlag = (mode: 16 | 32 | 64): number => (mode === 32 ? CaseFlag.Narrow : mode === 16 ? CaseFlag.Narrowest : 0);

/** A batch as `struct case_in` has it. */
function encode(image: Uint8Array, cases: readonly OracleCase[]): Buffer {
  const buffer = Buffer.alloc(cases.reduce((sum, one) => sum + sizeOf(one), HEAD_BYTES));
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, cases.length, true);
  DESCRIPTORS.forEach((d, i) => {
    if (!d) return;
    const at = 8 + i * DESCRIPTOR_BYTES;
    view.setUint32(at, d.base, true);
    view.setUint32(at + 4, d.limit, true);
    const type = DescriptorType[d.type];
    const access = (d.readOnly ? DescriptorFlag.ReadOnly : 0) | (d.pages ? DescriptorFlag.Pages : 0);
    view.setUint32(
      at + 8,
      DescriptorFlag.Used | type | access | (d.absent ? DescriptorFlag.Absent : 0) | (d.wide ? DescriptorFlag.Wide : 0),
      true,
    );
  });
  buffer.set(image, 8 + TABLE_BYTES);
  let at = HEAD_BYTES;
  for (const one of cases) {
    const fp = one.fp === undefined ? 0 : CaseFlag.Fp | (one.fp.ymmHigh ? CaseFlag.Avx : 0);
    view.setUint32(at, sizeOf(one), true);
    view.setUint32(
      at + 4,
      modeFlag(one.mode) |
        fp |
        (one.branch ? CaseFlag.Step : 0) |
        (one.bytes.length > CODE_BYTES ? CaseFlag.Long : 0) |
        (one.selectors ? CaseFlag.Select : 0),
      true,
    );
    for (let i = 0; i < 16; i++) view.setBigUint64(at + 8 + 8 * i, one.gpr[i], true);
    view.setUint32(at + 136, one.rflags, true);
    view.setUint32(at + 144, one.codeOffset, true);
    view.setUint32(at + 148, one.bytes.length, true);
    const long = one.bytes.length > CODE_BYTES;
    if (!long) buffer.set(one.bytes, at + 152);
    view.setUint32(at + 168, one.patches.length, true);
    if (one.segments) buffer.set([one.segments.cs, one.segments.ss, one.segments.ds, one.segments.es], at + 172);
    at += IN_BYTES;
    if (one.fp) {
      buffer.set(one.fp.image, at);
      at += 512;
      if (one.fp.ymmHigh) {
        buffer.set(one.fp.ymmHigh, at);
        at += 256;
      }
    }
    if (long) {
      buffer.set(one.bytes, at);
      at += padded(one.bytes.length);
    }
    for (const patch of one.patches) {
      view.setUint32(at, patch.offset, true);
      view.setUint32(at + 4, patch.bytes.length, true);
      buffer.set(patch.bytes, at + 8);
      at += 8 + padded(patch.bytes.length);
    }
  }
  return buffer;
}

/** The results, as `struct case_out` has them. */
function decode(output: Buffer, cases: readonly OracleCase[]): OracleResult[] {
  const view = new DataView(output.buffer, output.byteOffset, output.length);
  const results: OracleResult[] = [];
  let at = 0;
  for (const one of cases) {
    if (at + OUT_BYTES > output.length) throw new Error('host oracle: output ends early');
    const end = at + view.getUint32(at, true);
    const trap = view.getUint32(at + 4, true);
    const gpr = new BigUint64Array(16);
    for (let i = 0; i < 16; i++) gpr[i] = view.getBigUint64(at + 8 + 8 * i, true);
    const rip = view.getBigUint64(at + 136, true);
    const rflags = view.getUint32(at + 144, true);
    const fault =
      trap === NO_TRAP
        ? undefined
        : { vector: trap, error: view.getUint32(at + 160, true), cr2: view.getBigUint64(at + 152, true) };
    const runs = view.getUint32(at + 164, true);
    const selectors = one.selectors ? Array.from({ length: 6 }, (_, i) => view.getUint16(at + 168 + 2 * i, true)) : undefined;
    at += OUT_BYTES;
    let fp: OracleResult['fp'];
    if (one.fp) {
      const fpBytes = output.subarray(at, at + 512);
      at += 512;
      fp = { image: fpBytes };
      if (one.fp.ymmHigh) {
        fp = { image: fpBytes, ymmHigh: output.subarray(at, at + 256) };
        at += 256;
      }
    }
    const changes: Patch[] = [];
    for (let i = 0; i < runs; i++) {
      const length = view.getUint32(at + 4, true);
      changes.push({ offset: view.getUint32(at, true), bytes: output.subarray(at + 8, at + 8 + length) });
      at += 8 + padded(length);
    }
    if (at !== end) throw new Error('host oracle: a result of the wrong size');
    results.push({ gpr, rip, rflags, fault, changes, ...(fp && { fp }), ...(selectors && { selectors }) });
  }
  return results;
}

/**
 * Runs each case on the host processor. `image` is the data area, `Layout.bytes` long. Throws if the harness dies, which means that a
 * case escaped it; batches of up to about 20,000 cases are best.
 */
export function runOnHost(image: Uint8Array, cases: readonly OracleCase[]): OracleResult[] {
  const { status, signal, stdout, stderr, error } = spawnSync(buildHarness(), {
    input: encode(image, cases),
    maxBuffer: 1 << 30,
    timeout: 60_000,
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`host oracle: ${signal ?? status}: ${stderr.toString()}`);
  return decode(stdout, cases);
}

export const hostEngine: Engine = { run: runOnHost };

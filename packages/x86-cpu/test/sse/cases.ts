/** Encodings of the SSE rows, and states that look for trouble. */

import { rows } from '../../src/decode/lookup.ts';
import type { OpcodeRow } from '../../src/decode/opcodes.ts';
import { Rec } from './host.ts';

/** A small generator with a seed (xorshift32), so that a failure can be run again. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 1;
  }
  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
  below(n: number): number {
    return this.u32() % n;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

const PREFIX: Readonly<Record<string, readonly number[]>> = { np: [], nf: [], '66': [0x66], f3: [0xf3], f2: [0xf2], any: [] };
const ESCAPE = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]] as const;

/** Hints and fences belong to other files; CRC32 to the integer instructions. */
const ELSEWHERE = /^(nop|pause|[lms]fence|fisttp)$/;

export const covered = (row: OpcodeRow): boolean =>
  !row.vex && !ELSEWHERE.test(row.sem) && /^(mmx|sse|sse2|sse3|ssse3|sse4_1|sse4_2|aes|pclmulqdq|sha|fxsr)$/.test(row.feature);

/** Encodings of a row: register and memory forms, with and without REX.W, a few immediates. Memory operands are at RDI. */
export function encodings(row: OpcodeRow, random: Random): Uint8Array[] {
  const out: Uint8Array[] = [];
  const immediate = row.operands.includes('Iub');
  const wide = row.operands.some((operand) => /y$/.test(operand)) || row.feature === 'fxsr' || row.sem.startsWith('pcmpestr');
  const general = row.operands.some((operand) => /^[EGRM]/.test(operand) && operand !== 'Mq' && operand !== 'Mdq');
  const implicitMemory = row.operands.some((operand) => operand.startsWith('BD'));
  // Whether SHA's memory operand must be aligned, vendors do not agree.
  const vendors = row.feature === 'sha';
  const modrm = (mode: 'reg' | 'mem'): number => {
    // General registers are RAX, RCX, RDX, RBX; vector registers any of the first eight.
    const limit = general ? 4 : 8;
    const reg = row.reg >= 0 ? row.reg : random.below(general || row.operands[0].startsWith('G') ? 4 : 8);
    if (mode === 'mem') return 0x40 | (reg << 3) | 7;
    return 0xc0 | (reg << 3) | random.below(limit);
  };
  const needs = row.specs.map((spec) => spec.needs).find((mode) => mode !== '');
  const required = row.mod === 'any' ? needs : row.mod;
  const modes = required ? [required] : (['reg', 'mem'] as const);
  for (const mode of row.modrm ? modes : (['none'] as const))
    for (const rex of wide ? [0, 0x48] : [0])
      for (let again = 0; again < (immediate ? 12 : 3); again++) {
        const bytes = [...PREFIX[row.prefix], ...(rex ? [rex] : []), ...ESCAPE[row.map], row.opcode];
        if (mode !== 'none') bytes.push(modrm(mode));
        // Mostly the aligned operand; now and then one that 16-byte accesses must refuse.
        if (mode === 'mem') bytes.push(again === 2 && !vendors ? 8 : again === 1 ? 48 : 0);
        if (immediate) bytes.push(random.pick([random.below(256), random.below(8), random.below(20)]));
        out.push(Uint8Array.from(bytes));
        if (mode === 'none' && !implicitMemory) return out;
      }
  return out;
}

export const coveredRows = (): OpcodeRow[] => rows.filter(covered);

// --- states ------------------------------------------------------------------------------------------------------------------

const F64_SPECIAL = [
  0x0000000000000000n,
  0x0000000000000001n,
  0x000fffffffffffffn,
  0x0008000000000000n,
  0x0010000000000000n,
  0x0010000000000001n,
  0x3ff0000000000000n,
  0x3ff0000000000001n,
  0x3fefffffffffffffn,
  0x3fe0000000000000n,
  0x4000000000000000n,
  0x4008000000000000n,
  0x7fefffffffffffffn,
  0x7ff0000000000000n,
  0x7ff8000000000000n,
  0x7ff8000000001234n,
  0x7ff4000000005678n,
  0x7ff0000000000001n,
  0x41dfffffffc00000n,
  0x41dfffffffe00000n,
  0x41e0000000000000n,
  0x41e0000000100000n,
  0x43e0000000000000n,
  0x43dfffffffffffffn,
  0x3ff8000000000000n,
  0x4004000000000000n,
  0x380fffffffffffffn,
  0x3810000000000000n,
  0x380fffffe0000000n,
  0x3690000000000000n,
  0x47efffffe0000000n,
  0x47efffffefffffffn,
  0x47effffff0000000n,
  0x47f0000000000000n,
  0x3ca0000000000000n,
  0x1ff0000000000000n,
  0x2000000000000001n,
  0x5fefffffffffffffn,
  0x5ff0000000000000n,
  0x381fffffffffffffn,
  0x3800000000000000n,
  0x36a0000000000001n,
];
const F32_SPECIAL = [
  0, 1, 0x007fffff, 0x00400000, 0x00800000, 0x00800001, 0x3f800000, 0x3f800001, 0x3f7fffff, 0x3f000000, 0x40000000, 0x40400000,
  0x7f7fffff, 0x7f800000, 0x7fc00000, 0x7fc01234, 0x7fa00567, 0x7f800001, 0x4effffff, 0x4f000000, 0x4f000001, 0x5f000000,
  0x5effffff, 0x3fc00000, 0x40200000, 0x33800000, 0x1f800000, 0x20000001, 0x5f7fffff, 0x1fffffff, 0x4b000001, 0x4affffff,
];

function double(random: Random): bigint {
  const sign = BigInt(random.below(2)) << 63n;
  switch (random.below(6)) {
    case 0:
      return random.u64();
    case 1: {
      // Exponents close to each other, fractions with few bits.
      const fraction = random.u64() & 0xfffffffffffffn & ~((1n << BigInt(random.below(52))) - 1n);
      return sign | (BigInt(1023 - 32 + random.below(64)) << 52n) | fraction;
    }
    case 2:
      return (
        sign |
        (BigInt(random.pick([1, 2, 40, 60, 500, 511, 512, 513, 1500, 1535, 1536, 2045, 2046])) << 52n) |
        (random.u64() & 0xfffffffffffffn)
      );
    case 3:
      return sign | (random.u64() & 0xfffffffffffffn);
    default:
      return sign | random.pick(F64_SPECIAL);
  }
}

function single(random: Random): number {
  const sign = (random.below(2) << 31) >>> 0;
  switch (random.below(6)) {
    case 0:
      return random.u32();
    case 1: {
      const fraction = (random.u32() & 0x7fffff & ~((1 << random.below(23)) - 1)) >>> 0;
      return (sign | ((127 - 16 + random.below(40)) << 23) | fraction) >>> 0;
    }
    case 2:
      return (sign | (random.pick([1, 2, 20, 63, 64, 65, 150, 190, 191, 252, 253, 254]) << 23) | (random.u32() & 0x7fffff)) >>> 0;
    case 3:
      return (sign | (random.u32() & 0x7fffff)) >>> 0;
    default:
      return (sign | random.pick(F32_SPECIAL)) >>> 0;
  }
}

/** Kind of numbers an instruction works on, by its name. */
export function kindOf(sem: string): 'f32' | 'f64' | 'int' {
  if (/^cvt(t)?(dq|si|pi)2/.test(sem)) return 'int';
  if (/^cvtt?(ss|ps)2/.test(sem)) return 'f32';
  if (/^cvtt?(sd|pd)2/.test(sem)) return 'f64';
  if (/(ss|ps)$/.test(sem)) return 'f32';
  if (/(sd|pd)$/.test(sem)) return 'f64';
  return 'int';
}

const WORDS = [0, 1, 0x7fff, 0x8000, 0xffff, 0x00ff, 0x0080, 0x7f80];

function fill(view: DataView, from: number, bytes: number, kind: 'f32' | 'f64' | 'int', random: Random): void {
  for (let at = from; at < from + bytes; at += 8) {
    if (kind === 'f64') view.setBigUint64(at, double(random), true);
    else if (kind === 'f32') for (const half of [0, 4]) view.setUint32(at + half, single(random), true);
    else
      for (let word = 0; word < 8; word += 2)
        view.setUint16(at + word, random.below(2) === 0 ? random.below(65536) : random.pick(WORDS), true);
    if (kind === 'int' && random.below(8) === 0) view.setBigUint64(at, BigInt(random.below(80)), true);
  }
}

const MXCSR = [
  0x1fa0, 0x1fa0, 0x1f80, 0x1fbf, 0x3f80, 0x5f80, 0x7f80, 0x3fa0, 0x9fa0, 0x9fc0, 0x1fe0, 0xffe0, 0x8000, 0x0000, 0x0fa0,
];

export function fillState(record: Uint8Array, code: Uint8Array, sem: string, random: Random): void {
  const view = new DataView(record.buffer, record.byteOffset, Rec.size);
  record.set(code);
  record[Rec.length] = code.length;
  const kind = kindOf(sem);
  for (let reg = 0; reg < 4; reg++)
    view.setBigUint64(
      Rec.gpr + 8 * reg,
      random.pick([random.u64(), BigInt(random.u32()), BigInt.asUintN(64, BigInt(random.below(16) - 8)), 1n << 63n]),
      true,
    );
  view.setBigUint64(Rec.rflags, 0x202n, true);
  // Now and then an x87 exception is pending: ES and B with an unmasked flag.
  const pending = random.below(16) === 0;
  view.setUint16(Rec.image, pending ? 0x37b : 0x37f, true);
  view.setUint16(Rec.image + 2, (random.below(8) << 11) | (pending ? 0x8084 : 0), true);
  record[Rec.image + 4] = random.below(256);
  const mxcsr = random.below(4) === 0 ? random.below(0x10000) : random.pick(MXCSR);
  view.setUint32(Rec.image + 24, mxcsr, true);
  for (let i = 0; i < 8; i++) {
    fill(view, Rec.image + 32 + 16 * i, 8, kind, random);
    view.setUint16(Rec.image + 40 + 16 * i, random.below(65536), true);
  }
  fill(view, Rec.image + 160, 256, kind, random);
  fill(view, Rec.memory, 128, kind, random);
  if (sem === 'ldmxcsr') view.setUint32(Rec.memory, random.u32() & random.pick([0xffff, 0xffff, 0x1ffff]), true);
  if (sem === 'fxrstor') fillImage(view, Rec.memory, random);
}

/** An image FXRSTOR accepts, or, now and then, refuses for its MXCSR. */
function fillImage(view: DataView, at: number, random: Random): void {
  for (let word = 0; word < 512; word += 4) view.setUint32(at + word, random.u32(), true);
  view.setUint32(at + 24, random.below(8) === 0 ? 0x10000 : random.below(0x10000), true);
}

/**
 * What AES-NI, PCLMULQDQ, CRC32 and the SHA extensions compute (SDM vol. 1 §12.13, §12.14; FIPS 197, FIPS 180-4), as routines:
 *
 * - `aes_sub`, `aes_inv_sub`, `aes_mix`, `aes_inv_mix`: v128 → v128: one step on all bytes or columns of a state
 * - `clmul_low`, `clmul_high`: (i64, i64) → halves of the carry-less product
 * - `crc32c`: (crc i32, value i64, bits i32) → i32
 * - `sha1_rounds`: (abcd, wk, function i32), `sha256_rounds`: (cdgh, abef, wk), `sha1_schedule`, `sha256_schedule`: (a, b)
 */
import type { FuncRef, FunctionBuilder, I32, I64, Local, ModuleBuilder, V128 } from '@tsvisor/wasm-codegen';

type AnyRoutine = FuncRef<never, unknown>;

// --- AES ---------------------------------------------------------------------------------------------------------------------

/** The forward substitution table: inversion in GF(2^8) and an affine map (FIPS 197 §5.1.1). */
function substitution(): Uint8Array {
  const table = new Uint8Array(256);
  // Powers of the generator 3 and of its inverse walk through all pairs of inverses.
  let value = 1;
  let inverse = 1;
  do {
    value ^= ((value << 1) ^ (value & 0x80 ? 0x11b : 0)) & 0xff;
    inverse ^= inverse << 1;
    inverse ^= inverse << 2;
    inverse ^= inverse << 4;
    inverse &= 0xff;
    if (inverse & 0x80) inverse ^= 0x09;
    const rotated = (n: number) => ((inverse << n) | (inverse >> (8 - n))) & 0xff;
    table[value] = inverse ^ rotated(1) ^ rotated(2) ^ rotated(3) ^ rotated(4) ^ 0x63;
  } while (value !== 1);
  table[0] = 0x63;
  return table;
}

function inverted(table: Uint8Array): Uint8Array {
  const out = new Uint8Array(256);
  table.forEach((value, index) => {
    out[value] = index;
  });
  return out;
}

/** Looks all bytes up in a table: sixteen swizzles, of which the fifteen that are out of range answer zero. */
function lookUp(module: ModuleBuilder, name: string, table: Uint8Array): AnyRoutine {
  const f = module.function(name, ['v128'], ['v128']);
  const { v128 } = f;
  const words = new DataView(table.buffer);
  const index = f.param(0, 'v128');
  const row = (n: number) =>
    v128.const(...([0, 4, 8, 12].map((at) => words.getInt32(16 * n + at, true)) as [number, number, number, number]));
  let found = v128.i8x16_swizzle(row(0), f.get(index));
  for (let n = 1; n < 16; n++) {
    const values = row(n);
    found = v128.or(found, v128.i8x16_swizzle(values, v128.i8x16_sub(f.get(index), v128.splat('i8x16', f.i32.const(16 * n)))));
  }
  return f.ref<never, V128>();
}

/** Bytes times x in GF(2^8). */
function doubled(f: FunctionBuilder, value: Local<V128>): V128 {
  const { v128, i32 } = f;
  const shifted = v128.i8x16_shl(f.get(value), i32.const(1));
  const reduction = v128.and(v128.i8x16_shr_s(f.get(value), i32.const(7)), v128.splat('i8x16', i32.const(0x1b)));
  return v128.xor(shifted, reduction);
}

/** Bytes of every column moved up by `count` places. */
const turned = (f: FunctionBuilder, value: Local<V128>, count: number): V128 =>
  f.v128.shuffle(
    f.get(value),
    f.get(value),
    Array.from({ length: 16 }, (_, n) => (n & ~3) | ((n + count) & 3)),
  );

/** MixColumns (FIPS 197 §5.1.3): 2a ^ 3b ^ c ^ d = x·(a ^ b) ^ b ^ c ^ d. */
function mixRoutine(module: ModuleBuilder): AnyRoutine {
  const f = module.function('aes_mix', ['v128'], ['v128']);
  const { v128 } = f;
  const a = f.param(0, 'v128');
  const sum = f.local('v128');
  const first = f.get(a);
  f.set(sum, v128.xor(first, turned(f, a, 1)));
  v128.xor(v128.xor(v128.xor(doubled(f, sum), turned(f, a, 1)), turned(f, a, 2)), turned(f, a, 3));
  return f.ref<never, V128>();
}

/** InvMixColumns is MixColumns of a ^ 4·(a ^ c). */
function inverseMixRoutine(module: ModuleBuilder, mix: AnyRoutine): AnyRoutine {
  const f = module.function('aes_inv_mix', ['v128'], ['v128']);
  const { v128 } = f;
  const a = f.param(0, 'v128');
  const sum = f.local('v128');
  const first = f.get(a);
  f.set(sum, v128.xor(first, turned(f, a, 2)));
  f.set(sum, doubled(f, sum));
  f.set(sum, doubled(f, sum));
  f.call(mix as unknown as FuncRef<[V128], V128>, v128.xor(f.get(sum), f.get(a)));
  return f.ref<never, V128>();
}

// --- carry-less multiplication and CRC ---------------------------------------------------------------------------------------

const NIBBLE_BIT = 0x1111_1111_1111_1111n;

/**
 * Low 64 bits of a carry-less product. Each operand is cut into four numbers with a bit every four places: an ordinary product of two
 * such has room for the carries between its places, and those are masked off.
 */
function carrylessLow(module: ModuleBuilder): FuncRef<[I64, I64], I64> {
  const f = module.function('clmul_low', ['i64', 'i64'], ['i64']);
  const { i64 } = f;
  const parts = [0, 1].map((operand) =>
    [0, 1, 2, 3].map((place) => {
      const part = f.local('i64');
      f.set(part, i64.and(f.get(f.param(operand, 'i64')), i64.const(NIBBLE_BIT << BigInt(place))));
      return part;
    }),
  );
  const product = (i: number, j: number): I64 => i64.mul(f.get(parts[0][i]), f.get(parts[1][j]));
  const atPlace = (place: number): I64 => {
    let sum = product(0, place);
    for (let i = 1; i < 4; i++) sum = i64.xor(sum, product(i, (place - i) & 3));
    return i64.and(sum, i64.const(NIBBLE_BIT << BigInt(place)));
  };
  let all = atPlace(0);
  for (let place = 1; place < 4; place++) all = i64.or(all, atPlace(place));
  return f.ref<[I64, I64], I64>();
}

const REVERSAL: readonly (readonly [shift: number, mask: bigint])[] = [
  [1, 0x5555_5555_5555_5555n],
  [2, 0x3333_3333_3333_3333n],
  [4, 0x0f0f_0f0f_0f0f_0f0fn],
  [8, 0x00ff_00ff_00ff_00ffn],
  [16, 0x0000_ffff_0000_ffffn],
];

function reverseBits(f: FunctionBuilder, value: Local<I64>): void {
  const { i64 } = f;
  for (const [shift, mask] of REVERSAL) {
    const low = i64.and(i64.shr_u(f.get(value), i64.const(shift)), i64.const(mask));
    f.set(value, i64.or(low, i64.shl(i64.and(f.get(value), i64.const(mask)), i64.const(shift))));
  }
  f.set(value, i64.rotl(f.get(value), i64.const(32)));
}

/** High 64 bits: the low ones of the reversed operands, reversed, without the bit that both halves share. */
function carrylessHigh(module: ModuleBuilder, low: FuncRef<[I64, I64], I64>): FuncRef<[I64, I64], I64> {
  const f = module.function('clmul_high', ['i64', 'i64'], ['i64']);
  const [a, b] = [f.param(0, 'i64'), f.param(1, 'i64')];
  reverseBits(f, a);
  reverseBits(f, b);
  f.set(a, f.call(low, f.get(a), f.get(b)));
  reverseBits(f, a);
  f.i64.shr_u(f.get(a), f.i64.const(1));
  return f.ref<[I64, I64], I64>();
}

/** The Castagnoli polynomial, reflected, with its leading term at bit 0 (SDM vol. 2A, CRC32). */
const CASTAGNOLI = (0x82f6_3b78n << 1n) | 1n;

/** The number whose carry-less product with `value`, which is odd, is 1 modulo 2^64. */
function carrylessInverse(value: bigint): bigint {
  let inverse = 0n;
  let rest = 1n;
  for (let bit = 0n; bit < 64n; bit++) {
    if (((rest >> bit) & 1n) === 0n) continue;
    inverse |= 1n << bit;
    rest ^= value << bit;
  }
  return inverse;
}

/**
 * Division by the polynomial clears the low 64 bits of the dividend by adding multiples of it; which multiples, its inverse tells, and
 * what they add above bit 63 is the remainder. Short dividends are moved up, and bits of the old checksum beyond them stay.
 */
function crcRoutine(module: ModuleBuilder, multiply: FuncRef<[I64, I64], I64>): AnyRoutine {
  const f = module.function('crc32c', ['i32', 'i64', 'i32'], ['i32']);
  const { i32, i64 } = f;
  const crc = (): I64 => i64.extend_i32_u(f.get(f.param(0, 'i32')));
  const bits = (): I64 => i64.extend_i32_u(f.get(f.param(2, 'i32')));
  const quotient = f.local('i64');
  const dividend = i64.shl(i64.xor(crc(), f.get(f.param(1, 'i64'))), i64.sub(i64.const(64), bits()));
  f.set(quotient, f.call(multiply, dividend, i64.const(carrylessInverse(CASTAGNOLI))));
  const beyond = f.select(i64.const(0), i64.shr_u(crc(), bits()), i64.ge_u(bits(), i64.const(32)));
  let remainder = beyond;
  for (let bit = 1; bit <= 32; bit++) {
    if ((CASTAGNOLI >> BigInt(bit)) & 1n) remainder = i64.xor(remainder, i64.shr_u(f.get(quotient), i64.const(64 - bit)));
  }
  i32.wrap_i64(remainder);
  return f.ref<never, I32>();
}

// --- SHA ---------------------------------------------------------------------------------------------------------------------

/** Lanes of a vector parameter in locals, lowest first. */
function unpacked(f: FunctionBuilder, param: number): Local<I32>[] {
  return [0, 1, 2, 3].map((lane) => {
    const local = f.local('i32');
    f.set(local, f.v128.extract_i32('i32x4', f.get(f.param(param, 'v128')), lane));
    return local;
  });
}

function repacked(f: FunctionBuilder, lanes: readonly Local<I32>[]): void {
  let vector = f.v128.splat('i32x4', f.get(lanes[0]));
  for (let lane = 1; lane < 4; lane++) vector = f.v128.replace('i32x4', vector, lane, f.get(lanes[lane]));
}

const parity = (f: FunctionBuilder, b: Local<I32>, c: Local<I32>, d: Local<I32>): I32 =>
  f.i32.xor(f.i32.xor(f.get(b), f.get(c)), f.get(d));
const choose = (f: FunctionBuilder, b: Local<I32>, c: Local<I32>, d: Local<I32>): I32 => {
  const difference = f.i32.xor(f.get(c), f.get(d));
  return f.i32.xor(f.i32.and(difference, f.get(b)), f.get(d));
};
const majority = (f: FunctionBuilder, b: Local<I32>, c: Local<I32>, d: Local<I32>): I32 => {
  const both = f.i32.and(f.get(b), f.get(c));
  return f.i32.or(both, f.i32.and(f.i32.or(f.get(b), f.get(c)), f.get(d)));
};

/** Functions and constants of the four twenties of rounds (FIPS 180-4 §4.1.1, §4.2.1). */
const SHA1_ROUNDS = [
  [choose, 0x5a82_7999],
  [parity, 0x6ed9_eba1],
  [majority, 0x8f1b_bcdc],
  [parity, 0xca62_c1d6],
] as const;

/** SHA1RNDS4: E is already in the first word. */
function sha1Rounds(module: ModuleBuilder): AnyRoutine {
  const f = module.function('sha1_rounds', ['v128', 'v128', 'i32'], ['v128']);
  const { i32 } = f;
  const words = unpacked(f, 1);
  const state = unpacked(f, 0);
  const [d, c, b, a] = state;
  const [e, sum] = [f.local('i32'), f.local('i32')];
  SHA1_ROUNDS.forEach(([mix, constant], number) => {
    f.if(i32.eq(f.get(f.param(2, 'i32')), i32.const(number)), () => {
      for (let round = 0; round < 4; round++) {
        const mixed = i32.add(i32.add(mix(f, b, c, d), i32.rotl(f.get(a), i32.const(5))), f.get(words[3 - round]));
        f.set(sum, i32.add(i32.add(mixed, f.get(e)), i32.const(constant)));
        f.set(e, f.get(d));
        f.set(d, f.get(c));
        f.set(c, i32.rotl(f.get(b), i32.const(30)));
        f.set(b, f.get(a));
        f.set(a, f.get(sum));
      }
    });
  });
  repacked(f, state);
  return f.ref<never, V128>();
}

/** SHA1MSG2. */
function sha1Schedule(module: ModuleBuilder): AnyRoutine {
  const f = module.function('sha1_schedule', ['v128', 'v128'], ['v128']);
  const { i32 } = f;
  const a = unpacked(f, 0);
  const b = unpacked(f, 1);
  for (let lane = 3; lane >= 0; lane--) {
    const old = lane > 0 ? b[lane - 1] : a[3];
    f.set(a[lane], i32.rotl(i32.xor(f.get(a[lane]), f.get(old)), i32.const(1)));
  }
  repacked(f, a);
  return f.ref<never, V128>();
}

const rotations = (f: FunctionBuilder, x: Local<I32>, counts: readonly number[], shift = 0): I32 => {
  const { i32 } = f;
  let sum = i32.rotr(f.get(x), i32.const(counts[0]));
  for (const count of counts.slice(1)) sum = i32.xor(sum, i32.rotr(f.get(x), i32.const(count)));
  return shift === 0 ? sum : i32.xor(sum, i32.shr_u(f.get(x), i32.const(shift)));
};

/** SHA256RNDS2: two rounds (FIPS 180-4 §6.2.2); the constant is added to the message words already. */
function sha256Rounds(module: ModuleBuilder): AnyRoutine {
  const f = module.function('sha256_rounds', ['v128', 'v128', 'v128'], ['v128']);
  const { i32 } = f;
  let [h, g, d, c] = unpacked(f, 0);
  let [ff, e, b, a] = unpacked(f, 1);
  const words = unpacked(f, 2);
  const [first, second] = [f.local('i32'), f.local('i32')];
  for (const word of words.slice(0, 2)) {
    const chosen = i32.add(rotations(f, e, [6, 11, 25]), choose(f, e, ff, g));
    f.set(first, i32.add(i32.add(chosen, f.get(h)), f.get(word)));
    f.set(second, i32.add(rotations(f, a, [2, 13, 22]), majority(f, a, b, c)));
    f.set(d, i32.add(f.get(d), f.get(first)));
    f.set(h, i32.add(f.get(first), f.get(second)));
    // The registers move one on: what was d is e, what was h is a.
    [a, b, c, d, e, ff, g, h] = [h, a, b, c, d, e, ff, g];
  }
  repacked(f, [ff, e, b, a]);
  return f.ref<never, V128>();
}

/** SHA256MSG2. */
function sha256Schedule(module: ModuleBuilder): AnyRoutine {
  const f = module.function('sha256_schedule', ['v128', 'v128'], ['v128']);
  const a = unpacked(f, 0);
  const b = unpacked(f, 1);
  const earlier = [b[2], b[3], a[0], a[1]];
  for (let lane = 0; lane < 4; lane++) {
    const own = f.get(a[lane]);
    f.set(a[lane], f.i32.add(own, rotations(f, earlier[lane], [17, 19], 10)));
  }
  repacked(f, a);
  return f.ref<never, V128>();
}

/** Adds the routines to a module under construction. */
export function addCryptoRoutines(module: ModuleBuilder): Map<string, AnyRoutine> {
  const table = substitution();
  const mix = mixRoutine(module);
  const low = carrylessLow(module);
  return new Map<string, AnyRoutine>([
    ['aes_sub', lookUp(module, 'aes_sub', table)],
    ['aes_inv_sub', lookUp(module, 'aes_inv_sub', inverted(table))],
    ['aes_mix', mix],
    ['aes_inv_mix', inverseMixRoutine(module, mix)],
    ['clmul_low', low as unknown as AnyRoutine],
    ['clmul_high', carrylessHigh(module, low) as unknown as AnyRoutine],
    ['crc32c', crcRoutine(module, low)],
    ['sha1_rounds', sha1Rounds(module)],
    ['sha1_schedule', sha1Schedule(module)],
    ['sha256_rounds', sha256Rounds(module)],
    ['sha256_schedule', sha256Schedule(module)],
  ]);
}

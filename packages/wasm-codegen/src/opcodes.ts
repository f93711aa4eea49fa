// biome-ignore-all format: opcode tables stay readable in rows
/** Opcode tables (core specification §5.4), grouped by operand shape; ops.ts turns each name into a builder method. */

/** Control, variables and calls, named as in the specification. */
export const CONTROL = {
  unreachable: 0x00, block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, br: 0x0c, br_if: 0x0d, br_table: 0x0e, return: 0x0f,
  call: 0x10, call_indirect: 0x11, return_call: 0x12, return_call_indirect: 0x13, drop: 0x1a, select: 0x1b,
  'local.get': 0x20, 'local.set': 0x21, 'local.tee': 0x22, 'global.get': 0x23, 'global.set': 0x24,
} as const;
export const CONST = { i32: 0x41, i64: 0x42, f32: 0x43, f64: 0x44 } as const;
/** What starts an opcode of more than one byte. */
export const PREFIX = { misc: 0xfc, vector: 0xfd, atomic: 0xfe } as const;
/** 0xfc-prefixed. */
export const BULK = { 'memory.copy': 10, 'memory.fill': 11 } as const;
/** 0xfe-prefixed. */
export const FENCE = { 'atomic.fence': 3 } as const;

/** i32 or i64 → i32 */
export const I32_TEST = { eqz: 0x45 } as const;
export const I64_TEST = { eqz: 0x50 } as const;
/** Conversions: the operand's type is in the name. */
export const I32_CONVERT = { wrap_i64: 0xa7, reinterpret_f32: 0xbc } as const;
export const I64_CONVERT = { extend_i32_s: 0xac, extend_i32_u: 0xad, reinterpret_f64: 0xbd } as const;
export const F32_CONVERT = { demote_f64: 0xb6, convert_i32_s: 0xb2, convert_i64_s: 0xb4, reinterpret_i32: 0xbe } as const;
export const F64_CONVERT = {
  promote_f32: 0xbb, convert_i32_s: 0xb7, convert_i64_s: 0xb9, convert_i64_u: 0xba, reinterpret_i64: 0xbf,
} as const;
/** The saturating ones: 0xfc-prefixed. */
export const I32_TRUNCATE = { trunc_sat_f32_s: 0, trunc_sat_f64_s: 2 } as const;
export const I64_TRUNCATE = { trunc_sat_f32_s: 4, trunc_sat_f64_s: 6 } as const;

export const I32_UNARY = { clz: 0x67, ctz: 0x68, popcnt: 0x69, extend8_s: 0xc0, extend16_s: 0xc1 } as const;
export const I32_BINARY = {
  add: 0x6a, sub: 0x6b, mul: 0x6c, div_s: 0x6d, div_u: 0x6e, rem_s: 0x6f, rem_u: 0x70, and: 0x71, or: 0x72, xor: 0x73,
  shl: 0x74, shr_s: 0x75, shr_u: 0x76, rotl: 0x77, rotr: 0x78,
  eq: 0x46, ne: 0x47, lt_s: 0x48, lt_u: 0x49, gt_s: 0x4a, gt_u: 0x4b, le_s: 0x4c, le_u: 0x4d, ge_s: 0x4e, ge_u: 0x4f,
} as const;

export const I64_UNARY = { clz: 0x79, ctz: 0x7a, popcnt: 0x7b, extend8_s: 0xc2, extend16_s: 0xc3, extend32_s: 0xc4 } as const;
export const I64_BINARY = {
  add: 0x7c, sub: 0x7d, mul: 0x7e, div_s: 0x7f, div_u: 0x80, rem_s: 0x81, rem_u: 0x82, and: 0x83, or: 0x84, xor: 0x85,
  shl: 0x86, shr_s: 0x87, shr_u: 0x88, rotl: 0x89, rotr: 0x8a,
} as const;
export const I64_COMPARE = {
  eq: 0x51, ne: 0x52, lt_s: 0x53, lt_u: 0x54, gt_s: 0x55, gt_u: 0x56, le_s: 0x57, le_u: 0x58, ge_s: 0x59, ge_u: 0x5a,
} as const;

export const F32_UNARY = { abs: 0x8b, neg: 0x8c, ceil: 0x8d, floor: 0x8e, trunc: 0x8f, nearest: 0x90, sqrt: 0x91 } as const;
export const F32_BINARY = { add: 0x92, sub: 0x93, mul: 0x94, div: 0x95, min: 0x96, max: 0x97, copysign: 0x98 } as const;
export const F32_COMPARE = { eq: 0x5b, ne: 0x5c, lt: 0x5d, gt: 0x5e, le: 0x5f, ge: 0x60 } as const;
export const F64_UNARY = { abs: 0x99, neg: 0x9a, ceil: 0x9b, floor: 0x9c, trunc: 0x9d, nearest: 0x9e, sqrt: 0x9f } as const;
export const F64_BINARY = { add: 0xa0, sub: 0xa1, mul: 0xa2, div: 0xa3, min: 0xa4, max: 0xa5, copysign: 0xa6 } as const;
export const F64_COMPARE = { eq: 0x61, ne: 0x62, lt: 0x63, gt: 0x64, le: 0x65, ge: 0x66 } as const;

/** name → [opcode, log2 of the natural alignment in bytes] */
export const I32_LOAD = {
  load: [0x28, 2], load8_s: [0x2c, 0], load8_u: [0x2d, 0], load16_s: [0x2e, 1], load16_u: [0x2f, 1],
} as const;
export const I32_STORE = { store: [0x36, 2], store8: [0x3a, 0], store16: [0x3b, 1] } as const;
export const I64_LOAD = {
  load: [0x29, 3], load8_s: [0x30, 0], load8_u: [0x31, 0], load16_s: [0x32, 1], load16_u: [0x33, 1], load32_s: [0x34, 2],
  load32_u: [0x35, 2],
} as const;
export const F32_LOAD = { load: [0x2a, 2] } as const;
export const F32_STORE = { store: [0x38, 2] } as const;
export const F64_LOAD = { load: [0x2b, 3] } as const;
export const F64_STORE = { store: [0x39, 3] } as const;
export const I64_STORE = { store: [0x37, 3], store8: [0x3c, 0], store16: [0x3d, 1], store32: [0x3e, 2] } as const;

/** Atomic accesses (threads proposal): 0xfe-prefixed; [opcode, log2 of the alignment, which is required]. */
export const I32_ATOMIC_LOAD = { atomic_load: [0x10, 2], atomic_load8_u: [0x12, 0], atomic_load16_u: [0x13, 1] } as const;
export const I64_ATOMIC_LOAD = {
  atomic_load: [0x11, 3], atomic_load8_u: [0x14, 0], atomic_load16_u: [0x15, 1], atomic_load32_u: [0x16, 2],
} as const;
export const I32_ATOMIC_STORE = { atomic_store: [0x17, 2] } as const;
export const I64_ATOMIC_STORE = { atomic_store: [0x18, 3] } as const;
/** (address, waiters at most) → waiters woken */
export const ATOMIC_NOTIFY = { atomic_notify: [0x00, 2] } as const;
export const I32_ATOMIC_RMW = {
  atomic_add: [0x1e, 2], atomic_sub: [0x25, 2], atomic_and: [0x2c, 2], atomic_or: [0x33, 2], atomic_xor: [0x3a, 2],
  atomic_xchg: [0x41, 2],
} as const;
export const I64_ATOMIC_RMW = {
  atomic_add: [0x1f, 3], atomic_add8: [0x22, 0], atomic_add16: [0x23, 1], atomic_add32: [0x24, 2],
  atomic_sub: [0x26, 3], atomic_sub8: [0x29, 0], atomic_sub16: [0x2a, 1], atomic_sub32: [0x2b, 2],
  atomic_and: [0x2d, 3], atomic_and8: [0x30, 0], atomic_and16: [0x31, 1], atomic_and32: [0x32, 2],
  atomic_or: [0x34, 3], atomic_or8: [0x37, 0], atomic_or16: [0x38, 1], atomic_or32: [0x39, 2],
  atomic_xor: [0x3b, 3], atomic_xor8: [0x3e, 0], atomic_xor16: [0x3f, 1], atomic_xor32: [0x40, 2],
  atomic_xchg: [0x42, 3], atomic_xchg8: [0x45, 0], atomic_xchg16: [0x46, 1], atomic_xchg32: [0x47, 2],
} as const;
export const I64_ATOMIC_CMPXCHG = {
  atomic_cmpxchg: [0x49, 3], atomic_cmpxchg8: [0x4c, 0], atomic_cmpxchg16: [0x4d, 1], atomic_cmpxchg32: [0x4e, 2],
} as const;

/** Vector accesses, constants and lanes: 0xfd-prefixed. */
export const V128_MEMORY = { load: 0, store: 11, load32_zero: 92, load64_zero: 93 } as const;
export const V128_CONST = 12;
export const V128_SHUFFLE = 13;
/** v128 × v128 × v128 → v128 */
export const V128_TERNARY = { bitselect: 82 } as const;
export const SPLAT = { i8x16: 15, i16x8: 16, i32x4: 17, i64x2: 18, f32x4: 19, f64x2: 20 } as const;
export const EXTRACT = { i8x16_s: 21, i8x16_u: 22, i16x8_s: 24, i16x8_u: 25, i32x4: 27, i64x2: 29, f32x4: 31, f64x2: 33 } as const;
export const REPLACE = { i8x16: 23, i16x8: 26, i32x4: 28, i64x2: 30, f32x4: 32, f64x2: 34 } as const;

/** Vector operations: 0xfd-prefixed (core specification §5.4.9). */
export const V128_UNARY = {
  not: 77,
  i8x16_abs: 96, i8x16_neg: 97, i8x16_popcnt: 98, i16x8_abs: 128, i16x8_neg: 129, i32x4_abs: 160, i32x4_neg: 161,
  i64x2_abs: 192, i64x2_neg: 193,
  i16x8_extadd_pairwise_i8x16_s: 124, i16x8_extadd_pairwise_i8x16_u: 125, i32x4_extadd_pairwise_i16x8_s: 126,
  i32x4_extadd_pairwise_i16x8_u: 127,
  i16x8_extend_low_i8x16_s: 135, i16x8_extend_high_i8x16_s: 136, i16x8_extend_low_i8x16_u: 137, i16x8_extend_high_i8x16_u: 138,
  i32x4_extend_low_i16x8_s: 167, i32x4_extend_high_i16x8_s: 168, i32x4_extend_low_i16x8_u: 169, i32x4_extend_high_i16x8_u: 170,
  i64x2_extend_low_i32x4_s: 199, i64x2_extend_high_i32x4_s: 200, i64x2_extend_low_i32x4_u: 201, i64x2_extend_high_i32x4_u: 202,
  f32x4_abs: 224, f32x4_neg: 225, f32x4_sqrt: 227, f64x2_abs: 236, f64x2_neg: 237, f64x2_sqrt: 239,
  f32x4_ceil: 103, f32x4_floor: 104, f32x4_trunc: 105, f32x4_nearest: 106,
  f64x2_ceil: 116, f64x2_floor: 117, f64x2_trunc: 122, f64x2_nearest: 148,
  i32x4_trunc_sat_f32x4_s: 248, i32x4_trunc_sat_f32x4_u: 249, f32x4_convert_i32x4_s: 250, f32x4_convert_i32x4_u: 251,
  i32x4_trunc_sat_f64x2_s_zero: 252, i32x4_trunc_sat_f64x2_u_zero: 253, f64x2_convert_low_i32x4_s: 254,
  f64x2_convert_low_i32x4_u: 255, f32x4_demote_f64x2_zero: 94, f64x2_promote_low_f32x4: 95,
} as const;
export const V128_BINARY = {
  and: 78, andnot: 79, or: 80, xor: 81, i8x16_swizzle: 14,
  i8x16_eq: 35, i8x16_ne: 36, i8x16_lt_s: 37, i8x16_lt_u: 38, i8x16_gt_s: 39, i8x16_gt_u: 40, i8x16_le_s: 41, i8x16_le_u: 42,
  i8x16_ge_s: 43, i8x16_ge_u: 44,
  i16x8_eq: 45, i16x8_ne: 46, i16x8_lt_s: 47, i16x8_lt_u: 48, i16x8_gt_s: 49, i16x8_gt_u: 50, i16x8_le_s: 51, i16x8_le_u: 52,
  i16x8_ge_s: 53, i16x8_ge_u: 54,
  i32x4_eq: 55, i32x4_ne: 56, i32x4_lt_s: 57, i32x4_lt_u: 58, i32x4_gt_s: 59, i32x4_gt_u: 60, i32x4_le_s: 61, i32x4_le_u: 62,
  i32x4_ge_s: 63, i32x4_ge_u: 64,
  i64x2_eq: 214, i64x2_ne: 215, i64x2_lt_s: 216, i64x2_gt_s: 217, i64x2_le_s: 218, i64x2_ge_s: 219,
  f32x4_eq: 65, f32x4_ne: 66, f32x4_lt: 67, f32x4_gt: 68, f32x4_le: 69, f32x4_ge: 70,
  f64x2_eq: 71, f64x2_ne: 72, f64x2_lt: 73, f64x2_gt: 74, f64x2_le: 75, f64x2_ge: 76,
  i8x16_narrow_i16x8_s: 101, i8x16_narrow_i16x8_u: 102, i16x8_narrow_i32x4_s: 133, i16x8_narrow_i32x4_u: 134,
  i8x16_add: 110, i8x16_add_sat_s: 111, i8x16_add_sat_u: 112, i8x16_sub: 113, i8x16_sub_sat_s: 114, i8x16_sub_sat_u: 115,
  i8x16_min_s: 118, i8x16_min_u: 119, i8x16_max_s: 120, i8x16_max_u: 121, i8x16_avgr_u: 123,
  i16x8_add: 142, i16x8_add_sat_s: 143, i16x8_add_sat_u: 144, i16x8_sub: 145, i16x8_sub_sat_s: 146, i16x8_sub_sat_u: 147,
  i16x8_mul: 149, i16x8_min_s: 150, i16x8_min_u: 151, i16x8_max_s: 152, i16x8_max_u: 153, i16x8_avgr_u: 155,
  i16x8_q15mulr_sat_s: 130,
  i16x8_extmul_low_i8x16_s: 156, i16x8_extmul_high_i8x16_s: 157, i16x8_extmul_low_i8x16_u: 158, i16x8_extmul_high_i8x16_u: 159,
  i32x4_add: 174, i32x4_sub: 177, i32x4_mul: 181, i32x4_min_s: 182, i32x4_min_u: 183, i32x4_max_s: 184, i32x4_max_u: 185,
  i32x4_dot_i16x8_s: 186,
  i32x4_extmul_low_i16x8_s: 188, i32x4_extmul_high_i16x8_s: 189, i32x4_extmul_low_i16x8_u: 190, i32x4_extmul_high_i16x8_u: 191,
  i64x2_add: 206, i64x2_sub: 209, i64x2_mul: 213,
  i64x2_extmul_low_i32x4_s: 220, i64x2_extmul_high_i32x4_s: 221, i64x2_extmul_low_i32x4_u: 222, i64x2_extmul_high_i32x4_u: 223,
  f32x4_add: 228, f32x4_sub: 229, f32x4_mul: 230, f32x4_div: 231, f32x4_min: 232, f32x4_max: 233, f32x4_pmin: 234, f32x4_pmax: 235,
  f64x2_add: 240, f64x2_sub: 241, f64x2_mul: 242, f64x2_div: 243, f64x2_min: 244, f64x2_max: 245, f64x2_pmin: 246, f64x2_pmax: 247,
} as const;
/** v128 × i32 → v128 */
export const V128_SHIFT = {
  i8x16_shl: 107, i8x16_shr_s: 108, i8x16_shr_u: 109, i16x8_shl: 139, i16x8_shr_s: 140, i16x8_shr_u: 141,
  i32x4_shl: 171, i32x4_shr_s: 172, i32x4_shr_u: 173, i64x2_shl: 203, i64x2_shr_s: 204, i64x2_shr_u: 205,
} as const;
/** v128 → i32 */
export const V128_TEST = {
  any_true: 83, i8x16_all_true: 99, i8x16_bitmask: 100, i16x8_all_true: 131, i16x8_bitmask: 132, i32x4_all_true: 163,
  i32x4_bitmask: 164, i64x2_all_true: 195, i64x2_bitmask: 196,
} as const;

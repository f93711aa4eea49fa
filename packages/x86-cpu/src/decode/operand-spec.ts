/** Operand abbreviations of SDM vol. 2, appendix A.2, as numbers the decoder switches on. */

/** Where an operand comes from. */
export const Src = {
  E: 1 /* ModRM.rm: general register or memory */,
  G: 2 /* ModRM.reg: general register */,
  M: 3 /* ModRM.rm: memory only */,
  R: 4 /* ModRM.rm: general register only */,
  Z: 5 /* low three opcode bits: general register */,
  B: 6 /* VEX.vvvv: general register */,
  S: 7 /* ModRM.reg: segment register */,
  C: 8 /* ModRM.reg: control register */,
  D: 9 /* ModRM.reg: debug register */,
  P: 10 /* ModRM.reg: MMX */,
  Q: 11 /* ModRM.rm: MMX or memory */,
  N: 12 /* ModRM.rm: MMX only */,
  V: 13 /* ModRM.reg: XMM/YMM */,
  W: 14 /* ModRM.rm: XMM/YMM or memory */,
  U: 15 /* ModRM.rm: XMM/YMM only */,
  H: 16 /* VEX.vvvv: XMM/YMM */,
  L: 17 /* bits 7:4 of an immediate byte: XMM/YMM */,
  ImmS8: 18 /* byte, sign-extended to the operand size */,
  ImmU8: 19,
  ImmU16: 20,
  ImmZ: 21 /* 16 or 32 bits, sign-extended to the operand size */,
  ImmV: 22 /* 16, 32 or 64 bits */,
  RelB: 23,
  RelZ: 24,
  Ptr: 25 /* ptr16:16, ptr16:32 */,
  Moffs: 26,
  X: 27 /* DS:rSI */,
  Y: 28 /* ES:rDI */,
  Xlat: 29 /* DS:rBX + AL */,
  MaskMov: 30 /* DS:rDI */,
  FixedGpr: 31,
  FixedSeg: 32,
  FixedXmm: 33,
  One: 34,
  St: 35 /* ModRM.rm: ST(i) */,
  St0: 36,
} as const;

/** Operand sizes: below 64 a number of bytes, 0 for a block whose size is the semantics' business; above, by rule. */
export const Size = {
  V: 64 /* operand size */,
  Z: 65 /* operand size, at most 4 */,
  Y: 66 /* 8 with REX.W/VEX.W in 64-bit mode, else 4 */,
  P: 67 /* far pointer: operand size + 2 */,
  X: 68 /* vector length */,
  S: 69 /* descriptor-table register image: 6, or 10 in 64-bit mode */,
  A: 70 /* BOUND: two of operand size */,
  N: 71 /* 8 in 64-bit mode, else 4 */,
  Half: 72 /* of the vector length */,
  Quarter: 73,
  Eighth: 74,
  Qdq: 75 /* 16 with REX.W, else 8 */,
  Env: 76 /* x87 environment: 14 or 28 bytes */,
  State: 77 /* x87 state: 94 or 108 bytes */,
  Addr: 78 /* address size */,
} as const;

/** One parsed operand. */
export interface OperandSpec {
  /** One of {@link Src}. */
  readonly src: number;
  /** Bytes, or one of {@link Size}. */
  readonly size: number;
  /** Register number of the `Fixed…` sources. */
  readonly fixed: number;
  /** The operand is named by the ModRM byte. */
  readonly modrm: boolean;
  /** ModRM.rm operands: which mod values are acceptable. */
  readonly needs: 'mem' | 'reg' | '';
}

const SIZES: Readonly<Record<string, number>> = {
  '': 0,
  b: 1,
  w: 2,
  d: 4,
  q: 8,
  t: 10,
  dq: 16,
  qq: 32,
  ss: 4,
  sd: 8,
  v: Size.V,
  z: Size.Z,
  y: Size.Y,
  p: Size.P,
  x: Size.X,
  s: Size.S,
  a: Size.A,
  n: Size.N,
  xh: Size.Half,
  xq: Size.Quarter,
  xe: Size.Eighth,
  qdq: Size.Qdq,
  env: Size.Env,
  st: Size.State,
};

const SEGMENTS: readonly string[] = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];
const FIXED: Readonly<Record<string, readonly [src: number, size: number, reg: number]>> = {
  AL: [Src.FixedGpr, 1, 0],
  AX: [Src.FixedGpr, 2, 0],
  rAX: [Src.FixedGpr, Size.V, 0],
  eAX: [Src.FixedGpr, Size.Z, 0],
  aAX: [Src.FixedGpr, Size.Addr, 0],
  EAX: [Src.FixedGpr, 4, 0],
  ECX: [Src.FixedGpr, 4, 1],
  EDX: [Src.FixedGpr, 4, 2],
  CL: [Src.FixedGpr, 1, 1],
  DX: [Src.FixedGpr, 2, 2],
  XMM0: [Src.FixedXmm, 16, 0],
  1: [Src.One, 1, 0],
  ST0: [Src.St0, 10, 0],
  STi: [Src.St, 10, 0],
  BBb: [Src.Xlat, 1, 0],
  BDq: [Src.MaskMov, 8, 0],
  BDdq: [Src.MaskMov, 16, 0],
  Ib: [Src.ImmS8, 1, 0],
  Isv: [Src.ImmS8, Size.V, 0],
  Iub: [Src.ImmU8, 1, 0],
  Iw: [Src.ImmU16, 2, 0],
  Iz: [Src.ImmZ, Size.V, 0],
  Iv: [Src.ImmV, Size.V, 0],
  Jb: [Src.RelB, 1, 0],
  Jz: [Src.RelZ, Size.Z, 0],
  Ap: [Src.Ptr, Size.P, 0],
};
const LETTERS: Readonly<Record<string, number>> = {
  E: Src.E,
  G: Src.G,
  M: Src.M,
  R: Src.R,
  Z: Src.Z,
  B: Src.B,
  S: Src.S,
  C: Src.C,
  D: Src.D,
  P: Src.P,
  Q: Src.Q,
  N: Src.N,
  V: Src.V,
  W: Src.W,
  U: Src.U,
  H: Src.H,
  L: Src.L,
  O: Src.Moffs,
  X: Src.X,
  Y: Src.Y,
};
const MODRM_SOURCES = 'EGMRSCDPQNVWU';

/** Parses the operand column. Throws on an abbreviation that is not one of those above. */
export function parseOperands(operands: readonly string[], line: string): OperandSpec[] {
  return operands.map((text) => {
    const segment = SEGMENTS.indexOf(text);
    if (segment >= 0) return { src: Src.FixedSeg, size: 2, fixed: segment, modrm: false, needs: '' };
    const fixed = FIXED[text];
    if (fixed) return { src: fixed[0], size: fixed[1], fixed: fixed[2], modrm: text === 'STi', needs: '' };
    const letter = text.charAt(0);
    const src = LETTERS[letter];
    const size = SIZES[text.slice(1)];
    if (src === undefined || size === undefined) throw new Error(`unknown operand ${text}: ${line}`);
    const needs = letter === 'M' ? 'mem' : 'RNU'.includes(letter) ? 'reg' : '';
    return { src, size, fixed: 0, modrm: MODRM_SOURCES.includes(letter), needs };
  });
}

/** One instruction with everything it can see, and what became of it. */

/** The address space of a case, the same on the host and in the engine. */
export const Layout = {
  /** Two pages, read-write, not executable. The pages around them are not mapped. */
  data: 0x1000_0000,
  /** Two pages, read-execute. The pages around them are not mapped. */
  code: 0x2000_0000,
  /** Size of each. */
  bytes: 0x2000,
  /** GS base in 64-bit mode; the other bases are 0. */
  gsBase: 0x1000_0000,
} as const;

/** Where the harness returns to, which the bytes after an instruction tell. */
export const Stub = { address: 0x3a5c_7000, selector: 0x33 } as const;

/** Selectors as Linux gives them to a process: DS and ES are 2B too, FS and GS null. */
export const Selectors = { code64: 0x33, code32: 0x23, data: 0x2b } as const;

/**
 * Segments that are not flat, in the local descriptor table: entry n has selector 8n + 7. Data segments cover the data area, or less, code
 * segments the code area; entry 0 stands for Linux's flat segments.
 */
export type Descriptor = {
  readonly base: number;
  /** In bytes, or in pages less one. */
  readonly limit: number;
  readonly pages?: boolean;
  /** The D/B bit. */
  readonly wide: boolean;
  readonly type: 'data' | 'down' | 'code' | 'conforming';
  /** Data: not writable. Code: not readable. */
  readonly readOnly?: boolean;
  /** Not present. */
  readonly absent?: boolean;
};
export const DESCRIPTORS: readonly (Descriptor | undefined)[] = [
  undefined,
  { base: Layout.code, limit: Layout.bytes - 1, wide: false, type: 'code' },
  { base: Layout.code, limit: Layout.bytes - 1, wide: true, type: 'code' },
  { base: Layout.data, limit: Layout.bytes - 1, wide: false, type: 'data' },
  { base: Layout.data - 0x40, limit: 0xf_ffff, pages: true, wide: true, type: 'data' },
  { base: Layout.data, limit: 0x7ff, wide: false, type: 'down' },
  { base: Layout.data, limit: 0x7ff, wide: true, type: 'down' },
  { base: Layout.data, limit: Layout.bytes - 1, wide: true, type: 'data', readOnly: true },
  { base: Layout.data, limit: 0x17ff, wide: true, type: 'data' },
  { base: Layout.data, limit: 1, pages: true, wide: false, type: 'data' },
  { base: Layout.code, limit: Layout.bytes - 1, wide: true, type: 'code', readOnly: true },
  { base: Layout.code, limit: Layout.bytes - 1, wide: true, type: 'conforming', absent: true },
  { base: Layout.data, limit: Layout.bytes - 1, wide: true, type: 'data', absent: true },
  { base: Layout.code, limit: 0xfff, wide: true, type: 'code' },
];
/** Entries for CS, SS, DS and ES. CS decides the mode of the case. */
export type Segments = { readonly cs: number; readonly ss: number; readonly ds: number; readonly es: number };
/** Bits 16–31 of ESP in a case with a 16-bit stack segment, which the harness cannot choose. */
export const NARROW_STACK_HIGH = 0x3a5c_0000;

/** RFLAGS bits that a case may set. */
export const SETTABLE_FLAGS = 0x24_0cd5;
/** CF, PF, AF, ZF, SF, OF. */
export const STATUS_FLAGS = 0x8d5;

/** x87, MMX and vector state. */
export type FpState = {
  /** 512 bytes as FXSAVE64 writes them: x87, MXCSR at 24, ST0–7 from 32, XMM0–15 from 160 (SDM vol. 1 §10.5.1). */
  readonly image: Uint8Array;
  /** Upper halves of YMM0–15, 256 bytes; undefined: AVX is not looked at. */
  readonly ymmHigh?: Uint8Array;
};

/** Bytes at an offset in the data area. */
export type Patch = { readonly offset: number; readonly bytes: Uint8Array };

export type OracleCase = {
  readonly mode: 16 | 32 | 64;
  /** Exactly one instruction, unless it is meant to be cut off by the end of the code area, or a sequence of up to 256 bytes. */
  readonly bytes: Uint8Array;
  /** Of the instruction in the code area. Elsewhere the area is full of INT3. */
  readonly codeOffset: number;
  /** RAX, RCX, RDX, RBX, RSP, … R15. */
  readonly gpr: BigUint64Array;
  /** Of `SETTABLE_FLAGS`. */
  readonly rflags: number;
  /** What the data area has that the batch's image has not. May not overlap each other. */
  readonly patches: readonly Patch[];
  readonly fp?: FpState;
  /** Without it the segments are flat, and bases 0. With it RIP counts from the code area's start. */
  readonly segments?: Segments;
  /** The instruction loads segment registers: report them. */
  readonly selectors?: boolean;
  /** Instructions that run to the end, all at once; AF at the end is undefined. Branches in it stay in it. */
  readonly sequence?: boolean;
  /** The instruction is a branch: its end is seen by single-stepping. */
  readonly branch: boolean;
};

export type OracleFault = {
  readonly vector: number;
  readonly error: number;
  /** Of page faults. */
  readonly cr2: bigint;
};

export type OracleResult = {
  readonly gpr: BigUint64Array;
  /** After the instruction; of a fault: what it pushes. */
  readonly rip: bigint;
  readonly rflags: number;
  readonly fault: OracleFault | undefined;
  readonly fp?: FpState;
  /** ES, CS, SS, DS, FS, GS. */
  readonly selectors?: readonly number[];
  /** Aligned words of 8 bytes that differ from the area as the case found it. */
  readonly changes: readonly Patch[];
  /** The engine broke down; nothing else here means anything. */
  readonly failure?: string;
};

/** Runs cases over one image of the data area; every case begins with it. */
export type Engine = { readonly run: (image: Uint8Array, cases: readonly OracleCase[]) => OracleResult[] };

/** Random programs of basic blocks, and their assembly. */
import { CODE_BYTES, Place } from './places.ts';

/** Where an instruction names another place: filled in when addresses are known. */
export type Fixup = {
  /** `rel32`, `rip32`: distance from the end of the instruction; `abs32`: the address. */
  readonly kind: 'rel32' | 'rip32' | 'abs32';
  /** Position in the bytes, and the end of the instruction there. */
  readonly at: number;
  readonly end: number;
  /** A block, a labelled item, or an address. */
  readonly to: { readonly block: number } | { readonly label: number } | { readonly address: number };
};

/** One or a few instructions that belong together. */
export type Item = {
  readonly bytes: readonly number[];
  readonly fixups?: readonly Fixup[];
  /** A name for the byte at `labelAt`. */
  readonly label?: number;
  readonly labelAt?: number;
};

/**
 * A block falls into the next one if its last item does not jump. `gap` bytes of nothing come before it, or more if it would not be at
 * offset `from` at least.
 */
export type ProgramBlock = { readonly gap: number; readonly from?: number; readonly items: readonly Item[] };

export type Program = {
  readonly seed: number;
  readonly mode: 32 | 64;
  readonly cpl: 0 | 3;
  /** Offset of the first block in the code area. */
  readonly offset: number;
  readonly blocks: readonly ProgramBlock[];
  readonly gpr: BigUint64Array;
  readonly rflags: number;
  readonly xmm: BigUint64Array;
  readonly data: Uint8Array;
  /** Instructions to run. */
  readonly fuel: number;
  readonly fsBase: number;
  readonly gsBase: number;
  /** RSP, RBP and R13 at the start and after every fault. */
  readonly stackTop: number;
  readonly frame: number;
  readonly frame2: number;
};

/** A program ready to run. */
export type Start = Omit<Program, 'seed' | 'offset' | 'blocks' | 'fuel'> & {
  readonly code: Uint8Array;
  readonly entry: number;
  readonly table: readonly number[];
  readonly resume: readonly number[];
};

const INT3 = 0xcc;
const RESUMES = 16;
const TABLE_ENTRIES = 8;

/** Where a block starts when the one before it ends at `at`. */
export const startOf = ({ gap, from }: ProgramBlock, at: number): number => Math.max(at + gap, from ?? 0);

/** Puts blocks one after the other; what does not fit the area is cut off, in the middle of an instruction too. */
export function assemble(program: Program): Start {
  const code = new Uint8Array(CODE_BYTES).fill(INT3);
  const blockAt: number[] = [];
  const labelAt = new Map<number, number>();
  const placed: { item: Item; at: number }[] = [];
  let at = program.offset;
  for (const block of program.blocks) {
    at = startOf(block, at);
    blockAt.push(at);
    for (const item of block.items) {
      if (at >= CODE_BYTES) break;
      if (item.label !== undefined) labelAt.set(item.label, at + (item.labelAt ?? 0));
      placed.push({ item, at });
      at += item.bytes.length;
    }
  }
  const addressOf = (to: Fixup['to']): number => {
    if ('address' in to) return to.address;
    const offset = 'block' in to ? blockAt[to.block] : labelAt.get(to.label);
    return Place.code + (offset ?? blockAt[0]);
  };
  const view = new DataView(code.buffer);
  for (const { item, at: start } of placed) {
    code.set(item.bytes.slice(0, CODE_BYTES - start), start);
    for (const { kind, at: field, end, to } of item.fixups ?? []) {
      if (start + field + 4 > CODE_BYTES) continue;
      const address = addressOf(to);
      view.setInt32(start + field, kind === 'abs32' ? address : address - (Place.code + start + end), true);
    }
  }
  const pick = (n: number): number => Place.code + blockAt[(n * 7 + 3) % blockAt.length];
  return {
    ...program,
    code,
    entry: Place.code + blockAt[0],
    table: Array.from({ length: TABLE_ENTRIES }, (_, n) => pick(n)),
    resume: Array.from({ length: RESUMES }, (_, n) => pick(n + 1)),
  };
}

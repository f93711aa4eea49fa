/** Finding what to compile together: the blocks of one page that are reachable from a hot one by direct branches. */
import { DecodeStatus, decode, Insn } from '../decode/insn.ts';
import type { Form } from '../form.ts';
import { AddressMode, StackMode } from '../form.ts';

const PAGE = 4096;
const MAX_BLOCKS = 64;
const MAX_INSTRUCTIONS = 500;

export type RegionInstruction = {
  readonly insn: Insn;
  readonly form: Form;
  /** Offset in the page. */
  readonly offset: number;
  /** Its interpreter record: where execution goes on when the region is left at this instruction. */
  readonly record: number;
};

export type RegionBlock = {
  /** Offset in the page. */
  readonly offset: number;
  /** The interpreter's header of the block that starts here. */
  readonly header: number;
  readonly instructions: readonly RegionInstruction[];
  /** Instructions of the interpreter's block, which counts them all at once when a fault is attributed to it. */
  readonly interpreterCount: number;
  /** Offset of the block that follows when the last instruction does not jump; undefined when it leaves the region there. */
  readonly next: number | undefined;
  /** Reached from outside, or by returns. */
  readonly entry: boolean;
  /** Events are looked for before it: after instructions such as STI. */
  readonly checked: boolean;
};

export type Region = { readonly page: number; readonly key: number; readonly blocks: ReadonlyMap<number, RegionBlock> };

/** What discovery asks of the translator. */
export type RegionSource = {
  readonly bytes: Uint8Array;
  readonly codeSize: 16 | 32 | 64;
  /** The form of an instruction that can be compiled; undefined for one that raises or is refused. */
  readonly describe: (insn: Insn) => Form | undefined;
  /** Page offsets of blocks that the interpreter has run repeatedly: what indirect jumps of the page lead to. */
  readonly warm: () => readonly number[];
  /** Interpreter header of the block at a page offset, or 0 if it cannot be translated now; and its number of instructions. */
  readonly headerAt: (offset: number) => number;
  readonly countOf: (header: number) => number;
  readonly recordSize: number;
};

const DIRECT_FLOWS: ReadonlySet<string> = new Set(['jcc', 'jmp', 'call']);

type Decoded = { readonly insn: Insn; readonly form: Form };

const endsBlock = (insn: Insn): boolean => insn.row.flow !== 'next' || (insn.row.rep !== 'no' && insn.rep !== 0);

class Discovery {
  readonly #source: RegionSource;
  readonly #page: number;
  readonly #decoded = new Map<number, Decoded | undefined>();
  readonly leaders = new Set<number>();
  readonly entries = new Set<number>();
  readonly checked = new Set<number>();
  #instructions = 0;

  constructor(source: RegionSource, page: number) {
    this.#source = source;
    this.#page = page;
  }

  at(offset: number): Decoded | undefined {
    if (this.#decoded.has(offset)) return this.#decoded.get(offset);
    const insn = new Insn();
    const status = decode(this.#source.bytes, this.#page + offset, this.#page + PAGE, this.#source.codeSize, insn);
    const form = status === DecodeStatus.Ok ? this.#source.describe(insn) : undefined;
    // A direct branch with an operand size of 16 bits cuts the instruction pointer, and leaves the page.
    const cuts = insn.opSize === 2 && this.#source.codeSize === 32 && DIRECT_FLOWS.has(insn.row.flow);
    const fits = form && !cuts && form.address !== AddressMode.Segmented && form.stack !== StackMode.Segmented;
    const decoded = fits ? { insn, form } : undefined;
    this.#decoded.set(offset, decoded);
    return decoded;
  }

  /** Follows direct branches from an offset. */
  run(head: number): void {
    const work: number[] = [];
    const add = (offset: number, entry: boolean): void => {
      if (offset < 0 || offset >= PAGE || (this.leaders.size >= MAX_BLOCKS && !this.leaders.has(offset))) return;
      if (!this.leaders.has(offset)) {
        if (!this.at(offset)) return;
        this.leaders.add(offset);
        work.push(offset);
      }
      if (entry) this.entries.add(offset);
    };
    add(head, true);
    this.#follow(work, add);
    for (const offset of this.#source.warm()) {
      add(offset, true);
      this.#follow(work, add);
    }
  }

  #follow(work: number[], add: (offset: number, entry: boolean) => void): void {
    for (let start = work.pop(); start !== undefined; start = work.pop()) {
      for (let offset = start; offset < PAGE && this.#instructions < MAX_INSTRUCTIONS; this.#instructions++) {
        const decoded = this.at(offset);
        if (!decoded) break;
        const { insn } = decoded;
        const next = offset + insn.length;
        if (endsBlock(insn)) {
          this.#successors(insn, next, add);
          break;
        }
        offset = next;
      }
    }
  }

  #successors(insn: Insn, next: number, add: (offset: number, entry: boolean) => void): void {
    const target = next + insn.rel;
    switch (insn.row.flow) {
      case 'jcc':
        add(target, false);
        add(next, false);
        return;
      case 'jmp':
        add(target, false);
        return;
      case 'call':
        add(target, false);
        add(next, true);
        return;
      case 'calli':
        add(next, true);
        return;
      case 'next':
        add(next, false);
        return;
      case 'end':
        add(next, true);
        this.checked.add(next);
        return;
      default:
    }
  }
}

/** The region around the block at `head` (an offset in the page), or undefined if there is nothing to compile. */
export function discover(source: RegionSource, page: number, key: number, head: number): Region | undefined {
  const found = new Discovery(source, page);
  found.run(head);
  if (!found.leaders.has(head)) return undefined;
  const blocks = new Map<number, RegionBlock>();
  for (const start of found.leaders) {
    const header = source.headerAt(start);
    if (header === 0) continue;
    const interpreterCount = source.countOf(header);
    const instructions: RegionInstruction[] = [];
    let offset = start;
    let open = true;
    while (open) {
      const decoded = found.at(offset);
      // The interpreter's block holds the records this one leaves to, so it cannot be longer than that.
      if (!decoded || instructions.length === interpreterCount) break;
      instructions.push({ ...decoded, offset, record: header + source.recordSize * (instructions.length + 1) });
      offset += decoded.insn.length;
      open = !endsBlock(decoded.insn) && !found.leaders.has(offset);
    }
    if (instructions.length === 0) continue;
    const last = instructions[instructions.length - 1].insn;
    const falls = !endsBlock(last) || last.row.flow === 'next' || last.row.flow === 'end';
    blocks.set(start, {
      offset: start,
      header,
      instructions,
      interpreterCount,
      next: falls ? offset : undefined,
      entry: found.entries.has(start),
      checked: found.checked.has(start),
    });
  }
  return blocks.has(head) ? { page, key, blocks } : undefined;
}

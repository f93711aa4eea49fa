/**
 * Finding what to compile together: the blocks that run around a hot one, as far as direct branches and the calls among them lead. Where
 * nothing has run yet nothing is compiled: that way leaves the region.
 */
import { DecodeStatus, decode, Insn, OperandKind } from '../decode/insn.ts';
import type { Form } from '../form.ts';
import { AddressMode, StackMode } from '../form.ts';
import { SYSTEM_INSTRUCTIONS } from '../semantics/system.ts';
import { REGION_TABLE } from '../state.ts';

const PAGE = 4096;
/** Bytes of an instruction at most. */
const MAX_LENGTH = 15;
const MAX_BLOCKS = 128;
export const MAX_INSTRUCTIONS = 800;
/** Offsets stay far from the ends of 32 bits. */
const FARTHEST = 0x2000_0000;

export type RegionInstruction = {
  readonly insn: Insn;
  readonly form: Form;
  /** Distance in bytes of its RIP from the region's base, the first byte of the page of the block that was hot. */
  readonly offset: number;
};

export type RegionBlock = {
  /** Distance from the region's base. */
  readonly offset: number;
  readonly instructions: readonly RegionInstruction[];
  /** Offset of the block that follows when the last instruction does not jump; undefined when it leaves the region there. */
  readonly next: number | undefined;
  /** Reached from outside, or by returns. */
  readonly entry: boolean;
  /** Events are looked for before it: after instructions such as STI. */
  readonly checked: boolean;
};

/** A page of the region's code: distance of its first byte from the base, and where it is in host memory. */
export type RegionPage = { readonly offset: number; readonly host: number };

/** Instructions that lie one behind the other in a page: where in host memory, and what was there when they were decoded. */
export type CodeBytes = { readonly host: number; readonly bytes: Uint8Array };

/** The first page is the base's. */
export type Region = {
  readonly key: number;
  readonly pages: readonly RegionPage[];
  /** All its instructions' bytes: it is valid as long as memory holds them. */
  readonly code: readonly CodeBytes[];
  readonly blocks: ReadonlyMap<number, RegionBlock>;
};

/** Offset of the first byte of the page that an offset lies in. */
export const pageOfOffset = (offset: number): number => offset - (offset & (PAGE - 1));

/** What discovery asks of the processor and its translator. */
export type RegionSource = {
  readonly bytes: Uint8Array;
  readonly codeSize: 16 | 32 | 64;
  /** The form of an instruction that can be compiled; undefined for one that raises or is refused. */
  readonly describe: (insn: Insn) => Form | undefined;
  /** Host address of the page at an offset from the base if instructions were fetched from it lately; 0 if that is not known. */
  readonly hostPage: (offset: number) => number;
  /** Header of the block at a host address if it has run repeatedly (one that crosses into another page: at all), else 0. */
  readonly headerAt: (host: number) => number;
  /** Whether what is called at a host address may become part of the region, and if so whether for others that call it, too. */
  readonly callee: (host: number) => 'outside' | 'inside' | 'entry';
  /** Whether the region is to have an entry at a block, though nothing in it says so. */
  readonly isEntry: (host: number) => boolean;
  /** How often such a block ran, as far as that was counted. */
  readonly runsOf: (header: number) => number;
  /** Host addresses of a page's blocks that have run repeatedly: what indirect jumps may lead to. */
  readonly warm: (hostPage: number) => readonly number[];
  /** How far from its page the indirect branch with a record led the last time; 0 if that is not known. */
  readonly targetOf: (record: number) => number;
  /** Instructions of a block, by its header. */
  readonly countOf: (header: number) => number;
  readonly recordSize: number;
};

const DIRECT_FLOWS: ReadonlySet<string> = new Set(['jcc', 'jmp', 'call']);

type Decoded = { readonly insn: Insn; readonly form: Form };
const SYSTEM: ReadonlySet<string> = new Set(SYSTEM_INSTRUCTIONS);
/** Whether an instruction hands over to the interpreter instead of being compiled. */
export const isSystem = (form: Form): boolean => SYSTEM.has(form.sem);

/**
 * Whether an instruction ends in the page after its own. A block of it cannot be entered from outside: whether its second page is still the
 * one that was translated is for the interpreter to see.
 */
export const crosses = (offset: number, { length }: Insn): boolean => (offset & (PAGE - 1)) + length > PAGE;

/** Stretches of a page that are marked. */
function stretchesOf(marked: Uint8Array): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = [];
  for (let start = marked.indexOf(1); start >= 0; ) {
    const zero = marked.indexOf(0, start);
    const end = zero < 0 ? marked.length : zero;
    found.push({ start, end });
    start = marked.indexOf(1, end);
  }
  return found;
}

const endsBlock = (insn: Insn): boolean => insn.row.flow !== 'next' || (insn.row.rep !== 'no' && insn.rep !== 0);

class Discovery {
  readonly #source: RegionSource;
  readonly #pages = new Map<number, number>();
  /** What was there when the page was first looked at, by host address: other threads may write meanwhile. */
  readonly #copies = new Map<number, Uint8Array>();
  readonly #decoded = new Map<number, Decoded | undefined>();
  /** What may become part of the region. */
  readonly #candidates = new Map<number, { readonly header: number; readonly runs: number }>();
  /** Offset of a block and how many instructions it has. */
  readonly leaders = new Map<number, number>();
  readonly entries = new Set<number>();
  readonly checked = new Set<number>();
  #instructions = 0;

  constructor(source: RegionSource) {
    this.#source = source;
  }

  get pages(): RegionPage[] {
    return [...this.#pages].map(([offset, host]) => ({ offset, host }));
  }

  /** Host address of an offset's page, which thereby becomes one of the region's; 0 if it cannot. */
  #hostPage(offset: number): number {
    const page = pageOfOffset(offset);
    const known = this.#pages.get(page);
    if (known !== undefined) return known;
    return this.#pages.size < REGION_TABLE.maxPages && Math.abs(page) < FARTHEST ? this.#source.hostPage(page) : 0;
  }

  /** Host address of an offset; 0 if that is not known. */
  #hostOf(offset: number): number {
    const page = this.#hostPage(offset);
    return page === 0 ? 0 : page + (offset & (PAGE - 1));
  }

  #copyOf(page: number): Uint8Array {
    const known = this.#copies.get(page);
    if (known) return known;
    const copy = this.#source.bytes.slice(page, page + PAGE);
    this.#copies.set(page, copy);
    return copy;
  }

  /** Those of the pages' bytes that are of these instructions. */
  code(instructions: Iterable<RegionInstruction>): CodeBytes[] {
    const marks = new Map<number, Uint8Array>();
    for (const { offset, insn } of instructions)
      for (let at = offset; at < offset + insn.length; at++) {
        const page = this.#pages.get(pageOfOffset(at)) as number;
        let marked = marks.get(page);
        if (!marked) marks.set(page, (marked = new Uint8Array(PAGE)));
        marked[at & (PAGE - 1)] = 1;
      }
    return [...marks].flatMap(([page, marked]) =>
      stretchesOf(marked).map(({ start, end }) => ({ host: page + start, bytes: this.#copyOf(page).slice(start, end) })),
    );
  }

  at(offset: number): Decoded | undefined {
    if (this.#decoded.has(offset)) return this.#decoded.get(offset);
    const decoded = this.#decode(offset);
    this.#decoded.set(offset, decoded);
    return decoded;
  }

  /** An instruction that regions can hold. */
  #decode(offset: number): Decoded | undefined {
    const page = this.#hostPage(offset);
    if (page === 0) return undefined;
    const { codeSize, describe } = this.#source;
    const insn = new Insn();
    const status = decode(this.#copyOf(page), offset & (PAGE - 1), PAGE, codeSize, insn);
    if (status === DecodeStatus.Truncated ? !this.#decodeCrossing(page, offset, insn) : status !== DecodeStatus.Ok)
      return undefined;
    const form = describe(insn);
    // A direct branch with an operand size of 16 bits cuts the instruction pointer, and leaves the page.
    const cuts = insn.opSize === 2 && codeSize === 32 && DIRECT_FLOWS.has(insn.row.flow);
    const fits = form && !cuts && form.address !== AddressMode.Segmented && form.stack !== StackMode.Segmented;
    return fits ? { insn, form } : undefined;
  }

  /** Decodes an instruction that ends in the next page, which thereby becomes one of the region's. */
  #decodeCrossing(page: number, offset: number, insn: Insn): boolean {
    const next = pageOfOffset(offset) + PAGE;
    const second = this.#hostPage(next);
    if (second === 0) return false;
    const first = this.#copyOf(page).subarray(offset & (PAGE - 1));
    const joined = new Uint8Array([...first, ...this.#copyOf(second).subarray(0, MAX_LENGTH)]);
    if (decode(joined, 0, joined.length, this.#source.codeSize, insn) !== DecodeStatus.Ok) return false;
    this.#pages.set(pageOfOffset(offset), page);
    this.#pages.set(next, second);
    return true;
  }

  /** Makes a block that has run repeatedly a candidate. */
  #add(offset: number, entry: boolean): void {
    if (entry) this.entries.add(offset);
    if (this.leaders.has(offset) || this.#candidates.has(offset)) return;
    const host = this.#hostOf(offset);
    const header = host === 0 ? 0 : this.#source.headerAt(host);
    if (header === 0) return;
    this.#candidates.set(offset, { header, runs: this.#source.runsOf(header) });
    if (this.#source.isEntry(host)) this.entries.add(offset);
  }

  /** Takes the candidate that ran most; of equals the one that was found first. */
  #hottest(): { readonly offset: number; readonly header: number } {
    let best = { offset: 0, header: 0, runs: -1 };
    for (const [offset, { header, runs }] of this.#candidates) if (runs > best.runs) best = { offset, header, runs };
    this.#candidates.delete(best.offset);
    return best;
  }

  /** Follows branches from an offset, where they led most often first, until the region is large enough. */
  run(head: number): void {
    this.#add(head, true);
    while (this.#candidates.size > 0 && this.leaders.size < MAX_BLOCKS && this.#instructions < MAX_INSTRUCTIONS) {
      const { offset, header } = this.#hottest();
      const page = this.#hostPage(offset);
      if (page === 0) continue;
      const decoded = this.at(offset);
      if (!decoded) continue;
      // Who comes to such an instruction would only have to leave.
      if (isSystem(decoded.form)) continue;
      this.#pages.set(pageOfOffset(offset), page);
      if (crosses(offset, decoded.insn)) this.entries.delete(offset);
      const count = this.#source.countOf(header);
      this.leaders.set(offset, count);
      this.#follow(offset, header, count);
    }
  }

  /** Finds where a block leads. */
  #follow(start: number, header: number, count: number): void {
    let offset = start;
    for (let left = count; left > 0; left--) {
      const decoded = this.at(offset);
      if (!decoded) return;
      this.#instructions++;
      const next = offset + decoded.insn.length;
      if (endsBlock(decoded.insn)) {
        this.#successors(decoded.insn, offset, header + this.#source.recordSize * (count - left + 1));
        return;
      }
      // The interpreter goes on behind it, and does not come back before the block's end.
      if (isSystem(decoded.form)) return;
      offset = next;
      // Blocks end where they are long enough, or another begins: the next one follows.
      if (left === 1) this.#add(offset, false);
    }
  }

  #successors(insn: Insn, offset: number, record: number): void {
    const next = offset + insn.length;
    const target = next + insn.rel;
    switch (insn.row.flow) {
      case 'jcc':
        this.#add(target, false);
        this.#add(next, false);
        return;
      case 'jmp':
        this.#add(target, false);
        return;
      case 'call':
        this.#addCallee(target);
        this.#add(next, true);
        return;
      case 'calli':
        this.#addObserved(offset, record);
        this.#add(next, true);
        return;
      case 'jmpi':
        this.#addObserved(offset, record);
        // Through a table or a register: one of many, and mostly near.
        if (insn.index >= 0 || insn.kind[0] === OperandKind.Gpr) this.#addWarm(offset);
        return;
      case 'next':
        this.#add(next, false);
        return;
      case 'end':
        this.#add(next, true);
        this.checked.add(next);
        return;
      default:
    }
  }

  #addCallee(target: number): void {
    const callee = this.#source.callee(this.#hostOf(target));
    if (callee !== 'outside') this.#add(target, callee === 'entry');
  }

  #addObserved(offset: number, record: number): void {
    const target = this.#source.targetOf(record);
    if (target !== 0) this.#add(pageOfOffset(offset) + target, true);
  }

  /** The targets of an indirect jump are not known, but they have run, and are mostly in its page. */
  #addWarm(offset: number): void {
    const page = this.#hostPage(offset);
    for (const host of this.#source.warm(page)) this.#add(pageOfOffset(offset) + (host - page), true);
  }
}

/** The region around the block at `head`, its offset in the page of the base; undefined if there is nothing to compile. */
export function discover(source: RegionSource, key: number, head: number): Region | undefined {
  const found = new Discovery(source);
  found.run(head);
  if (!found.leaders.has(head)) return undefined;
  const blocks = new Map<number, RegionBlock>();
  for (const [start, count] of found.leaders) {
    const instructions: RegionInstruction[] = [];
    let offset = start;
    let open = true;
    while (open) {
      const decoded = found.at(offset);
      // Nobody has looked where it leads beyond the interpreter's block.
      if (!decoded || instructions.length === count) break;
      instructions.push({ ...decoded, offset });
      offset += decoded.insn.length;
      open = !endsBlock(decoded.insn) && !isSystem(decoded.form) && !found.leaders.has(offset);
    }
    if (instructions.length === 0) continue;
    const { insn: last, form } = instructions[instructions.length - 1];
    const falls = !isSystem(form) && (!endsBlock(last) || last.row.flow === 'next' || last.row.flow === 'end');
    blocks.set(start, {
      offset: start,
      instructions,
      next: falls ? offset : undefined,
      entry: found.entries.has(start),
      checked: found.checked.has(start),
    });
  }
  if (!blocks.has(head)) return undefined;
  const code = found.code([...blocks.values()].flatMap(({ instructions }) => instructions));
  return { key, pages: found.pages, code, blocks };
}

/** From guest bytes to interpreter records: decodes blocks, lays their records into the record arena, finds and forgets them. */

import { Handler } from '../core/interpreter.ts';
import { Vector } from '../core/memory.ts';
import { DecodeStatus, decode, Insn, LOOKAHEAD } from '../decode/insn.ts';
import { operandSlot } from '../emit/interpreter.ts';
import type { Form } from '../form.ts';
import { BLOCK_TABLE, Record } from '../state.ts';
import { BlockTable } from './block-table.ts';
import type { CodeSpan } from './code-pages.ts';
import { CodePages, PAGE, pageOf } from './code-pages.ts';
import type { FormFinder } from './form-finder.ts';
import { pairKey } from './hot-pairs.ts';
import { codeSize, ModeKey } from './mode-key.ts';
import type { BoundForm } from './record-writer.ts';
import { RecordWriter } from './record-writer.ts';
import { isRefused, knownException, PROTECTION, UNDEFINED_OPCODE } from './row-facts.ts';

const MAX_INSTRUCTIONS = 48;
const MAX_LENGTH = 15;
/** Length nibble of a header's `place`: no instruction has length 0, so a header can be found backwards from any record. */
const HEADER_LENGTH = 0;

/** What the translator asks of the processor around it. */
export type TranslatorHost = {
  /** Makes a function for a form that is not a case; its handler number. */
  readonly bind: (form: Form) => number;
  readonly forms: FormFinder;
  /** Handlers for two forms, by `pairKey`. */
  readonly pairs: ReadonlyMap<number, number>;
  /** Executions of a block before it is reported hot; 0 never (the count then wraps around after 2^32). */
  readonly heat: number;
  /** There is a record of a block now, which the interpreter will run. */
  readonly translated: (header: number, host: number, key: number) => void;
  /** Host address of the code byte at a linear address, or 0 with the fault recorded. */
  readonly fetch: (linearLo: number, linearHi: number) => number;
  readonly protectCode: (hostPage: number) => void;
  readonly unprotectCode: (hostPage: number) => void;
};

export type TranslatorMemory = {
  readonly memory: WebAssembly.Memory;
  readonly cpu: number;
  readonly records: number;
  readonly recordsEnd: number;
  readonly blockTable: number;
  readonly codeMap: number;
  /** The map that several processors share (ports.ts, `CodeSharing`). */
  readonly sharedMap: number | undefined;
};

/** A translated block. */
type Block = CodeSpan & { readonly header: number; readonly key: number };
/** Code that someone else made something of, and has to hear if it changes: once. */
export type WatchedCode = CodeSpan & { readonly changed: () => void };

/** A branch of the block under translation: the field that will hold its target's record, and where that is. */
type PendingLink = { readonly field: number; readonly offset: number; readonly cut: number; readonly fault: number };

export class Translator {
  readonly #m: TranslatorMemory;
  readonly #host: TranslatorHost;
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #i32: Int32Array;
  readonly #insn = new Insn();
  /** Copies of what is translated: another thread may write there meanwhile. */
  readonly #code = new Uint8Array(MAX_INSTRUCTIONS * MAX_LENGTH);
  readonly #bytes = new Uint8Array(2 * MAX_LENGTH);
  readonly #forms: FormFinder;
  readonly #bound = new Map<number, BoundForm>();
  readonly #byHandler: BoundForm[] = [];
  readonly #table: BlockTable;
  readonly #pages: CodePages<Block | WatchedCode>;
  readonly #writer: RecordWriter;
  /** Headers of blocks that were invalidated, by (host, key): redirected when the block is translated again. */
  readonly #stale = new Map<number, Map<number, number>>();
  #next: number;
  /** Links lie from the arena's end downward: most are followed once, and would be in the way of what runs. */
  #links: number;
  blocks = 0;
  instructions = 0;
  flushes = 0;

  constructor(m: TranslatorMemory, host: TranslatorHost) {
    this.#m = m;
    this.#host = host;
    this.#forms = host.forms;
    this.#u8 = new Uint8Array(m.memory.buffer);
    this.#u16 = new Uint16Array(m.memory.buffer);
    this.#i32 = new Int32Array(m.memory.buffer);
    this.#next = m.records;
    this.#links = m.recordsEnd;
    this.#table = new BlockTable(m.memory, m.blockTable);
    this.#pages = new CodePages(m, host);
    this.#writer = new RecordWriter(m.memory, m.cpu);
  }

  /** Room for one more block and its links; otherwise `flush` first. */
  get hasRoom(): boolean {
    return this.#next + Record.size * (3 * MAX_INSTRUCTIONS + 8) < this.#links && this.blocks < BLOCK_TABLE.entries / 2;
  }

  /** Forgets every translation and what is watched. No record may be in use. */
  flush(): void {
    this.flushes++;
    this.blocks = 0;
    this.#next = this.#m.records;
    this.#links = this.#m.recordsEnd;
    this.#stale.clear();
    this.#table.clear();
    this.#pages.clear();
  }

  /** The form and operands of a record, for helpers. */
  formOf(record: number): Form {
    return this.#byHandler[this.#u16[(record + Record.handler) >>> 1]].form;
  }

  /** Instructions of the record's block before and after it: what a block that was left in the middle did not retire. */
  remaining(record: number): number {
    let header = record;
    while (this.#u16[(header + Record.place) >>> 1] >> 12 !== HEADER_LENGTH) header -= Record.size;
    // Left at the header itself, the block was not counted yet.
    if (header === record) return 0;
    const count = this.#i32[(header + Record.b) >>> 2];
    const before = (record - header) / Record.size - 1;
    return Math.max(0, count - before);
  }

  /** Header of a block, or 0. */
  find(host: number, key: number): number {
    return this.#table.find(host, key);
  }

  /**
   * Translates the block at a linear address whose first byte is at `host`. `ip` is EIP there (low 32 bits), `limit` the code segment's
   * limit, or Infinity in 64-bit mode.
   * @returns its header, or 0 if fetching from a second page faulted (the fault is recorded).
   */
  translate(host: number, linearLo: number, linearHi: number, ip: number, key: number, limit: number): number {
    const known = this.find(host, key);
    if (known !== 0) return known;
    const header = this.#translate(host, linearLo, linearHi, ip, key, limit);
    if (header === 0) return 0;
    // A block that is retired already leaves at once, and is asked for again.
    if (this.#isCurrent) {
      this.#redirect(host, key, header);
      this.#host.translated(header, host, key);
    } else this.invalidate(host, 1);
    return header;
  }

  /**
   * Whether memory still holds what was translated last. Another processor's store before the page was protected went unnoticed; one after that has
   * retired the block.
   */
  get #isCurrent(): boolean {
    const { header, host, end, secondPage, secondEnd } = this.#translated;
    if (this.#u16[(header + Record.handler) >>> 1] === Handler.Stale) return false;
    for (let at = host; at < end; at++) if (this.#u8[at] !== this.#code[at - host]) return false;
    if (secondPage === 0) return true;
    const first = this.#secondFrom;
    for (let n = 0; n < secondEnd; n++) if (this.#u8[secondPage + n] !== this.#bytes[first + n]) return false;
    return true;
  }

  #translated!: Block;
  /** Where in `#bytes` those of the second page begin. */
  #secondFrom = 0;

  #translate(host: number, linearLo: number, linearHi: number, ip: number, key: number, limit: number): number {
    const page = pageOf(host);
    const available = Math.min(this.#code.length, page + PAGE - host);
    let copied = 0;
    const size = codeSize(key);
    const insn = this.#insn;
    const header = this.#next;
    let at = header + Record.size;
    let count = 0;
    let cursor = host;
    let secondPage = 0;
    let secondEnd = 0;
    const most = key & ModeKey.STEP ? 1 : MAX_INSTRUCTIONS;
    let open = true;
    while (open && count < most) {
      for (const end = Math.min(available, cursor - host + LOOKAHEAD); copied < end; copied++)
        this.#code[copied] = this.#u8[host + copied];
      let status = decode(this.#code, cursor - host, available, size, insn);
      if (status === DecodeStatus.Truncated) {
        if (count > 0) break;
        if ((ip >>> 0) + (page + PAGE - host) > limit) {
          // The segment ends with this page: #GP, whatever the next page is.
          status = DecodeStatus.TooLong;
        } else {
          const second = this.#host.fetch(...nextPage(linearLo, linearHi, size));
          if (second === 0) return 0;
          const first = page + PAGE - cursor;
          this.#bytes.set(this.#code.subarray(cursor - host, available));
          this.#bytes.set(this.#u8.subarray(second, second + MAX_LENGTH), first);
          status = decode(this.#bytes, 0, first + MAX_LENGTH, size, insn);
          this.#secondFrom = first;
          secondPage = second;
          secondEnd = insn.length - first;
        }
        open = false;
      }
      const offset = cursor - page;
      // An instruction that reaches beyond the code segment's limit faults when it is fetched (SDM vol. 3 §5.3).
      const beyond = (ip >>> 0) + (cursor - host) + insn.length - 1 > limit;
      this.#targetBeyond = status === DecodeStatus.Ok && this.#leavesLimit((ip >>> 0) + (cursor - host), limit);
      const refused = beyond || (this.#targetBeyond && insn.row.flow !== 'jcc');
      at = this.#record(at, offset, refused ? DecodeStatus.TooLong : status, key);
      if (count > 0) this.#pair(at - 2 * Record.size);
      count++;
      cursor += insn.length;
      if (this.#ends(status, beyond)) {
        open = false;
        at = this.#closed(at, key);
      } else if (secondPage !== 0 || cursor === page + PAGE || count === most) {
        open = false;
        at = this.#fallThrough(at, cursor - page, page, key);
      }
    }
    if (open) at = this.#fallThrough(at, cursor - page, page, key);
    this.#header(header, host, key, count, secondPage);
    const links = this.#pendingLinks;
    for (const link of links) {
      if (link.fault !== 0) at = this.#raiseAtBranch(at, link);
      else this.#emitLink(link, page, key);
    }
    links.length = 0;
    this.#next = at;
    this.blocks++;
    this.instructions += count;
    this.#table.insert(host, key, header);
    this.#translated = { header, key, host, end: Math.min(cursor, page + PAGE), secondPage, secondEnd };
    this.#pages.add(this.#translated);
    return header;
  }

  /** Has a record run the next one, too, if there is a case for both. That one stays what it is: it may be entered by itself. */
  #pair(record: number): void {
    const at = (record + Record.handler) >>> 1;
    const both = this.#host.pairs.get(pairKey(this.#u16[at], this.#u16[at + (Record.size >>> 1)]));
    if (both !== undefined) this.#u16[at] = both;
  }

  #redirect(host: number, key: number, header: number): void {
    const old = this.#stale.get(host)?.get(key);
    if (old === undefined) return;
    this.#stale.get(host)?.delete(key);
    this.#u16[(old + Record.handler) >>> 1] = Handler.Goto;
    this.#i32[(old + Record.imm) >>> 2] = header;
  }

  #header(record: number, host: number, key: number, count: number, secondPage: number): void {
    this.#clear(record);
    this.#u16[(record + Record.handler) >>> 1] = secondPage ? Handler.CrossingHeader : Handler.Header;
    this.#u16[(record + Record.place) >>> 1] = (host & (PAGE - 1)) | (HEADER_LENGTH << 12);
    this.#i32[(record + Record.base) >>> 2] = host;
    this.#i32[(record + Record.index) >>> 2] = key;
    this.#i32[(record + Record.b) >>> 2] = count;
    this.#i32[(record + Record.a) >>> 2] = secondPage;
    this.#i32[(record + Record.disp) >>> 2] = this.#host.heat;
  }

  #clear(record: number): void {
    const end = (record + Record.size) >>> 2;
    for (let at = record >>> 2; at < end; at++) this.#i32[at] = 0;
  }

  #ends(status: DecodeStatus, beyond: boolean): boolean {
    if (status !== DecodeStatus.Ok || beyond || this.#raised) return true;
    const { row, rep } = this.#insn;
    return row.flow !== 'next' || (row.rep !== 'no' && rep !== 0);
  }

  /** Whether the direct branch at EIP `ip` goes beyond the code segment: #GP on the branch itself, if taken (SDM vol. 2, JMP). */
  #leavesLimit(ip: number, limit: number): boolean {
    const { row, length, rel, opSize } = this.#insn;
    if (limit >= 0xffff_ffff || (row.flow !== 'jmp' && row.flow !== 'call' && row.flow !== 'jcc')) return false;
    const target = ip + length + rel;
    return (opSize === 2 ? target & 0xffff : target >>> 0) > limit;
  }

  /** The instruction being recorded is a branch with a target beyond the code segment's limit. */
  #targetBeyond = false;
  /** Set by `#record` when the record raises instead of executing. */
  #raised = false;
  /** `fault`: the `place` of a branch that must not be taken. */
  readonly #pendingLinks: PendingLink[] = [];

  /** The end of a block whose last instruction does not continue by itself: `end` flows and repeated strings fall through. */
  #closed(at: number, key: number): number {
    const { row } = this.#insn;
    if (this.#raised) return at;
    const continues =
      row.flow === 'next' ||
      row.flow === 'end' ||
      row.flow === 'hlt' ||
      row.flow === 'int' ||
      row.flow === 'trans' ||
      row.flow === 'iret' ||
      row.flow === 'far';
    if (!continues) return at;
    const place = this.#u16[(at - Record.size + Record.place) >>> 1];
    return this.#fallThrough(at, (place & 0xfff) + (place >> 12), 0, key);
  }

  /** A record that goes on at a page offset (which may lie in the next page). */
  #fallThrough(at: number, offset: number, _page: number, key: number): number {
    this.#clear(at);
    this.#u16[(at + Record.handler) >>> 1] = Handler.Goto;
    // It stands for no instruction, but must not look like a header.
    this.#u16[(at + Record.place) >>> 1] = (offset & 0xfff) | 0xf000;
    this.#pendingLinks.push({ field: at + Record.imm, offset, cut: codeSize(key), fault: 0 });
    return at + Record.size;
  }

  /** The target of a branch that must not be taken: a record of its block, which the fault is attributed to. */
  #raiseAtBranch(at: number, link: PendingLink): number {
    this.#clear(at);
    this.#i32[link.field >>> 2] = at;
    this.#u16[(at + Record.place) >>> 1] = link.fault;
    this.#u16[(at + Record.handler) >>> 1] = Handler.Raise;
    this.#i32[(at + Record.a) >>> 2] = Vector.GP;
    return at + Record.size;
  }

  /** Resolves one direct branch: to a known block of the page, or to a link or cross record. */
  #emitLink(link: PendingLink, page: number, key: number): void {
    const inPage = link.offset >= 0 && link.offset < PAGE;
    const host = page + link.offset;
    const known = inPage && link.cut === codeSize(key) ? this.find(host, key) : 0;
    if (known !== 0) {
      this.#i32[link.field >>> 2] = known;
      return;
    }
    this.#links -= Record.size;
    const at = this.#links;
    this.#clear(at);
    this.#i32[link.field >>> 2] = at;
    this.#u16[(at + Record.place) >>> 1] = 0xf000;
    if (inPage && !(key & ModeKey.STEP) && link.cut === codeSize(key)) {
      this.#u16[(at + Record.handler) >>> 1] = Handler.Link;
      this.#i32[(at + Record.a) >>> 2] = host;
      this.#i32[(at + Record.b) >>> 2] = link.field;
      this.#i32[(at + Record.base) >>> 2] = link.offset;
    } else {
      this.#u16[(at + Record.handler) >>> 1] = Handler.Cross;
      this.#u8[at + Record.shift] = 64 - link.cut;
      this.#i32[(at + Record.imm) >>> 2] = link.offset | 0;
      this.#i32[(at + Record.imm2) >>> 2] = Math.floor(link.offset / 0x1_0000_0000);
    }
  }

  /** Follows a link record: its target's header, patched into the branch. 0 if translating it left. */
  link(record: number, linearLo: number, linearHi: number, ip: number, key: number, limit: number): number {
    const host = this.#i32[(record + Record.a) >>> 2] >>> 0;
    const field = this.#i32[(record + Record.b) >>> 2];
    const header = this.translate(host, linearLo, linearHi, ip, key, limit);
    if (header !== 0) this.#i32[field >>> 2] = header;
    return header;
  }

  /** Instructions of a block, by its header. */
  countOf(header: number): number {
    return this.#i32[(header + Record.b) >>> 2];
  }

  /** Has a block that the interpreter runs reported hot after so many more runs. */
  countDown(header: number, runs: number): void {
    this.#i32[(header + Record.disp) >>> 2] = runs;
  }

  /** The same, unless it is reported sooner anyway. */
  countDownTo(header: number, runs: number): void {
    const at = (header + Record.disp) >>> 2;
    if (this.#i32[at] > runs) this.#i32[at] = runs;
  }

  /** Makes a header run a region that has its page at an offset; with `Handler.Header`, the interpreter again. */
  setHandler(header: number, handler: number, page: number): void {
    const at = (header + Record.handler) >>> 1;
    if (this.#u16[at] === Handler.Stale || this.#u16[at] === Handler.Goto) return;
    this.#u16[at] = handler;
    this.#i32[(header + Record.imm2) >>> 2] = page;
    this.#i32[(header + Record.disp) >>> 2] = this.#host.heat;
  }

  /** The mode key of a block, by its header. */
  keyOf(header: number): number {
    return this.#i32[(header + Record.index) >>> 2];
  }

  /** The block crosses into another page. */
  isCrossing(header: number): boolean {
    return this.#i32[(header + Record.a) >>> 2] !== 0;
  }

  /** Host address of a block, by its header. */
  hostOf(header: number): number {
    return this.#i32[(header + Record.base) >>> 2] >>> 0;
  }

  linkOffset(record: number): number {
    return this.#i32[(record + Record.base) >>> 2];
  }

  // --- one instruction -------------------------------------------------------------------------------------------------------

  #record(at: number, offset: number, status: DecodeStatus, key: number): number {
    const insn = this.#insn;
    this.#clear(at);
    this.#raised = false;
    this.#u16[(at + Record.place) >>> 1] = offset | (Math.max(1, Math.min(15, insn.length)) << 12);
    const facts = this.#forms.facts(insn);
    const exception =
      status === DecodeStatus.Ok
        ? knownException(facts.needs, key)
        : status === DecodeStatus.TooLong
          ? PROTECTION
          : UNDEFINED_OPCODE;
    if (exception) {
      this.#raised = true;
      this.#u16[(at + Record.handler) >>> 1] = Handler.Raise;
      this.#i32[(at + Record.a) >>> 2] = exception.vector;
      this.#i32[(at + Record.b) >>> 2] = exception.error;
      return at + Record.size;
    }
    if (isRefused(facts.needs)) {
      this.#raised = true;
      this.#u16[(at + Record.handler) >>> 1] = Handler.Refuse;
      return at + Record.size;
    }
    const bound = this.#bind(key);
    this.#u16[(at + Record.handler) >>> 1] = bound.handler;
    this.#writer.write(at, insn, offset, bound);
    const { flow } = insn.row;
    if (flow === 'jcc' || flow === 'jmp' || flow === 'call') this.#branch(at, offset, key);
    return at + Record.size;
  }

  #bind(key: number): BoundForm {
    const number = this.#forms.number(this.#insn, key);
    const known = this.#bound.get(number);
    if (known) return known;
    const form = this.#forms.form(this.#insn, key);
    const handler = this.#host.bind(form);
    const bound = { handler, form, slots: form.classes.map((_, n) => operandSlot(form, n)) };
    this.#bound.set(number, bound);
    this.#byHandler[handler] = bound;
    return bound;
  }

  #branch(at: number, offset: number, key: number): void {
    const insn = this.#insn;
    const end = offset + insn.length;
    const width = insn.row.flow === 'jcc' || insn.row.flow === 'jmp' || insn.row.flow === 'call' ? insn.opSize * 8 : insn.mode;
    const cut = insn.mode === 64 ? 64 : width;
    const fault = this.#targetBeyond ? this.#u16[(at + Record.place) >>> 1] : 0;
    this.#pendingLinks.push({ field: at + Record.imm, offset: end + insn.rel, cut, fault });
    if (insn.row.flow === 'jcc') this.#pendingLinks.push({ field: at + Record.imm2, offset: end, cut: codeSize(key), fault: 0 });
  }

  // --- invalidation ----------------------------------------------------------------------------------------------------------

  /**
   * Bytes at [host, host + length) change: every block that covers any of them is retired. Its records become Stale, so that code
   * running in it right now leaves at the next instruction. What is watched there is told.
   * @returns whether any block was retired (the jump cache is then out of date).
   */
  invalidate(host: number, length: number): boolean {
    let any = false;
    for (let page = pageOf(host); page < host + length; page += PAGE) {
      for (const span of this.#pages.take(page, host, length)) {
        if ('changed' in span) span.changed();
        else {
          any = true;
          this.#retire(span);
        }
      }
    }
    return any;
  }

  watch(code: WatchedCode): void {
    this.#pages.add(code);
  }

  /** Its owner does not want to hear of it any more. */
  unwatch(code: WatchedCode): void {
    this.#pages.remove(code);
  }

  #retire(block: Block): void {
    this.blocks--;
    this.#table.remove(block.host, block.key);
    // The header and the instructions. What follows them only says where to go on, which stays true.
    const records = 1 + this.countOf(block.header);
    for (let n = 0; n < records; n++) this.#u16[(block.header + n * Record.size + Record.handler) >>> 1] = Handler.Stale;
    let stale = this.#stale.get(block.host);
    if (!stale) {
      stale = new Map();
      this.#stale.set(block.host, stale);
    }
    stale.set(block.key, block.header);
  }
}

/** Linear address of the page after the one that holds an address. */
function nextPage(lo: number, hi: number, size: number): [number, number] {
  const next = ((lo >>> 0) & ~0xfff) >>> 0;
  const sum = next + PAGE;
  const carry = sum > 0xffff_ffff ? 1 : 0;
  return [sum >>> 0, size === 64 ? (hi + carry) >>> 0 : 0];
}

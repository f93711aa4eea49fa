/** From RIP to translated code: what generated code asks for when it comes to an address that it knows no record of. */
import { Vector } from './core/memory.ts';
import type { CompileJob } from './jit/job.ts';
import type { Mmu } from './ports.ts';
import { is64Bit } from './records/mode-key.ts';
import type { Translator } from './records/translator.ts';
import { Exit, Record, Seg } from './state.ts';
import type { SystemContext } from './system/context.ts';

export class CodeFetch {
  readonly #context: SystemContext;
  readonly #mmu: Mmu;
  readonly #translator: Translator;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  /** Translations have no room any more; the run loop is to drop all of them. */
  needsFlush = false;
  /** Why generated code that is returning cannot go on. */
  refusal: string | undefined;

  constructor(memory: WebAssembly.Memory, context: SystemContext, mmu: Mmu, translator: Translator) {
    this.#context = context;
    this.#mmu = mmu;
    this.#translator = translator;
    this.#u16 = new Uint16Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
  }

  /** Code-segment limit for the translator: none in 64-bit mode. */
  #codeLimit(): number {
    const { state } = this.#context;
    return is64Bit(state.modeKey) ? Number.POSITIVE_INFINITY : state.segLimit[Seg.CS];
  }

  /** Linear address of a RIP, as halves. */
  linear(rip: bigint): [number, number] {
    const { state } = this.#context;
    const linear = is64Bit(state.modeKey) ? rip : (rip + state.segBase[Seg.CS]) & 0xffff_ffffn;
    return [Number(linear & 0xffff_ffffn), Number(linear >> 32n)];
  }

  /** Makes room, or has the run loop do it: translations in use cannot be dropped here. */
  #leaveToFlush(rip: bigint): number {
    const { state } = this.#context;
    this.needsFlush = true;
    state.rip = rip;
    state.exitReason = Exit.Resync;
    state.exitRecord = 0;
    return 0;
  }

  /** Has generated code leave, which counts what has retired. */
  refuse(why: string): 0 {
    this.refusal = why;
    this.#context.state.exitReason = Exit.Refused;
    return 0;
  }

  /** The header of the block at a host address, which RIP leads to; 0: generated code has to leave. */
  translate(host: number): number {
    const { state } = this.#context;
    const rip = state.rip;
    if (!this.#translator.hasRoom) return this.#leaveToFlush(rip);
    if (host === 0) return this.refuse('execution outside memory');
    const [lo, hi] = this.linear(rip);
    return this.#translator.translate(host, lo, hi, Number(rip & 0xffff_ffffn), state.modeKey, this.#codeLimit());
  }

  /** That of the target of a link record, which is patched into its branch. */
  link(record: number): number {
    const { state } = this.#context;
    const rip = this.#context.wrap(state.pageRip + BigInt(this.#translator.linkOffset(record)));
    state.exitRecord = 0;
    if (!this.#translator.hasRoom) return this.#leaveToFlush(rip);
    const [lo, hi] = this.linear(rip);
    const header = this.#translator.link(record, lo, hi, Number(rip & 0xffff_ffffn), state.modeKey, this.#codeLimit());
    if (header === 0) state.rip = rip;
    return header;
  }

  /** Host address of a code byte in a further page, or 0 with the page fault recorded for the instruction at `CPU.rip`. */
  fetch(lo: number, hi: number): number {
    const { state } = this.#context;
    const va = (BigInt(hi) << 32n) | BigInt(lo);
    const host = (this.#mmu.exports.fill as (va: bigint, access: number) => number)(va, 2 | state.mmuAccess);
    if (host !== -1) return host >>> 0;
    state.cr2 = va;
    state.exitReason = Exit.Fault;
    state.exitRecord = 0;
    state.faultVector = Vector.PF;
    state.faultHasError = 1;
    state.faultError = this.#u32[(this.#mmu.stateAddress + this.#mmu.offsets.faultError) >> 2];
    return 0;
  }

  /** For the compiled tier: where the block that is about to run lies, and which fetch TLB serves it. */
  place(): Pick<CompileJob, 'pageRip' | 'codeBase' | 'tlbFetch'> {
    const { pageRip, segBase, tlbFetch } = this.#context.state;
    return { pageRip, codeBase: segBase[Seg.CS], tlbFetch };
  }

  /** A block whose instruction crosses pages: is the second page still what was translated? */
  verifyCrossing(record: number): number {
    const { state } = this.#context;
    const expected = this.#u32[(record + 4) >> 2];
    const place = this.#u16[(record + Record.place) >> 1];
    const rip = this.#context.wrap(state.pageRip + BigInt(place & 0xfff));
    const [lo, hi] = this.linear(rip);
    const page = (lo & ~0xfff) >>> 0;
    const next = page + 4096;
    const host = this.fetch(next >>> 0, is64Bit(state.modeKey) ? hi + (next > 0xffff_ffff ? 1 : 0) : 0);
    if (host === 0) return 0;
    if (host === expected) return 1;
    // Another page now: retire this translation and have the run loop ask again.
    this.#translator.invalidate(this.#translator.hostOf(record), 1);
    this.#context.flushJumps();
    state.exitReason = Exit.Resync;
    return 0;
  }
}

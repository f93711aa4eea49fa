/** Compiles a region to a WebAssembly module. */
import type { FuncRef, FunctionBuilder, GlobalRef, I32, I64, Label, Local } from '@tsvisor/wasm-codegen';
import { ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { CoreImage } from '../core/build.ts';
import { importedHelpers } from '../core/build.ts';
import { importMemory } from '../core/imports.ts';
import { HANDLER_TYPE } from '../core/interpreter.ts';
import type { Helpers } from '../emit/emitter.ts';
import { Status } from '../emit/interpreter.ts';
import { codeSize } from '../records/mode-key.ts';
import { semantics } from '../semantics/index.ts';
import { CPU, REGION_TABLE, Record, Seg } from '../state.ts';
import { RegionEmitter } from './emitter.ts';
import type { FlowGraph } from './graph.ts';
import { analyse, ROOT } from './graph.ts';
import { perfectHash } from './hash.ts';
import { flagsLiveAt, flagsUnseen, preserves } from './liveness.ts';
import type { Region, RegionBlock, RegionInstruction } from './region.ts';
import { crosses, isSystem } from './region.ts';
import type { RegionTrace } from './trace.ts';
import { TraceBuilder } from './trace.ts';

/** Semantics that may change flags on one path only, so that pending ones must be settled before. */
const CONDITIONAL_FLAGS = new Set('shl shr sar rol ror rcl rcr shld shrd cmps scas iret syscall sysret'.split(' '));

/** Up to as many entries are compared one after the other. */
const FEW_ENTRIES = 3;

export type CompiledRegion = {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Distances from its base of the blocks that it can be entered at. */
  readonly entries: readonly number[];
  /** What became of what, if that was asked for. */
  readonly trace?: RegionTrace;
};

/** What the region is given when it gets its place in the function table. */
export type RegionPlace = {
  /** Where words would begin for handler number 0 that say under which mappings a region was checked (state.ts, `REGION_TABLE`). */
  readonly regionTable: GlobalRef<I32>;
  /** (linear address, host address): whether instructions of that page are fetched from there. */
  readonly checkPage: FuncRef<[I64, I32], I32>;
  /** Goes on at `CPU.rip`, in another region if there is one. */
  readonly chain: FuncRef<[], I32>;
};

class RegionCompiler {
  readonly #f: FunctionBuilder;
  readonly #e: RegionEmitter;
  readonly #region: Region;
  readonly #blocks: readonly RegionBlock[];
  readonly #node = new Map<number, number>();
  readonly #graph: FlowGraph;
  readonly #live: ReadonlySet<number>;
  readonly #loopLabels = new Map<number, Label>();
  readonly #blockLabels = new Map<number, Label>();
  readonly #children: number[][];
  readonly #place: RegionPlace;
  readonly #distance: Local<I64>;
  #fault!: Label;
  #here!: Label;
  #jump!: Label;
  #leave!: Label;
  /** Notes what code each block and instruction has. */
  trace: TraceBuilder | undefined;

  constructor(f: FunctionBuilder, helpers: Helpers, region: Region, place: RegionPlace) {
    this.#place = place;
    this.#region = region;
    this.#distance = f.local('i64');
    this.#f = f;
    this.#e = new RegionEmitter(f, helpers, codeSize(region.key));
    this.#blocks = [...region.blocks.values()];
    this.#blocks.forEach((block, n) => this.#node.set(block.offset, n + 1));
    const edges = [[], ...this.#blocks.map((block) => this.#successors(block))];
    const entries = this.#blocks.flatMap((block, n) => (block.entry ? [n + 1] : []));
    this.#graph = analyse(this.#blocks.length + 1, edges, entries);
    // An indirect jump may lead to any entry.
    const flow = edges.map((to, node) => (node !== ROOT && this.#isIndirect(node) ? [...to, ...this.#graph.entries] : to));
    this.#live = flagsLiveAt(this.#blocks, flow);
    this.#children = edges.map(() => []);
    for (const node of this.#graph.order) if (node !== ROOT) this.#children[this.#graph.idom[node]].push(node);
  }

  #isIndirect(node: number): boolean {
    const { instructions } = this.#blocks[node - 1];
    const { flow, rep } = instructions[instructions.length - 1].insn.row;
    return flow === 'ret' || flow === 'jmpi' || flow === 'calli' || flow === 'trans' || rep !== 'no';
  }

  /** Nodes that a block's direct transfers reach inside the region. */
  #successors(block: RegionBlock): number[] {
    const last = block.instructions[block.instructions.length - 1];
    const { insn, offset } = last;
    const next = offset + insn.length;
    const offsets: number[] = [];
    if (block.next !== undefined) offsets.push(block.next);
    else if (!isSystem(last.form)) {
      if (insn.row.flow === 'jcc') offsets.push(next + insn.rel, next);
      else if (insn.row.flow === 'jmp' || insn.row.flow === 'call') offsets.push(next + insn.rel);
    }
    return [...new Set(offsets.flatMap((target) => this.#node.get(target) ?? []))];
  }

  get localNames(): ReadonlyMap<number, string> {
    return this.#e.localNames();
  }

  compile(cpu: () => I32): CompiledRegion['entries'] {
    const f = this.#f;
    const e = this.#e;
    f.block((leave) => {
      this.#leave = leave;
      f.block((jump) => {
        this.#jump = jump;
        f.block((here) => {
          this.#here = here;
          f.block((fault) => {
            this.#fault = fault;
            this.#tree(ROOT);
          });
          // What the interpreter has to run, such as a store into translated code, looks like a fault.
          f.set(e.status, f.select(f.i32.const(Status.Interpret), f.i32.const(Status.FaultAt), e.load32('restart')));
          e.store32('restart', () => f.i32.const(0));
        });
        e.emitLeaveHere();
        f.br(leave);
      });
      f.set(e.status, f.i32.const(Status.Jump));
    });
    e.emitSpill();
    e.store64('rip', () => f.get(e.exitRip));
    f.if(f.i32.eq(f.get(e.status), f.i32.const(Status.Jump)), () => f.returnCall(this.#place.chain));
    f.get(e.status);
    if (this.#region.pages.length > 1) f.prologue(() => this.#checkPages());
    e.emitPrologue(cpu);
    return this.#graph.entries.flatMap((node) => {
      const { offset, instructions } = this.#blocks[node - 1];
      return crosses(offset, instructions[0].insn) ? [] : [offset];
    });
  }

  /**
   * The region holds where its pages are next to each other. Whether they still are needs to be asked only if mappings have changed since the
   * last time, which the jump cache's tag tells; if not, the interpreter runs the block.
   */
  #checkPages(): void {
    const f = this.#f;
    const e = this.#e;
    const { regionTable, checkPage } = this.#place;
    const checked = f.local('i32');
    // Whoever enters a region does so by a header whose handler it is.
    const words = f.i32.mul(f.i32.load16_u(f.get(f.param(0, 'i32')), Record.handler), f.i32.const(REGION_TABLE.entryBytes));
    f.set(checked, f.i32.add(words, f.globalGet(regionTable)));
    const samePlace = f.i64.eq(f.i64.load(f.get(checked), REGION_TABLE.rip), f.get(e.pageRip));
    const sameTag = f.i32.eq(f.i32.load(f.get(checked), REGION_TABLE.tag), e.load32('jumpTag'));
    f.if(f.unlikely(f.i32.eqz(f.i32.and(samePlace, sameTag))), () => {
      const linear = (offset: number): I64 => {
        const rip = f.i64.add(f.get(e.pageRip), f.i64.const(offset));
        if (codeSize(this.#region.key) === 64) return rip;
        const based = f.i64.add(rip, f.i64.load(e.cpu(), CPU.offset.segBase + 8 * Seg.CS));
        return f.i64.and(based, f.i64.const(0xffff_ffff));
      };
      for (const [n, { offset }] of this.#region.pages.entries()) {
        const host = (): I32 => f.i32.load(f.get(checked), REGION_TABLE.pages + 4 * n);
        f.if(f.unlikely(f.i32.eqz(f.call(checkPage, linear(offset), host()))), () => {
          e.store64('rip', () => f.get(e.exitRip));
          f.return(f.i32.const(Status.Moved));
        });
      }
      f.i64.store(f.get(checked), f.get(e.pageRip), REGION_TABLE.rip);
      f.i32.store(f.get(checked), e.load32('jumpTag'), REGION_TABLE.tag);
    });
  }

  /** Emits a node and, behind labels, the nodes it dominates. */
  #tree(node: number): void {
    const { merges, loops, position } = this.#graph;
    const labelled = this.#children[node].filter((child) => merges.has(child)).sort((a, b) => position[b] - position[a]);
    if (node !== ROOT && !loops.has(node)) {
      this.#within(node, labelled);
      return;
    }
    this.#f.loop((label) => {
      this.#loopLabels.set(node, label);
      this.#within(node, labelled);
    });
    this.#f.unreachable();
  }

  #within(node: number, labelled: readonly number[]): void {
    if (labelled.length === 0) {
      const start = this.#f.size;
      if (node === ROOT) this.#dispatch();
      else {
        this.#body(node);
        this.trace?.add(this.#blocks[node - 1], start, this.#f.size);
      }
      return;
    }
    const [outer, ...inner] = labelled;
    this.#f.block((label) => {
      this.#blockLabels.set(outer, label);
      this.#within(node, inner);
    });
    this.#tree(outer);
  }

  /**
   * Goes to the entry at `exitRip`, unless the budget is used up or an event waits; leaves if there is none. The way into the region, of
   * indirect jumps and returns in it, and of edges that no structured branch can take.
   */
  #dispatch(): void {
    const f = this.#f;
    const e = this.#e;
    this.#checkEvents();
    const offsets = this.#graph.entries.map((node) => this.#blocks[node - 1].offset);
    const labels = this.#graph.entries.map((node) => this.#blockLabels.get(node) as Label);
    f.set(this.#distance, f.i64.sub(f.get(e.exitRip), f.get(e.pageRip)));
    const goIf = (n: number): void => f.brIf(labels[n], f.i64.eq(f.get(this.#distance), f.i64.const(offsets[n])));
    if (labels.length <= FEW_ENTRIES) {
      for (let n = 0; n < labels.length; n++) goIf(n);
      f.br(this.#jump);
      return;
    }
    const { multiplier, bits, places } = perfectHash(offsets);
    const cases = labels.map(() => f.openBlock());
    const hash = f.i32.shr_u(f.i32.mul(f.i32.wrap_i64(f.get(this.#distance)), f.i32.const(multiplier)), f.i32.const(32 - bits));
    f.brTable(
      places.map((n) => (n < 0 ? this.#jump : cases[n])),
      this.#jump,
      hash,
    );
    for (let n = labels.length - 1; n >= 0; n--) {
      f.closeBlock();
      goIf(n);
      f.br(this.#jump);
    }
  }

  /** Leaves for `exitRip`, which `set` may set. */
  #checkEvents(set?: () => void): void {
    const f = this.#f;
    const e = this.#e;
    const left = f.i32.sub(f.get(e.budget), f.i32.const(1));
    const leave = (): void => {
      set?.();
      f.set(e.status, f.i32.const(Status.Leave));
      f.br(this.#leave);
    };
    f.if(f.unlikely(f.i32.lt_s(f.i32.or(left, e.load32('exitRequest')), f.i32.const(0))), () => {
      if (!e.helpers.atomic) {
        leave();
        return;
      }
      const usedUp = f.i32.le_s(f.get(e.budget), f.i32.const(0));
      f.if(f.i32.or(usedUp, f.i32.eqz(f.call(e.helpers.standAside))), leave);
    });
  }

  #body(node: number): void {
    const f = this.#f;
    const e = this.#e;
    const { merges, loops } = this.#graph;
    const block = this.#blocks[node - 1];
    e.startBlock(this.#graph.looping.has(node));
    if (merges.has(node) || loops.has(node)) e.lazy.pending = this.#live.has(node) ? 'none' : 'unknown';
    if (loops.has(node) || block.checked) this.#checkEvents(() => f.set(e.exitRip, e.ripAt(block.offset)));
    f.set(e.budget, f.i32.sub(f.get(e.budget), f.i32.const(block.instructions.length)));
    const transfers = {
      fault: () => this.#fault,
      here: () => this.#here,
      jump: () => this.#jump,
      enter: () => this.#enter(),
      goTo: (offset: number) => this.#goTo(node, offset),
    };
    for (const [n, instruction] of block.instructions.entries()) {
      const start = f.size;
      const unseen = flagsUnseen(block.instructions, n);
      const blind = unseen && preserves(instruction);
      e.instruction(instruction, block.instructions.length - n, transfers, { unseen, blind });
      if (CONDITIONAL_FLAGS.has(instruction.form.sem) && !unseen && !this.#alwaysSets(instruction)) e.lazy.settle();
      semantics[instruction.form.sem](e);
      this.trace?.add(instruction, start, f.size);
      if (isSystem(instruction.form)) {
        f.unreachable();
        return;
      }
    }
    if (block.next !== undefined && !e.ended) this.#goTo(node, block.next);
    else if (!e.ended) f.unreachable();
  }

  /** A shift by an immediate: that the count is not 0 is known. Rotates keep some flags, and look at the old ones by themselves. */
  #alwaysSets({ form }: RegionInstruction): boolean {
    return form.classes[form.classes.length - 1] === 'i' && form.rep === 0;
  }

  #leaveTo(offset: number): void {
    const f = this.#f;
    const e = this.#e;
    f.set(e.exitRip, e.ripAt(offset));
    f.br(this.#jump);
  }

  /** An indirect jump or return back into this region needs neither spill nor interpreter. */
  #enter(): void {
    if (this.#graph.entries.some((node) => this.#live.has(node))) this.#e.lazy.settle();
    this.#f.br(this.#loopLabels.get(ROOT) as Label);
  }

  #goTo(from: number, offset: number): void {
    const f = this.#f;
    const e = this.#e;
    const to = this.#node.get(offset);
    if (to === undefined) {
      this.#leaveTo(offset);
      return;
    }
    const { position, merges, dispatched } = this.#graph;
    if (this.#live.has(to) && (merges.has(to) || this.#graph.loops.has(to))) e.lazy.settle();
    if (dispatched.has(from * (this.#blocks.length + 1) + to)) {
      f.set(e.exitRip, e.ripAt(offset));
      f.br(this.#loopLabels.get(ROOT) as Label);
    } else if (position[to] <= position[from]) f.br(this.#loopLabels.get(to) as Label);
    else if (merges.has(to)) f.br(this.#blockLabels.get(to) as Label);
    else this.#tree(to);
  }
}

/** What the function of a region's own module is exported as. */
export const REGION_EXPORT = 'f';

/** What a region needs to know of the core module it will run beside. */
export type RegionImage = Pick<CoreImage, 'routines' | 'atomic'>;

/** Compiles a region, for any vCPU of its memory. `trace` is for people. */
export function compileRegion(
  image: RegionImage,
  region: Region,
  options: { checked?: boolean; trace?: boolean; linkable?: boolean } = {},
): CompiledRegion {
  const module = new ModuleBuilder({ ...options, branchHints: true });
  importMemory(module);
  const cpu = module.importGlobal('env', 'cpu', 'i32');
  const regionTable = module.importGlobal('env', 'regionTable', 'i32');
  const helpers = importedHelpers(module, image, true);
  const checkPage = module.importFunction('core', 'checkPage', ['i64', 'i32'], ['i32']);
  const chain = module.importFunction('core', 'chain', [], HANDLER_TYPE.results);
  const f = module.function('region', HANDLER_TYPE.params, HANDLER_TYPE.results);
  const compiler = new RegionCompiler(f, helpers, region, { regionTable, checkPage, chain });
  const trace = options.trace ? new TraceBuilder() : undefined;
  compiler.trace = trace;
  const entries = compiler.compile(() => f.globalGet(cpu));
  module.exportFunction(REGION_EXPORT, f);
  const bytes = module.build({ names: trace !== undefined, linkable: options.linkable ?? false });
  return trace ? { bytes, entries, trace: trace.finish(module, f, compiler.localNames) } : { bytes, entries };
}

/** Compiles a region to a WebAssembly module. */
import type { FunctionBuilder, GlobalRef, I32, I64, Label, Local } from '@tsvisor/wasm-codegen';
import { ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { CoreImage } from '../core/build.ts';
import { importedHelpers } from '../core/build.ts';
import { importMemory } from '../core/imports.ts';
import { HANDLER_TYPE } from '../core/interpreter.ts';
import { jumpIndex } from '../core/lookup.ts';
import type { Helpers } from '../emit/emitter.ts';
import { Status } from '../emit/interpreter.ts';
import { codeSize } from '../records/mode-key.ts';
import { semantics } from '../semantics/index.ts';
import { SYSTEM_INSTRUCTIONS } from '../semantics/system.ts';
import { Record } from '../state.ts';
import { RegionEmitter } from './emitter.ts';
import type { FlowGraph } from './graph.ts';
import { analyse, ROOT } from './graph.ts';
import type { Region, RegionBlock, RegionInstruction } from './region.ts';

const SYSTEM: ReadonlySet<string> = new Set(SYSTEM_INSTRUCTIONS);
/** Semantics that change flags on one path only, so that pending ones must be settled before. */
const CONDITIONAL_FLAGS = new Set('shl shr sar rol ror rcl rcr shld shrd movs cmps stos lods scas'.split(' '));
const PAGE = 4096;

export type CompiledRegion = {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Headers of the blocks it can be entered at; each one's entry number goes into the header's `imm`. */
  readonly entries: readonly { readonly header: number; readonly number: number }[];
};

/** Whether an instruction hands over to the interpreter instead of being compiled. */
const isSystem = (instruction: RegionInstruction): boolean => SYSTEM.has(instruction.form.sem);

/** Where the region will be: its handler number, and the jump cache of its processor. */
type RegionPlace = { readonly slot: number; readonly jumpCache: GlobalRef<I32> };

class RegionCompiler {
  readonly #f: FunctionBuilder;
  readonly #e: RegionEmitter;
  readonly #blocks: readonly RegionBlock[];
  readonly #node = new Map<number, number>();
  readonly #graph: FlowGraph;
  readonly #loopLabels = new Map<number, Label>();
  readonly #blockLabels = new Map<number, Label>();
  readonly #entryNumber = new Map<number, number>();
  readonly #children: number[][];
  #exit!: Label;

  readonly #place: RegionPlace;
  readonly #cached: Local<I32>;
  readonly #record: Local<I32>;

  constructor(f: FunctionBuilder, helpers: Helpers, region: Region, place: RegionPlace) {
    this.#place = place;
    this.#cached = f.local('i32');
    this.#record = f.local('i32');
    this.#f = f;
    this.#e = new RegionEmitter(f, helpers, codeSize(region.key));
    this.#entry = f.local('i32');
    this.#blocks = [...region.blocks.values()];
    this.#blocks.forEach((block, n) => this.#node.set(block.offset, n + 1));
    const edges = [[], ...this.#blocks.map((block) => this.#successors(block))];
    const entries = this.#blocks.flatMap((block, n) => (block.entry ? [n + 1] : []));
    this.#graph = analyse(this.#blocks.length + 1, edges, entries);
    this.#graph.entries.forEach((node, n) => this.#entryNumber.set(node, n));
    this.#children = edges.map(() => []);
    for (const node of this.#graph.order) if (node !== ROOT) this.#children[this.#graph.idom[node]].push(node);
  }

  /** Nodes that a block's direct transfers reach inside the region. */
  #successors(block: RegionBlock): number[] {
    const last = block.instructions[block.instructions.length - 1];
    const { insn, offset } = last;
    const next = offset + insn.length;
    const offsets: number[] = [];
    if (block.next !== undefined) offsets.push(block.next);
    else if (!isSystem(last)) {
      if (insn.row.flow === 'jcc') offsets.push(next + insn.rel, next);
      else if (insn.row.flow === 'jmp' || insn.row.flow === 'call') offsets.push(next + insn.rel);
    }
    return [...new Set(offsets.flatMap((target) => this.#node.get(target) ?? []))];
  }

  compile(cpu: () => I32): CompiledRegion['entries'] {
    const f = this.#f;
    const e = this.#e;
    f.block((exit) => {
      this.#exit = exit;
      this.#tree(ROOT);
    });
    e.emitSpill();
    f.get(e.status);
    e.emitPrologue(cpu);
    f.prologue(() => f.set(this.#entry, f.i32.load(f.get(f.param(0, 'i32')), Record.imm)));
    return this.#graph.entries.map((node, number) => ({ header: this.#blocks[node - 1].header, number }));
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
      if (node === ROOT) this.#dispatch();
      else this.#body(node);
      return;
    }
    const [outer, ...inner] = labelled;
    this.#f.block((label) => {
      this.#blockLabels.set(outer, label);
      this.#within(node, inner);
    });
    this.#tree(outer);
  }

  /** Holds the number of the entry to go to. */
  readonly #entry: Local<I32>;
  /** Goes to the entry whose number the header holds, or a dispatched edge set. */
  #dispatch(): void {
    const f = this.#f;
    const labels = this.#graph.entries.map((node) => this.#blockLabels.get(node) as Label);
    if (labels.length === 1) f.br(labels[0]);
    else f.brTable(labels, labels[0], f.get(this.#entry));
  }

  #body(node: number): void {
    const f = this.#f;
    const e = this.#e;
    const block = this.#blocks[node - 1];
    e.startBlock();
    f.set(e.budget, f.i32.sub(f.get(e.budget), f.i32.const(block.instructions.length)));
    if (this.#graph.loops.has(node) || this.#entryNumber.has(node) || block.checked) this.#checkEvents(block);
    for (const instruction of block.instructions) {
      e.instruction(block, instruction, {
        exit: () => this.#exit,
        enter: () => this.#enter(),
        goTo: (offset) => this.#goTo(node, offset),
      });
      if (CONDITIONAL_FLAGS.has(instruction.form.sem)) e.settleFlags();
      semantics[instruction.form.sem](e);
      if (isSystem(instruction)) {
        f.unreachable();
        return;
      }
    }
    if (e.ended) return;
    e.settleFlags();
    this.#goTo(node, block.next as number);
  }

  /** Leaves before the block when the budget is used up or an event waits. */
  #checkEvents(block: RegionBlock): void {
    const f = this.#f;
    const e = this.#e;
    f.if(f.i32.lt_s(f.i32.or(f.get(e.budget), e.load32('exitRequest')), f.i32.const(0)), () => {
      f.set(e.budget, f.i32.add(f.get(e.budget), f.i32.const(block.instructions.length)));
      this.#leaveTo(block.offset, Status.Leave);
    });
  }

  #leaveTo(offset: number, status: number): void {
    const f = this.#f;
    const e = this.#e;
    f.set(e.exitRip, e.ripAt(offset));
    f.set(e.exitRecord, f.i32.const(0));
    f.set(e.status, f.i32.const(status));
    f.br(this.#exit);
  }

  /** An indirect jump or return back into this region needs neither spill nor interpreter: the jump cache tells. */
  #enter(): void {
    const f = this.#f;
    const e = this.#e;
    const cached = this.#cached;
    const record = this.#record;
    f.set(cached, f.i32.add(f.globalGet(this.#place.jumpCache), jumpIndex(f, e.exitRip)));
    const sameRip = f.i64.eq(f.i64.load(f.get(cached)), f.get(e.exitRip));
    f.if(f.i32.and(sameRip, f.i32.eq(f.i32.load(f.get(cached), 12), e.load32('jumpTag'))), () => {
      f.set(record, f.i32.load(f.get(cached), 8));
      const ours = f.i32.eq(f.i32.load16_u(f.get(record), Record.handler), f.i32.const(this.#place.slot));
      // The same page may be mapped at a second address.
      const offset = (): I64 => f.i64.and(f.i64.load16_u(f.get(record), Record.place), f.i64.const(PAGE - 1));
      const page = (): I64 => f.i64.sub(f.get(e.exitRip), offset());
      f.if(f.i32.and(ours, f.i64.eq(page(), f.get(e.pageRip))), () => {
        f.set(this.#entry, f.i32.load(f.get(record), Record.imm));
        f.br(this.#loopLabels.get(ROOT) as Label);
      });
    });
  }

  #goTo(from: number, offset: number): void {
    const f = this.#f;
    const to = offset >= 0 && offset < PAGE ? this.#node.get(offset) : undefined;
    if (to === undefined) {
      this.#leaveTo(offset, Status.Jump);
      return;
    }
    const { position, merges, dispatched } = this.#graph;
    if (dispatched.has(from * (this.#blocks.length + 1) + to)) {
      f.set(this.#entry, f.i32.const(this.#entryNumber.get(to) ?? 0));
      f.br(this.#loopLabels.get(ROOT) as Label);
    } else if (position[to] <= position[from]) f.br(this.#loopLabels.get(to) as Label);
    else if (merges.has(to)) f.br(this.#blockLabels.get(to) as Label);
    else this.#tree(to);
  }
}

/** Compiles a region for the vCPU whose interpreter records it names; `slot` will be its handler number. */
export function compileRegion(
  image: CoreImage,
  region: Region,
  slot: number,
  options: { checked?: boolean } = {},
): CompiledRegion {
  const module = new ModuleBuilder(options);
  importMemory(module);
  const cpu = module.importGlobal('env', 'cpu', 'i32');
  const jumpCache = module.importGlobal('env', 'jumpCache', 'i32');
  const helpers = importedHelpers(module, image, true);
  const f = module.function(`region ${region.page.toString(16)}`, HANDLER_TYPE.params, HANDLER_TYPE.results);
  const compiler = new RegionCompiler(f, helpers, region, { slot, jumpCache });
  const entries = compiler.compile(() => f.globalGet(cpu));
  module.exportFunction('f', f);
  return { bytes: module.build(), entries };
}

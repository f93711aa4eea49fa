/** What is told of a compiled region. */
import { formatInstruction } from '../decode/format.ts';
import { codeSize } from '../records/mode-key.ts';
import type { CompiledRegion } from './compile.ts';
import type { Region, RegionInstruction } from './region.ts';
import { pageOfOffset } from './region.ts';
import type { CodeRange } from './trace.ts';

export type ReportedInstruction = {
  /** Distance from the region's base. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** In Intel syntax. */
  readonly text: string;
  readonly code: CodeRange;
};

export type ReportedBlock = {
  readonly offset: number;
  /** It can be entered from outside of the region. */
  readonly entry: boolean;
  readonly code: CodeRange;
  readonly instructions: readonly ReportedInstruction[];
};

export type RegionReport = {
  readonly codeSize: 16 | 32 | 64;
  /** RIP and linear address of the base, the first byte of the page of the block that was hot. */
  readonly rip: bigint;
  readonly address: bigint;
  /** Distances of its pages from the base. */
  readonly pages: readonly number[];
  /** The module. Its first function is the region. */
  readonly wasm: Uint8Array;
  /** Names of that function's locals by their indices. */
  readonly locals: ReadonlyMap<number, string>;
  readonly blocks: readonly ReportedBlock[];
};

const NONE: CodeRange = { start: 0, end: 0 };

export function reportRegion(
  region: Region,
  { bytes: wasm, trace }: CompiledRegion,
  base: { readonly bytes: Uint8Array; readonly rip: bigint; readonly address: bigint },
): RegionReport {
  const hosts = new Map(region.pages.map(({ offset, host }) => [offset, host]));
  const rangeOf = (origin: Parameters<ReadonlyMap<object, CodeRange>['get']>[0]): CodeRange =>
    (trace?.ranges as ReadonlyMap<object, CodeRange> | undefined)?.get(origin) ?? NONE;
  const instruction = (origin: RegionInstruction): ReportedInstruction => {
    const { offset, insn } = origin;
    const page = pageOfOffset(offset);
    const at = (hosts.get(page) ?? 0) + (offset - page);
    return {
      offset,
      bytes: base.bytes.slice(at, at + insn.length),
      text: formatInstruction(insn, base.rip + BigInt(offset)),
      code: rangeOf(origin),
    };
  };
  return {
    codeSize: codeSize(region.key),
    rip: base.rip,
    address: base.address,
    pages: region.pages.map(({ offset }) => offset),
    wasm,
    locals: trace?.locals ?? new Map(),
    blocks: [...region.blocks.values()].map((block) => ({
      offset: block.offset,
      entry: block.entry,
      code: rangeOf(block),
      instructions: block.instructions.map(instruction),
    })),
  };
}

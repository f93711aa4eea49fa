/**
 * Regions that outlast the run of a guest. What a region is compiled to does not depend on where its code lies, neither for the guest nor in host memory; so it is
 * kept by what that code is, and serves whichever guest comes to the same code in the same mode, with the same distances between its pages.
 */
import { PAGE, pageOf } from '../records/code-pages.ts';
import { hasLimitNumber } from '../records/mode-key.ts';
import type { CompiledJob } from './job.ts';
import { holdsCode } from './job.ts';
import { pageOfOffset } from './region.ts';

/** As much as tells most blocks of a guest from one another: many functions begin by saving the same registers. */
const HASHED = 40;

export type KeptRegion = {
  readonly key: number;
  /** Distances of its pages from the base; that one, 0, is the first. */
  readonly pages: readonly number[];
  /** What its instructions are, by the distance from the base; no piece crosses a page's end. */
  readonly code: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  /** Blocks it can be entered at, and what `codeHash` says of them. */
  readonly entries: readonly { readonly offset: number; readonly hash: number }[];
  /** Size of its WebAssembly, and the guest's instructions in it. */
  readonly bytes: number;
  readonly instructions: number;
};

/** What a region runs as: a module, which may be that of others, too, and what it exports it as. */
export type RegionFunction = Pick<CompiledJob, 'module' | 'name'>;
/** A region without that. */
export type RegionInPlace = Omit<CompiledJob, keyof RegionFunction>;

/** Runs of a block before a region of an earlier run is looked for, or, if it was warm in an earlier run, one is made for later ones. */
export const RUNS_BEFORE = 100;

/** How often a block ran in the interpreter. */
export type BlockRuns = { readonly hash: number; readonly runs: number };

/** Regions of earlier runs, for the processor that may come to their code again. */
export type KeptCode = {
  /** There may be one that can be entered at a block with this hash. Asked for each block that is translated. */
  readonly has: (hash: number) => boolean;
  /** A block with this hash ran often in an earlier run, but never so often at a time that it was compiled. */
  readonly wasWarm: (hash: number) => boolean;
  /** Those that there are. */
  readonly find: (hash: number) => Iterable<KeptRegion>;
  /** What one is to run as here; undefined if that cannot be had. */
  readonly load: (region: KeptRegion) => RegionFunction | undefined;
};

/** A number for the code that begins at a host address, up to the page's end. */
export function codeHash(memory: Uint8Array, host: number, key: number): number {
  const end = Math.min(host + HASHED, pageOf(host) + PAGE);
  let hash = key | 0;
  for (let at = host; at < end; at++) hash = Math.imul(hash ^ memory[at], 0x0100_0193);
  return hash ^ (hash >>> 15);
}

/** A region as it may be kept; undefined if it is of this run alone. `memory` still holds its code. */
export function keptOf(region: RegionInPlace, memory: Uint8Array): KeptRegion | undefined {
  const { key, pages, bytes, instructions } = region;
  if (hasLimitNumber(key)) return undefined;
  const offsets = new Map(pages.map(({ offset, host }) => [host, offset]));
  // The same page at two places: which of them a piece of code was at cannot be told any more.
  if (offsets.size < pages.length) return undefined;
  const code = region.code.map(({ host, bytes }) => ({ offset: (offsets.get(pageOf(host)) as number) + (host % PAGE), bytes }));
  const entries = region.entries.map(({ host, page }) => ({ offset: page + (host % PAGE), hash: codeHash(memory, host, key) }));
  return { key, pages: pages.map(({ offset }) => offset), code, entries, bytes, instructions };
}

/** What a kept region is placed by. */
export type Ground = {
  readonly memory: Uint8Array;
  /** Of the block that is to be run. */
  readonly host: number;
  readonly key: number;
  /** Host address of a page at a distance from that block's; 0 if that is not known. */
  readonly hostPage: (distance: number) => number;
};

/** The region for this run; undefined if this is other code, or not known to be the same. */
export function placeRegion(region: KeptRegion, { memory, host, key, hostPage }: Ground): RegionInPlace | undefined {
  if (region.key !== key) return undefined;
  for (const { offset } of region.entries) {
    const here = pageOfOffset(offset);
    if (offset - here !== host % PAGE) continue;
    const hosts = new Map(region.pages.map((page) => [page, page === here ? pageOf(host) : hostPage(page - here)]));
    if ([...hosts.values()].includes(0)) continue;
    const hostOf = (distance: number): number => {
      const page = pageOfOffset(distance);
      return (hosts.get(page) as number) + (distance - page);
    };
    const code = region.code.map((piece) => ({ host: hostOf(piece.offset), bytes: piece.bytes }));
    if (!holdsCode(memory, code)) continue;
    return {
      key,
      pages: region.pages.map((page) => ({ offset: page, host: hostOf(page) })),
      code,
      entries: region.entries.map((entry) => ({ host: hostOf(entry.offset), page: pageOfOffset(entry.offset) })),
      bytes: region.bytes,
      instructions: region.instructions,
      origin: 'kept',
    };
  }
  return undefined;
}

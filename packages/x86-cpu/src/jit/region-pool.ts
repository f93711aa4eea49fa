/**
 * Regions that vCPUs of one memory have had compiled, for the others that come to the same code, and for those that come back to it: what is here need not
 * be compiled, nor optimised by the host, once more.
 */
import { ModeKey } from '../records/mode-key.ts';
import type { CompiledJob } from './job.ts';

type Pooled = { readonly region: CompiledJob; readonly entries: ReadonlyMap<number, number> };

/** Where code is under someone's mappings. */
export type Seen = {
  /** Whether memory holds these bytes. */
  readonly holds: (code: CompiledJob['code']) => boolean;
  /** Host address of a page at a distance from that of the block that is asked for; 0 if that is not known. */
  readonly hostPage: (distance: number) => number;
};

export class RegionPool {
  readonly #limit: number;
  /** In the order in which they came. */
  readonly #regions = new Set<Pooled>();
  /** By host address of their entries. */
  readonly #at = new Map<number, Set<Pooled>>();
  #bytes = 0;

  /** @param limit bytes of WebAssembly that are kept; beyond, the oldest regions go */
  constructor(limit: number) {
    this.#limit = limit;
  }

  add(region: CompiledJob): void {
    // The number of a limit is one vCPU's.
    if (region.key & LIMIT_NUMBER) return;
    const entries = new Map<number, number>();
    for (const { host, page } of region.entries) entries.set(host, page);
    const pooled: Pooled = { region, entries };
    this.#regions.add(pooled);
    for (const host of entries.keys()) {
      const known = this.#at.get(host);
      if (known) known.add(pooled);
      else this.#at.set(host, new Set([pooled]));
    }
    this.#bytes += region.bytes;
    for (const oldest of this.#regions) {
      if (this.#bytes <= this.#limit) break;
      this.#remove(oldest);
    }
  }

  /** A region that can be entered at the block at a host address and that lies in memory as it did; undefined if there is none. */
  find(host: number, key: number, seen: Seen): CompiledJob | undefined {
    for (const pooled of this.#at.get(host) ?? []) {
      const { region, entries } = pooled;
      if (region.key !== key) continue;
      if (!seen.holds(region.code)) {
        this.#remove(pooled);
        continue;
      }
      const page = entries.get(host) as number;
      if (region.pages.every((one) => seen.hostPage(one.offset - page) === one.host)) return region;
    }
    return undefined;
  }

  #remove(pooled: Pooled): void {
    this.#regions.delete(pooled);
    this.#bytes -= pooled.region.bytes;
    for (const host of pooled.entries.keys()) {
      const known = this.#at.get(host);
      known?.delete(pooled);
      if (known?.size === 0) this.#at.delete(host);
    }
  }
}

const LIMIT_NUMBER = 0x3ff << ModeKey.LIMIT_SHIFT;

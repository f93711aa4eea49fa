/**
 * Regions that vCPUs of one memory have had compiled, for the others that come to the same code, and for those that come back to it: what is here need not
 * be compiled, nor optimised by the host, once more.
 */
import { hasLimitNumber } from '../records/mode-key.ts';
import { ByHost } from './by-host.ts';
import type { CompiledJob } from './job.ts';

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
  readonly #regions = new Set<CompiledJob>();
  readonly #byEntry = new ByHost<CompiledJob>();
  #bytes = 0;
  /** Host addresses of blocks that are in regions that were made, which later runs will have. */
  readonly covered = new Set<number>();

  /** @param limit bytes of WebAssembly that are kept; beyond, the oldest regions go */
  constructor(limit: number) {
    this.#limit = limit;
  }

  add(region: CompiledJob): void {
    if (hasLimitNumber(region.key)) return;
    this.#regions.add(region);
    for (const { host } of region.entries) this.#byEntry.add(host, region);
    this.#bytes += region.bytes;
    for (const oldest of this.#regions) {
      if (this.#bytes <= this.#limit) break;
      this.#remove(oldest);
    }
  }

  /** A region that can be entered at the block at a host address and that lies in memory as it did; undefined if there is none. */
  find(host: number, key: number, seen: Seen): CompiledJob | undefined {
    for (const region of this.#byEntry.at(host)) {
      if (region.key !== key) continue;
      if (!seen.holds(region.code)) {
        this.#remove(region);
        continue;
      }
      const inPlace = region.entries.some(
        (entry) => entry.host === host && region.pages.every((one) => seen.hostPage(one.offset - entry.page) === one.host),
      );
      if (inPlace) return region;
    }
    return undefined;
  }

  #remove(region: CompiledJob): void {
    this.#regions.delete(region);
    this.#bytes -= region.bytes;
    for (const { host } of region.entries) this.#byEntry.delete(host, region);
  }
}

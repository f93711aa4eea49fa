import { describe, expect, it } from 'vitest';
import { ModeKey } from '../records/mode-key.ts';
import type { CompiledJob } from './job.ts';
import { RegionPool, type Seen } from './region-pool.ts';

const EMPTY = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
const KEY = ModeKey.CODE64 | ModeKey.CPL0;
const PAGE = 0x10_0000;
const NEXT = 0x30_0000;
const FAR = 0x50_0000;

/** A region of three pages, with an entry in each of the first two. */
function region(change: Partial<CompiledJob> = {}): CompiledJob {
  return {
    key: KEY,
    pages: [
      { offset: 0, host: PAGE },
      { offset: 4096, host: NEXT },
      { offset: -8192, host: FAR },
    ],
    code: [{ host: PAGE + 0x10, bytes: Uint8Array.of(0x90) }],
    entries: [
      { host: PAGE + 0x10, page: 0 },
      { host: NEXT + 0x20, page: 4096 },
    ],
    module: EMPTY,
    name: 'f',
    bytes: 1000,
    instructions: 10,
    origin: 'made',
    ...change,
  };
}

/** Mappings as the region was found under, seen from its page at an offset. */
const from = (offset: number, pages = region().pages): Seen => ({
  holds: () => true,
  hostPage: (distance) => pages.find((page) => page.offset === offset + distance)?.host ?? 0,
});

describe('a pool of regions', () => {
  const pool = new RegionPool(3000);
  const kept = region();
  pool.add(kept);

  it('has a region for each block that it can be entered at, in whichever page that lies', () => {
    expect(pool.find(PAGE + 0x10, KEY, from(0))).toBe(kept);
    expect(pool.find(NEXT + 0x20, KEY, from(4096))).toBe(kept);
    expect(pool.find(PAGE + 0x20, KEY, from(0))).toBeUndefined();
  });

  it('has none for another mode', () => {
    expect(pool.find(PAGE + 0x10, ModeKey.CODE64 | ModeKey.USER, from(0))).toBeUndefined();
  });

  it('has none where a page of it is another, or not known to be the same', () => {
    const moved = kept.pages.map((page) => (page.host === FAR ? { ...page, host: FAR + 4096 } : page));
    expect(pool.find(PAGE + 0x10, KEY, from(0, moved))).toBeUndefined();
    expect(pool.find(PAGE + 0x10, KEY, from(0, kept.pages.slice(0, 2)))).toBeUndefined();
    expect(pool.find(PAGE + 0x10, KEY, from(4096))).toBeUndefined();
  });

  it('forgets a region whose code is another', () => {
    const changed = new RegionPool(3000);
    changed.add(region());
    expect(changed.find(PAGE + 0x10, KEY, { ...from(0), holds: () => false })).toBeUndefined();
    expect(changed.find(NEXT + 0x20, KEY, from(4096))).toBeUndefined();
  });

  it('takes none whose code segment has a limit, which is known to one processor by number', () => {
    const limited = new RegionPool(3000);
    const key = KEY | (1 << ModeKey.LIMIT_SHIFT);
    limited.add(region({ key }));
    expect(limited.find(PAGE + 0x10, key, from(0))).toBeUndefined();
  });

  it('keeps the latest, as many as the limit has room for', () => {
    const small = new RegionPool(2500);
    const places = [0x100, 0x200, 0x300];
    for (const at of places) small.add(region({ entries: [{ host: PAGE + at, page: 0 }] }));
    expect(places.map((at) => small.find(PAGE + at, KEY, from(0)) !== undefined)).toEqual([false, true, true]);
  });
});

import { describe, expect, it } from 'vitest';
import { ModeKey } from '../records/mode-key.ts';
import { codeHash, type Ground, keptOf, placeRegion, type RegionInPlace } from './kept.ts';

const KEY = ModeKey.CODE64 | ModeKey.CPL0;
const MEMORY = 0x10_0000;
/** Where the region's pages were, and where they are in another run. */
const BEFORE = [0x1_0000, 0x3_0000];
const AFTER = [0x8_0000, 0x5_0000];
const FIRST = Uint8Array.of(0x48, 0xff, 0xc0, 0xc3);
const SECOND = Uint8Array.of(0x90, 0xeb, 0xfd);

/** Memory that has the code in these pages: at 0x10 of one and 0x20 of the next. */
function memoryWith([first, second]: readonly number[]): Uint8Array {
  const memory = new Uint8Array(MEMORY);
  memory.set(FIRST, first + 0x10);
  memory.set(SECOND, second + 0x20);
  return memory;
}

/** The region of that code, in these pages. */
function region(change: Partial<RegionInPlace> = {}, [first, second]: readonly number[] = BEFORE): RegionInPlace {
  return {
    key: KEY,
    pages: [
      { offset: 0, host: first },
      { offset: 4096, host: second },
    ],
    code: [
      { host: first + 0x10, bytes: FIRST },
      { host: second + 0x20, bytes: SECOND },
    ],
    entries: [
      { host: first + 0x10, page: 0 },
      { host: second + 0x20, page: 4096 },
    ],
    bytes: 1000,
    instructions: 4,
    origin: 'made',
    ...change,
  };
}

const kept = keptOf(region(), memoryWith(BEFORE));
if (kept === undefined) throw new Error('a plain region can be kept');

/** Seen from the block in the first page, or in the second. */
function ground(from: 0 | 1 = 0, change: Partial<Ground> = {}): Ground {
  const [first, second] = AFTER;
  const pages = new Map([
    [0, first],
    [4096, second],
  ]);
  return {
    memory: memoryWith(AFTER),
    host: from === 0 ? first + 0x10 : second + 0x20,
    key: KEY,
    hostPage: (distance) => pages.get(distance + from * 4096) ?? 0,
    ...change,
  };
}

describe('a kept region', () => {
  it('is placed where its code is now, from whichever block it is entered at', () => {
    const placed = placeRegion(kept, ground());
    expect(placed).toEqual(region({ origin: 'kept' }, AFTER));
    expect(placeRegion(kept, ground(1))).toEqual(placed);
  });

  it('is found by what its blocks are, not by where: the same bytes in the same mode have the same hash', () => {
    const memory = memoryWith(AFTER);
    expect(kept.entries.map(({ hash }) => hash)).toEqual([
      codeHash(memory, AFTER[0] + 0x10, KEY),
      codeHash(memory, AFTER[1] + 0x20, KEY),
    ]);
    expect(codeHash(memory, AFTER[0] + 0x10, KEY ^ ModeKey.CPL0)).not.toBe(kept.entries[0].hash);
    memory[AFTER[0] + 0x10 + 39] ^= 1;
    expect(codeHash(memory, AFTER[0] + 0x10, KEY)).not.toBe(kept.entries[0].hash);
    // What lies in the next page is another page's matter.
    memory.set(FIRST, AFTER[0] + 4094);
    const atEnd = codeHash(memory, AFTER[0] + 4094, KEY);
    memory[AFTER[0] + 4096] ^= 1;
    expect(codeHash(memory, AFTER[0] + 4094, KEY)).toBe(atEnd);
  });

  const differing = memoryWith(AFTER);
  differing[AFTER[1] + 0x21] ^= 1;
  it.each<[string, Partial<Ground>]>([
    ['other code in one of its pages', { memory: differing }],
    ['another mode', { key: KEY ^ ModeKey.CPL0 }],
    ['a page that is not known to be where it was', { hostPage: () => 0 }],
    ['a page that is another', { hostPage: () => 0x9_0000 }],
    ['another place in the page', { host: AFTER[0] + 0x11 }],
  ])('is not placed on %s', (_, change) => {
    expect(placeRegion(kept, ground(0, change))).toBeUndefined();
  });

  it('is none of a code segment whose limit has a number of this run', () => {
    expect(keptOf(region({ key: KEY | (1 << ModeKey.LIMIT_SHIFT) }), memoryWith(BEFORE))).toBeUndefined();
  });

  it('is none that has one page at two places', () => {
    const pages = [0, 4096].map((offset) => ({ offset, host: BEFORE[0] }));
    expect(keptOf(region({ pages }), memoryWith(BEFORE))).toBeUndefined();
  });
});

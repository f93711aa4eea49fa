import { beforeEach, describe, expect, it } from 'vitest';
import {
  Access,
  MMU,
  MmuFlag,
  PagingMode,
  resetMmuState,
  TLB_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  TLB_SETS,
  TlbArray,
  TlbEntry,
  TlbSet,
  tlbArrayOffset,
} from '../src/index.ts';
import { LOG_ENTRIES, TLB_DEVICE_TAG } from '../src/tlb.ts';
import { addVcpu, halves, machine, random, tlbLookup } from './machine.ts';

const P = 1n;
const RW = 2n;
const US = 4n;
const PS = 0x80n;
const G = 0x100n;
const KERNEL = 0xffff_8880_0000_0000n;

/**
 * 4-level paging over 32 MiB of RAM: user 4-KByte pages from 0 on, global supervisor 4-KByte pages from -2 GiB on, and the RAM again in
 * 2-MByte pages from KERNEL on.
 */
function longMode() {
  const m = machine({}, 40);
  m.guest.createSlot({ gpa: 0, bytes: 32 << 20 });
  const put = (gpa: number, value: bigint): void => {
    m.guest.writeU64(gpa, Number(value & 0xffff_ffffn), Number(value >> 32n));
  };
  const [pml4, userPdpt, userPd, highPdpt, highPd, largePdpt, largePd] = [0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000];
  put(pml4, BigInt(userPdpt) | P | RW | US);
  put(pml4 + 511 * 8, BigInt(highPdpt) | P | RW);
  put(pml4 + Number((KERNEL >> 39n) & 511n) * 8, BigInt(largePdpt) | P | RW);
  put(userPdpt, BigInt(userPd) | P | RW | US);
  put(highPdpt + 510 * 8, BigInt(highPd) | P | RW);
  put(largePdpt, BigInt(largePd) | P | RW);
  for (let table = 0; table < 16; table++) {
    const userPt = 0x10_0000 + table * 4096;
    const highPt = 0x20_0000 + table * 4096;
    put(userPd + table * 8, BigInt(userPt) | P | RW | US);
    put(highPd + table * 8, BigInt(highPt) | P | RW);
    put(largePd + table * 8, BigInt(table << 21) | P | RW | PS);
    for (let i = 0; i < 512; i++) {
      const page = BigInt((table * 512 + i) * 4096);
      put(userPt + i * 8, page | P | RW | US);
      put(highPt + i * 8, page | P | RW | G);
    }
  }
  const { mmu, tlbAddress } = m.vcpu;
  resetMmuState(mmu.state, 40);
  mmu.state.mode = PagingMode.fourLevel;
  mmu.state.flags = MmuFlag.WP | MmuFlag.PGE | MmuFlag.NXE;
  mmu.state.cr3 = BigInt(pml4);
  const fill = (va: bigint, access: number): number => mmu.fill(...halves(va), access);
  const has = (set: number, array: number, va: bigint): boolean =>
    tlbLookup(m.linear.memory, tlbAddress, set, array, va) !== undefined;
  const hostOf = (gpa: number): number => m.guest.hostAddress(gpa) as number;
  return { ...m, mmu, tlbAddress, fill, has, put, hostOf };
}
const HIGH = 0xffff_ffff_8000_0000n;

let m: ReturnType<typeof longMode>;
beforeEach(() => {
  m = longMode();
});

/** No array of any set answers any of a set of telling addresses. */
function expectEmpty(tlbAddress = m.tlbAddress): void {
  const r = random(77);
  const addresses = [0n, 0xfffn, 0x1000n, -1n, -4096n, 1n << 63n, (1n << 63n) - 1n, 0x7ff000n, 0x80_0000n, 0x1_0000_0000n];
  for (let i = 0; i < 20_000; i++) addresses.push(r.u64());
  for (let i = 0; i < TLB_ENTRIES; i++) addresses.push(BigInt(i) << 12n, (BigInt(i) << 12n) | 0xfffn);
  for (let set = 0; set < TLB_SETS; set++)
    for (let array = 0; array < 3; array++)
      for (const va of addresses) {
        const found = tlbLookup(m.linear.memory, tlbAddress, set, array, va);
        if (found !== undefined) expect.fail(`set ${set}, array ${array} answers ${va.toString(16)}`);
      }
}

describe('TLB entries', () => {
  it('when empty, never match an address', () => {
    expectEmpty();
  });

  it('when empty after each kind of flush, never match an address', () => {
    const touch = (): void => {
      for (let i = 0n; i < 3000n; i++) m.fill(i * 4096n, Access.write | Access.user);
      for (let i = 0n; i < 40n; i++) m.fill(KERNEL + i * 4096n, Access.read);
    };
    touch();
    m.mmu.flushAll();
    expectEmpty();
    touch();
    m.mmu.flushNonGlobal();
    expectEmpty();
    for (const va of [0n, 0x1000n, 0x7f_f000n]) {
      m.fill(va, Access.write | Access.user);
      m.mmu.flushPage(...halves(va));
    }
    expectEmpty();
    const { mmu } = m;
    m.fill(0n, Access.write | Access.user);
    mmu.dropWrites(m.hostOf(0));
    mmu.flushPage(0, 0);
    expectEmpty();
  });

  it('of a new vCPU are empty whatever the memory held', () => {
    const at = m.linear.alloc(16, 16);
    new Uint8Array(m.linear.memory.buffer, at, 2 * TLB_BYTES).fill(0x5a);
    const second = addVcpu(m.linear, m.guest);
    expectEmpty(second.tlbAddress);
  });

  it('answer up to the end of the page and not past it', () => {
    const { memory } = m.linear;
    m.fill(0x5000n, Access.read | Access.user);
    const look = (va: bigint, size: number) => tlbLookup(memory, m.tlbAddress, TlbSet.user, TlbArray.read, va, size);
    expect(look(0x5ff8n, 8)).toBe(m.hostOf(0x5ff8));
    expect(look(0x5ff9n, 8)).toBeUndefined();
    expect(look(0x4fffn, 2)).toBeUndefined();
  });

  it('for read come with a write, never the reverse; fetches are apart', () => {
    m.fill(0x5000n, Access.read | Access.user);
    expect([0, 1, 2].map((array) => m.has(TlbSet.user, array, 0x5000n))).toEqual([true, false, false]);
    m.fill(0x6000n, Access.write | Access.user);
    expect([0, 1, 2].map((array) => m.has(TlbSet.user, array, 0x6000n))).toEqual([true, true, false]);
    m.fill(0x7000n, Access.fetch | Access.user);
    expect([0, 1, 2].map((array) => m.has(TlbSet.user, array, 0x7000n))).toEqual([false, false, true]);
  });

  it('map each 4-KByte fragment of a large page to its own host page', () => {
    for (const offset of [0n, 0x1000n, 0x1f_f123n, 0x7_5008n]) {
      expect(m.fill(KERNEL + 0x60_0000n + offset, Access.read)).toBe(m.hostOf(0x60_0000 + Number(offset)));
      expect(tlbLookup(m.linear.memory, m.tlbAddress, TlbSet.supervisor, TlbArray.read, KERNEL + 0x60_0000n + offset)).toBe(
        m.hostOf(0x60_0000 + Number(offset)),
      );
    }
  });
});

describe('flushes (SDM vol. 3 §4.10.4.1)', () => {
  it('a CR3 write keeps global translations only', () => {
    m.fill(0x5000n, Access.write | Access.user);
    m.fill(HIGH + 0x5_1000n, Access.write);
    m.mmu.flushNonGlobal();
    expect(m.has(TlbSet.user, TlbArray.write, 0x5000n)).toBe(false);
    expect(m.has(TlbSet.supervisor, TlbArray.write, HIGH + 0x5_1000n)).toBe(true);
    m.mmu.flushAll();
    expect(m.has(TlbSet.supervisor, TlbArray.write, HIGH + 0x5_1000n)).toBe(false);
  });

  it('the G bit counts only while CR4.PGE = 1', () => {
    m.mmu.state.flags &= ~MmuFlag.PGE;
    m.fill(HIGH + 0x5_1000n, Access.write);
    m.mmu.flushNonGlobal();
    expect(m.has(TlbSet.supervisor, TlbArray.write, HIGH + 0x5_1000n)).toBe(false);
  });

  it('random fills and flushes leave exactly what a plain model of them holds, also past the log’s capacity', () => {
    // Model: per set and array, index → { va, global }.
    const model = new Map<string, { va: bigint; global: boolean }>();
    const key = (set: number, array: number, va: bigint) => `${set}.${array}.${(va >> 12n) & BigInt(TLB_ENTRIES - 1)}`;
    const r = random(99);
    const access = [Access.read, Access.write, Access.fetch];
    for (let step = 0; step < 400; step++) {
      const many = r.chance(10) ? 2 * LOG_ENTRIES : r.below(40);
      for (let i = 0; i < many; i++) {
        const global = r.chance(50);
        const va = (global ? HIGH : 0n) + (BigInt(r.below(8192)) << 12n);
        const array = r.below(3);
        // Supervisor sets hold user pages too, so that global and other translations displace each other there.
        const set = r.pick(global ? [TlbSet.supervisor, TlbSet.supervisorSmap] : [0, 1, 2]);
        const bits = access[array] | (set === TlbSet.user ? Access.user : set === TlbSet.supervisorSmap ? Access.smap : 0);
        m.fill(va, bits);
        model.set(key(set, array, va), { va, global });
        if (array === TlbArray.write) model.set(key(set, TlbArray.read, va), { va, global });
      }
      if (r.chance(50)) {
        const va = (r.chance(50) ? 0n : HIGH) + (BigInt(r.below(8192)) << 12n);
        m.mmu.flushPage(...halves(va + BigInt(r.below(4096))));
        for (const [at, entry] of model) if (entry.va === va) model.delete(at);
      } else if (r.chance(60)) {
        m.mmu.flushNonGlobal();
        for (const [at, entry] of model) if (!entry.global) model.delete(at);
      } else {
        m.mmu.flushAll();
        model.clear();
      }
      const view = new DataView(m.linear.memory.buffer);
      let live = 0;
      for (let i = 0; i < TLB_SETS * 3 * TLB_ENTRIES; i++) {
        const index = i % TLB_ENTRIES;
        const tag = view.getBigUint64(m.tlbAddress + i * 16, true);
        if (tag === (index === 0 ? 0x1000n : 0n)) continue;
        live++;
        const array = Math.floor(i / TLB_ENTRIES);
        const expected = model.get(`${Math.floor(array / 3)}.${array % 3}.${index}`);
        if (expected?.va !== tag)
          expect.fail(`step ${step}: entry ${i} holds ${tag.toString(16)}, not ${expected?.va.toString(16)}`);
      }
      // Linear page 0 in entry 0 has tag 0, which is not the empty tag there; everywhere else the counts must agree.
      expect(live).toBe(model.size);
    }
  });

  it('INVLPG drops every fragment of a large page, in all sets, and no other page', () => {
    const fragments = [0n, 0x3000n, 0x1f_f000n].map((offset) => KERNEL + 0x40_0000n + offset);
    const others = [KERNEL + 0x60_0000n, KERNEL + 0x3f_f000n, HIGH + 0x5_1000n];
    for (const va of [...fragments, ...others]) m.fill(va, Access.write | Access.smap);
    for (const va of fragments) m.fill(va, Access.fetch);
    m.mmu.flushPage(...halves(KERNEL + 0x50_0000n));
    for (const va of fragments) {
      expect(m.has(TlbSet.supervisorSmap, TlbArray.write, va)).toBe(false);
      expect(m.has(TlbSet.supervisorSmap, TlbArray.read, va)).toBe(false);
      expect(m.has(TlbSet.supervisor, TlbArray.fetch, va)).toBe(false);
    }
    for (const va of others) expect(m.has(TlbSet.supervisorSmap, TlbArray.write, va)).toBe(true);
  });

  it('INVLPG drops the fragments of a 4-MByte page on both sides of its middle', () => {
    const { mmu } = m;
    mmu.flushAll();
    mmu.state.mode = PagingMode.twoLevel;
    mmu.state.flags = MmuFlag.PSE;
    m.guest.writeU32(0x9000 + 4 * 0x300, 0x83);
    mmu.state.cr3 = 0x9000n;
    expect(m.fill(0xc000_0000n, Access.read)).toBe(m.hostOf(0));
    expect(m.fill(0xc030_0000n, Access.read)).toBe(m.hostOf(0x30_0000));
    mmu.flushPage(0xc010_0000 | 0, 0);
    expect(m.has(TlbSet.supervisor, TlbArray.read, 0xc000_0000n)).toBe(false);
    expect(m.has(TlbSet.supervisor, TlbArray.read, 0xc030_0000n)).toBe(false);
  });
});

describe('pages of devices', () => {
  const DEVICE = 0xd000_0000n;
  /** The guest-physical page that the TLB holds for a device's page, if it does. */
  const devicePage = (set: number, array: number, va: bigint): number | undefined => {
    const view = new DataView(m.linear.memory.buffer);
    const index = Number((va >> 12n) & BigInt(TLB_ENTRIES - 1));
    const entry = m.tlbAddress + tlbArrayOffset(set, array) + index * TLB_ENTRY_BYTES;
    const tag = BigInt.asUintN(64, (va & ~0xfffn) ^ BigInt(TLB_DEVICE_TAG));
    return view.getBigUint64(entry, true) === tag ? view.getUint32(entry + TlbEntry.addend, true) : undefined;
  };
  /** Maps pages of the user's 4-KByte table, the kernel's global one, and a 2-MByte page to the device; and page 0, with the last one. */
  const PAGES = [0n, 0x5000n, 0x6000n, 0x7f_f000n];
  const LARGE_PAGES = [KERNEL + 0x40_0000n, KERNEL + 0x40_2000n, KERNEL + 0x5f_f000n];
  beforeEach(() => {
    for (const va of PAGES) {
      m.put(0x10_0000 + Number(va >> 12n) * 8, (DEVICE + va) | P | RW | US);
      m.put(0x20_0000 + Number(va >> 12n) * 8, (DEVICE + va) | P | RW | G);
    }
    m.put(0x7000 + 2 * 8, DEVICE | P | RW | PS);
  });
  const number = (gpa: bigint): number => Number(gpa >> 12n);

  it('are entered for reading, and for writing when they were written, and answer no access', () => {
    for (const va of PAGES) {
      expect(m.fill(va + 0x123n, Access.read | Access.user)).toBe(0);
      expect([0, 1, 2].map((array) => devicePage(TlbSet.user, array, va))).toEqual([number(DEVICE + va), undefined, undefined]);
      expect(m.fill(va + 0x123n, Access.write | Access.user)).toBe(0);
      expect(devicePage(TlbSet.user, TlbArray.write, va)).toBe(number(DEVICE + va));
      expect(m.fill(va, Access.fetch | Access.user)).toBe(0);
      expect(devicePage(TlbSet.user, TlbArray.fetch, va)).toBeUndefined();
    }
    for (const va of LARGE_PAGES) m.fill(va, Access.write);
    expectEmpty();
  });

  it('go as other pages do: INVLPG takes one or all of a large page, CR3 what is not global', () => {
    const write = TlbArray.write;
    const touch = (): void => {
      for (const va of PAGES) m.fill(va, Access.write | Access.user);
      for (const va of PAGES) m.fill(HIGH + va, Access.write);
      for (const va of LARGE_PAGES) m.fill(va, Access.write);
    };
    touch();
    m.mmu.flushPage(...halves(0x5abcn));
    expect(PAGES.map((va) => devicePage(TlbSet.user, write, va))).toEqual(
      PAGES.map((va) => (va === 0x5000n ? undefined : number(DEVICE + va))),
    );
    m.mmu.flushPage(...halves(KERNEL + 0x50_0000n));
    expect(LARGE_PAGES.map((va) => devicePage(TlbSet.supervisor, write, va))).toEqual([undefined, undefined, undefined]);
    touch();
    m.mmu.flushNonGlobal();
    for (const va of PAGES) expect(devicePage(TlbSet.user, write, va)).toBeUndefined();
    for (const va of PAGES) expect(devicePage(TlbSet.supervisor, write, HIGH + va)).toBe(number(DEVICE + va));
    for (const va of LARGE_PAGES) expect(devicePage(TlbSet.supervisor, write, va)).toBeUndefined();
    touch();
    m.mmu.flushAll();
    for (const va of [...PAGES.map((page) => HIGH + page), ...LARGE_PAGES])
      expect(devicePage(TlbSet.supervisor, write, va)).toBeUndefined();
  });

  it('beyond 16 TiB, and what is memory but must not be written, stay out', () => {
    resetMmuState(m.mmu.state, 52);
    Object.assign(m.mmu.state, { mode: PagingMode.fourLevel, flags: MmuFlag.WP | MmuFlag.PGE, cr3: 0x1000n });
    m.put(0x10_0000 + 5 * 8, (1n << 44n) | P | RW | US);
    expect(m.fill(0x5000n, Access.write | Access.user)).toBe(0);
    expect(devicePage(TlbSet.user, TlbArray.write, 0x5000n)).toBeUndefined();
    m.guest.createSlot({ gpa: Number(DEVICE), bytes: 0x1000, readOnly: true });
    m.put(0x10_0000 + 6 * 8, DEVICE | P | RW | US);
    expect(m.fill(0x6000n, Access.write | Access.user)).toBe(0);
    expect(devicePage(TlbSet.user, TlbArray.write, 0x6000n)).toBeUndefined();
  });
});

describe('A and D bits', () => {
  it('one entry that serves as several levels is marked and the walk ends', () => {
    const { mmu } = m;
    m.put(0x1000 + 256 * 8, 0x1000n | P | RW);
    const va = 0xffff_0000_0000_0000n | (256n << 39n) | (256n << 30n) | (256n << 21n) | (256n << 12n);
    expect(m.fill(va, Access.write)).toBe(m.hostOf(0x1000));
    expect(m.guest.readU32(0x1000 + 256 * 8) & 0x60).toBe(0x60);
    expect(mmu.state.faultError).toBe(0);
  });

  it('nothing is marked by an access that faults', () => {
    m.mmu.state.flags |= MmuFlag.SMEP;
    expect(m.fill(0x5000n, Access.fetch)).toBe(-1);
    expect(m.guest.readU32(0x1000) & 0x20).toBe(0);
  });

  it('a probe sets neither A nor D, enters nothing, and answers as a fill does', () => {
    expect(m.mmu.probe(0x5000, 0, Access.write | Access.user)).toBe(m.hostOf(0x5000));
    expect(m.guest.readU32(0x10_0000 + 5 * 8) & 0x60).toBe(0);
    expectEmpty();
  });
});

describe('PDPTE registers (SDM vol. 3 §4.4.1, table 4-8)', () => {
  const load = (pdptes: readonly bigint[]): boolean => {
    pdptes.forEach((value, i) => {
      m.put(0xa020 + i * 8, value);
    });
    m.mmu.state.cr3 = 0xa03fn; // PWT, PCD and ignored bits do not matter
    return m.mmu.loadPdptes();
  };
  it('are loaded from the 32-byte aligned table at CR3', () => {
    expect(load([0x3001n, 0n, 0x4001n, 0xe19n])).toBe(true);
    expect([...m.mmu.state.pdpte]).toEqual([0x3001n, 0n, 0x4001n, 0xe19n]);
  });
  it('are not loaded when a present one has a reserved bit set; others are not looked at', () => {
    load([1n, 1n, 1n, 1n]);
    for (const reserved of [1n, 2n, 5n, 6n, 7n, 8n, 40n, 51n, 52n, 63n]) {
      expect(load([0x3001n, 0x4001n | (1n << reserved), 0n, 0n]), `bit ${reserved}`).toBe(false);
      expect([...m.mmu.state.pdpte]).toEqual([1n, 1n, 1n, 1n]);
    }
    expect(load([0x3001n, 0x1e6n, 1n << 63n, 0x3e18n & ~1n])).toBe(true);
  });
});

describe('counters', () => {
  it('count fills, walks and flushes', () => {
    m.mmu.state.misses = m.mmu.state.walks = m.mmu.state.flushes = 0;
    m.fill(0x5000n, Access.read);
    m.mmu.probe(0x5000, 0, Access.read);
    m.mmu.flushAll();
    m.mmu.flushNonGlobal();
    const { misses, walks, flushes } = MMU.view(m.linear.memory.buffer, m.vcpu.stateAddress);
    expect({ misses, walks, flushes }).toEqual({ misses: 1, walks: 2, flushes: 2 });
  });
});

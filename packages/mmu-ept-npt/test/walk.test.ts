import { describe, expect, it } from 'vitest';
import { Access, AccessKind, MmuFlag, PagingMode, resetMmuState, TlbArray, TlbSet } from '../src/index.ts';
import { halves, machine, type Random, random, tlbLookup } from './machine.ts';
import { type AccessDescription, type Paging, type Physical, translate } from './reference-walk.ts';

/** Guest-physical memory of these tests: low RAM, ROM, RAM above 4 GiB; elsewhere nothing. */
const LOW = { gpa: 0, pages: 16 };
const ROM = { gpa: 0x40_0000, pages: 4 };
const A20 = { gpa: 0x10_0000, pages: 4 };
const HIGH = { gpa: 0x8_0000_0000, pages: 16 };
const REGIONS = [LOW, ROM, A20, HIGH];

type Model = { gpa: number; bytes: Uint8Array; view: DataView; writable: boolean };

/** A copy of guest memory that only the reference model touches. */
function modelMemory(models: readonly Model[]): Physical {
  const find = (address: bigint): [Model, number] | undefined => {
    for (const model of models) {
      const offset = Number(address) - model.gpa;
      if (offset >= 0 && offset < model.bytes.length) return [model, offset];
    }
    return undefined;
  };
  return {
    read: (address, bytes) => {
      const found = find(address);
      if (!found) return (1n << BigInt(bytes * 8)) - 1n;
      return bytes === 8 ? found[0].view.getBigUint64(found[1], true) : BigInt(found[0].view.getUint32(found[1], true));
    },
    write: (address, bytes, value) => {
      const found = find(address);
      if (!found?.[0].writable) return;
      if (bytes === 8) found[0].view.setBigUint64(found[1], value, true);
      else found[0].view.setUint32(found[1], Number(value), true);
    },
  };
}

function bench() {
  const m = machine();
  const models = REGIONS.map(({ gpa, pages }): Model => {
    m.guest.createSlot({ gpa, bytes: pages * 4096, readOnly: gpa === ROM.gpa });
    const bytes = new Uint8Array(pages * 4096);
    return { gpa, bytes, view: new DataView(bytes.buffer), writable: gpa !== ROM.gpa };
  });
  const actual = models.map(({ gpa, bytes }) => {
    const host = m.guest.hostAddress(gpa) as number;
    return new Uint8Array(m.linear.memory.buffer, host, bytes.length);
  });
  const physical = modelMemory(models);
  /** Writes an entry in the guest and in the model, ROM included. */
  const put = (gpa: bigint, bytes: 4 | 8, value: bigint): void => {
    models.forEach((model, i) => {
      const offset = Number(gpa) - model.gpa;
      if (offset < 0 || offset >= model.bytes.length) return;
      const view = new DataView(actual[i].buffer, actual[i].byteOffset);
      if (bytes === 8) {
        model.view.setBigUint64(offset, value, true);
        view.setBigUint64(offset, value, true);
      } else {
        model.view.setUint32(offset, Number(value), true);
        view.setUint32(offset, Number(value), true);
      }
    });
  };
  const same = (): boolean => models.every(({ bytes }, i) => Buffer.compare(bytes, actual[i]) === 0);
  return { ...m, physical, put, same };
}

const MODES = [
  ['off', PagingMode.off, []],
  ['32-bit', PagingMode.twoLevel, [22n, 12n]],
  ['PAE', PagingMode.pae, [21n, 12n]],
  ['4-level', PagingMode.fourLevel, [39n, 30n, 21n, 12n]],
  ['5-level', PagingMode.fiveLevel, [48n, 39n, 30n, 21n, 12n]],
] as const;

function randomPaging(r: Random, mode: Paging['mode']): Paging {
  const pick = (percent: number): boolean => r.chance(percent);
  return {
    mode,
    cr3: 0n,
    pdpte: [0n, 0n, 0n, 0n],
    cr0wp: pick(50),
    cr4: { pse: pick(70), pge: pick(50), smep: pick(50), smap: pick(50), pke: pick(50) },
    nxe: pick(70),
    pkru: r.u32(),
    cpuid: { maxPhyAddr: r.pick([36, 39, 40, 46, 52]), pse36: pick(50), page1gb: pick(70) },
    a20Mask: pick(90) ? 0xffff_ffff_ffff_ffffn : 0xffff_ffff_ffef_ffffn,
  };
}

const pageIn = (r: Random, { gpa, pages }: { gpa: number; pages: number }): bigint => BigInt(gpa + r.below(pages) * 4096);
const anyPage = (r: Random, limit: bigint): bigint => {
  const region = r.pick([LOW, LOW, LOW, HIGH, HIGH, ROM, A20]);
  const page = r.chance(95) ? pageIn(r, region) : r.u64() & 0xf_ffff_ffff_f000n;
  return page & limit;
};

/** Lays a path of entries for `va`, mostly sound, with every kind of flaw strewn in. Sets CR3 and the PDPTEs. */
function layPath(
  r: Random,
  p: Paging,
  va: bigint,
  shifts: readonly bigint[],
  put: (gpa: bigint, bytes: 4 | 8, value: bigint) => void,
): void {
  const size = p.mode === '32-bit' ? 4 : 8;
  const width = size === 4 ? 10n : 9n;
  const limit = size === 4 ? 0xffff_f000n : 0xf_ffff_ffff_f000n;
  const lenient = r.chance(70);
  let table = anyPage(r, p.mode === 'PAE' ? 0xf_ffff_ffff_f000n : limit);
  p.cr3 = table | (r.chance(20) ? BigInt(r.below(4096)) : 0n);
  if (p.mode === 'PAE')
    p.pdpte = p.pdpte.map((_, i) => (i === Number((va >> 30n) & 3n) ? table | (r.chance(97) ? 1n : 0n) : r.u64()));
  for (const shift of shifts) {
    const at = table + ((va >> shift) & ((1n << width) - 1n)) * BigInt(size);
    table = anyPage(r, limit);
    let entry = table;
    if (r.chance(98)) entry |= 1n;
    if (r.chance(lenient ? 95 : 60)) entry |= 2n;
    if (r.chance(lenient ? 95 : 60)) entry |= 4n;
    entry |= BigInt(r.below(32) << 3) & 0x78n; // PWT, PCD, A, D
    entry |= BigInt(r.below(16) << 8);
    if (shift > 12n && r.chance(15)) {
      entry |= 0x80n;
      // A page frame on its boundary, so that PS does not mean reserved bits every time.
      if (r.chance(90))
        entry = (entry & 0xfffn) | ((size === 4 ? BigInt(r.u32()) : BigInt(r.below(0x20)) << 30n) & ~((1n << shift) - 1n));
      if (size === 4 && r.chance(70)) entry = (entry & 0xffc0_1fffn) | (BigInt(r.below(16)) << 13n);
    } else if (shift === 12n && r.chance(50)) entry |= 0x80n; // PAT
    if (size === 8) {
      // Bits 58:52 and the protection key: ignored in long mode, reserved in PAE mode.
      if (r.chance(p.mode === 'PAE' ? 2 : 40)) entry |= BigInt(r.below(2048)) << 52n;
      if (r.chance(p.nxe ? 15 : 2)) entry |= 1n << 63n;
      if (r.chance(2)) entry |= 1n << BigInt(32 + r.below(31));
    } else if (r.chance(2)) entry |= 1n << BigInt(12 + r.below(20));
    put(at & p.a20Mask, size, BigInt.asUintN(size * 8, entry));
  }
}

function loadState(state: ReturnType<typeof bench>['vcpu']['mmu']['state'], p: Paging, mode: number): void {
  resetMmuState(state, p.cpuid.maxPhyAddr);
  state.mode = mode;
  state.cr3 = p.cr3;
  state.a20Mask = p.a20Mask;
  state.pkru = p.pkru;
  p.pdpte.forEach((value, i) => {
    state.pdpte[i] = value;
  });
  const flags: [boolean, number][] = [
    [p.cr0wp, MmuFlag.WP],
    [p.cr4.smep, MmuFlag.SMEP],
    [p.cr4.smap, MmuFlag.SMAP],
    [p.nxe, MmuFlag.NXE],
    [p.cr4.pse, MmuFlag.PSE],
    [p.cpuid.pse36, MmuFlag.PSE36],
    [p.cr4.pge, MmuFlag.PGE],
    [p.cr4.pke, MmuFlag.PKE],
    [p.cpuid.page1gb, MmuFlag.PAGE1GB],
  ];
  state.flags = flags.reduce((sum, [on, flag]) => (on ? sum | flag : sum), 0);
}

const canonical = (va: bigint, mode: Paging['mode']): bigint =>
  mode === '4-level'
    ? BigInt.asUintN(64, BigInt.asIntN(48, va))
    : mode === '5-level'
      ? BigInt.asUintN(64, BigInt.asIntN(57, va))
      : BigInt.asUintN(32, va);

const accessBits = ({ type, user, acClear }: AccessDescription): number =>
  Access[type] | (user ? Access.user : 0) | (acClear ? Access.smap : 0);

describe('page walk against the manual (SDM vol. 3 ch. 4)', () => {
  for (const [name, mode, shifts] of MODES) {
    const cases = mode === PagingMode.off ? 20_000 : 200_000;
    it(`${name}: result, error code, A and D bits and TLB equal the reference in ${cases} random cases`, {
      timeout: 120_000,
    }, () => {
      const b = bench();
      const { mmu, tlbAddress } = b.vcpu;
      const { state } = mmu;
      const r = random(0x1234 + mode);
      const seen = { ram: 0, other: 0, fault: 0, reserved: 0, key: 0, large: 0 };
      for (let i = 0; i < cases; i++) {
        const p = randomPaging(r, name);
        const va = canonical(r.chance(mode === PagingMode.off ? 60 : 20) ? BigInt(r.below(0x2_0000)) : r.u64(), name);
        layPath(r, p, va, shifts, b.put);
        loadState(state, p, mode);
        const access: AccessDescription = {
          type: r.pick(['read', 'write', 'fetch'] as const),
          user: r.chance(50),
          acClear: r.chance(50),
        };
        const isProbe = r.chance(25);
        const expected = translate(p, va, access, b.physical, !isProbe);

        mmu.flushAll();
        const answer = mmu[isProbe ? 'probe' : 'fill'](...halves(va), accessBits(access));
        const describeCase = () =>
          `case ${i}: va ${va.toString(16)} ${JSON.stringify({ p, access, expected, isProbe }, (_, v) => (typeof v === 'bigint' ? v.toString(16) : v))}`;

        if ('fault' in expected) {
          if (answer !== -1 || state.faultError !== expected.fault)
            expect({ answer, code: state.faultError }, describeCase()).toEqual({ answer: -1, code: expected.fault });
          seen.fault++;
          if (expected.fault & 8) seen.reserved++;
          if (expected.fault & 32) seen.key++;
        } else {
          const gpa = Number(expected.address);
          const host = b.guest.hostAddress(gpa);
          const isRom = gpa >= ROM.gpa && gpa < ROM.gpa + ROM.pages * 4096;
          const kind =
            host === undefined ? AccessKind.unbacked : isRom && access.type === 'write' ? AccessKind.readOnly : AccessKind.ram;
          const wanted = { answer: kind === AccessKind.ram ? host : 0, kind, gpa, host: host ?? 0 };
          const got = { answer, kind: state.kind, gpa: state.gpaHi * 2 ** 32 + state.gpaLo, host: state.host };
          if (got.answer !== wanted.answer || got.kind !== wanted.kind || got.gpa !== wanted.gpa || got.host !== wanted.host)
            expect(got, describeCase()).toEqual(wanted);
          if (kind === AccessKind.ram) seen.ram++;
          else seen.other++;
          if (expected.pageBits > 12n) seen.large++;
        }
        if (!b.same()) expect.fail(`memory differs after ${describeCase()}`);

        const set = access.user ? TlbSet.user : access.acClear ? TlbSet.supervisorSmap : TlbSet.supervisor;
        for (let array = 0; array < 3; array++) {
          const entered =
            !isProbe &&
            answer !== 0 &&
            answer !== -1 &&
            (array === TlbArray[access.type] || (access.type === 'write' && array === TlbArray.read));
          const found = tlbLookup(b.linear.memory, tlbAddress, set, array, va);
          if (found !== (entered ? answer : undefined))
            expect(found, `TLB array ${array}, ${describeCase()}`).toBe(entered ? answer : undefined);
        }
      }
      // Each outcome must really occur, or the comparison proves nothing.
      expect(seen.ram).toBeGreaterThan(cases / 10);
      expect(seen.other).toBeGreaterThan(cases / 100);
      if (mode !== PagingMode.off) {
        expect(seen.fault).toBeGreaterThan(cases / 10);
        expect(seen.reserved).toBeGreaterThan(cases / 1000);
        expect(seen.large).toBeGreaterThan(cases / 100);
      }
      if (mode >= PagingMode.fourLevel) expect(seen.key).toBeGreaterThan(cases / 100);
    });
  }
});

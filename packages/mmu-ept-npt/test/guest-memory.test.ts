import { describe, expect, it } from 'vitest';
import { Access, AccessKind, GuestMemory, MemoryError, PagingMode, resetMmuState, TlbArray, TlbSet } from '../src/index.ts';
import { addVcpu, halves, linearMemory, machine, random, tlbLookup } from './machine.ts';

const KIB4 = 4096;

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof MemoryError) return error.code;
    throw error;
  }
  return undefined;
}

describe('slots', () => {
  it('refuse an overlap and name both ranges', () => {
    const { guest } = machine();
    guest.createSlot({ gpa: 0x10_0000, bytes: 0x1_0000 });
    for (const [gpa, bytes] of [
      [0x10_0000, 0x1000],
      [0x10_f000, 0x1000],
      [0xf_f000, 0x2000],
      [0, 0x20_0000],
    ]) {
      try {
        guest.createSlot({ gpa, bytes });
        expect.fail(`${gpa} was accepted`);
      } catch (error) {
        if (!(error instanceof MemoryError)) throw error;
        expect(error.code).toBe('MMU_SLOT_OVERLAP');
        expect(error.ranges).toEqual([
          { gpa, bytes },
          { gpa: 0x10_0000, bytes: 0x1_0000 },
        ]);
      }
    }
    expect(guest.createSlot({ gpa: 0xf_f000, bytes: 0x1000 })).toBe(1);
    expect(guest.createSlot({ gpa: 0x11_0000, bytes: 0x1000 })).toBe(2);
  });

  it('refuse ranges that are not whole pages of the 40-bit space, or outside linear memory', () => {
    const { guest, linear } = machine();
    for (const [gpa, bytes] of [
      [1, KIB4],
      [0, 100],
      [0, 0],
      [-KIB4, KIB4],
      [2 ** 40, KIB4],
      [2 ** 40 - KIB4, 2 * KIB4],
      [0.5, KIB4],
    ])
      expect(
        codeOf(() => guest.createSlot({ gpa, bytes })),
        `${gpa}, ${bytes}`,
      ).toBe('MMU_SLOT_RANGE');
    const end = linear.memory.buffer.byteLength;
    for (const hostAddress of [0, 100, end, end - KIB4, -KIB4])
      expect(
        codeOf(() => guest.createSlot({ gpa: 0, bytes: 2 * KIB4, hostAddress })),
        `${hostAddress}`,
      ).toBe('MMU_HOST_RANGE');
    expect(codeOf(() => guest.deleteSlot(0))).toBe('MMU_NO_SUCH_SLOT');
    expect(codeOf(() => guest.moveSlot(900, 0))).toBe('MMU_NO_SUCH_SLOT');
    expect(guest.slots()).toEqual([]);
  });

  it('reach the last page of the 40-bit space', () => {
    const { guest } = machine();
    guest.createSlot({ gpa: 2 ** 40 - KIB4, bytes: KIB4 });
    expect(guest.writeU32(2 ** 40 - 4, 0x1234_5678)).toBe(true);
    expect(guest.readU32(2 ** 40 - 4)).toBe(0x1234_5678);
    expect(guest.hostAddress(2 ** 40)).toBeUndefined();
  });

  it('keep their bytes when moved, and their numbers are reused when deleted', () => {
    let changes = 0;
    const { guest } = machine({ onMapChange: () => changes++ });
    const slot = guest.createSlot({ gpa: 0x1000, bytes: 0x3000 });
    guest.writeU32(0x2ffc, 0xdead_beef);
    guest.moveSlot(slot, 0x8000_0000);
    expect(guest.readU32(0x8000_1ffc)).toBe(0xdead_beef);
    expect(guest.hostAddress(0x2ffc)).toBeUndefined();
    guest.moveSlot(slot, 0x8000_1000); // onto part of itself
    expect(guest.readU32(0x8000_2ffc)).toBe(0xdead_beef);
    const { hostAddress } = guest.deleteSlot(slot);
    expect(guest.hostAddress(0x8000_2ffc)).toBeUndefined();
    expect(guest.createSlot({ gpa: 0, bytes: 0x3000, hostAddress })).toBe(slot);
    expect(guest.readU32(0x1ffc)).toBe(0xdead_beef);
    expect(changes).toBe(5);
    expect(guest.generation).toBe(5);
  });

  it('moved about endlessly do not use up linear memory', () => {
    const { guest } = machine();
    const slot = guest.createSlot({ gpa: 0, bytes: KIB4 });
    for (let i = 1; i < 20_000; i++) guest.moveSlot(slot, i * 0x20_0000);
    expect(guest.hostAddress(19_999 * 0x20_0000)).toBeDefined();
  });

  it('are limited in number, with an error of its own', () => {
    const { guest } = machine();
    const host = guest.createSlot({ gpa: 0, bytes: KIB4 });
    const { hostAddress } = guest.slots()[host];
    for (let i = 1; i < 512; i++) guest.createSlot({ gpa: i * KIB4, bytes: KIB4, hostAddress });
    expect(codeOf(() => guest.createSlot({ gpa: 512 * KIB4, bytes: KIB4, hostAddress }))).toBe('MMU_TOO_MANY_SLOTS');
  });

  it('created on one thread are seen by a view attached to the same tables, also after the memory grew', () => {
    const linear = linearMemory(4);
    const guest = new GuestMemory(linear);
    const { physRoot, slotTable } = guest;
    const other = new GuestMemory({ ...linear, attach: { physRoot, slotTable } });
    linear.memory.grow(64);
    guest.createSlot({ gpa: 0x5000, bytes: 2 << 20 });
    expect(other.slots()).toEqual(guest.slots());
    guest.writeU32(0x20_0000, 0x0102_0304);
    expect(other.readU32(0x20_0000)).toBe(0x0102_0304);
    expect(other.writeU8(0x20_0001, 9)).toBe(true);
    expect(guest.readU16(0x20_0000)).toBe(0x0904);
  });
});

describe('device access', () => {
  it('reads ones and drops writes where no memory is, and says so', () => {
    const { guest } = machine();
    guest.createSlot({ gpa: 0x1000, bytes: 0x1000 });
    guest.fill(0x1000, 0x11, 0x1000);
    const bytes = new Uint8Array(6);
    expect(guest.read(0x1ffd, bytes)).toBe(false);
    expect([...bytes]).toEqual([0x11, 0x11, 0x11, 0xff, 0xff, 0xff]);
    expect(guest.write(0x1ffd, new Uint8Array([1, 2, 3, 4, 5, 6]))).toBe(false);
    expect(guest.readU32(0x1ffc)).toBe(0x0302_0111);
    expect(guest.readU32(0x5000)).toBe(0xffff_ffff);
    expect(guest.readU16(0x1fff)).toBe(0xff03);
    expect(guest.fill(0x1ffe, 7, 1)).toBe(true);
    expect(guest.fill(0x1ffe, 7, 10)).toBe(false);
  });

  it('does not write to read-only memory', () => {
    const { guest } = machine();
    const slot = guest.createSlot({ gpa: 0, bytes: KIB4, readOnly: true });
    expect(guest.writeU32(0, 5)).toBe(false);
    expect(guest.readU32(0)).toBe(0);
    guest.setSlotFlags(slot, { readOnly: false });
    expect(guest.writeU32(0, 5)).toBe(true);
    expect(guest.readU32(0)).toBe(5);
  });

  it('of any size and alignment equals a plain byte array', () => {
    const { guest } = machine();
    guest.createSlot({ gpa: 0, bytes: 5 * KIB4 });
    const model = new Uint8Array(5 * KIB4);
    const view = new DataView(model.buffer);
    const r = random(5);
    for (let i = 0; i < 20_000; i++) {
      const gpa = r.below(5 * KIB4 - 8);
      const value = r.u32();
      const size = r.pick([1, 2, 4, 8]);
      if (size === 1) guest.writeU8(gpa, value);
      else if (size === 2) guest.writeU16(gpa, value);
      else if (size === 4) guest.writeU32(gpa, value);
      else guest.writeU64(gpa, value, ~value);
      const bytes = BigInt.asUintN(64, (BigInt(~value) << 32n) | BigInt(value));
      for (let byte = 0; byte < size; byte++) model[gpa + byte] = Number((bytes >> BigInt(8 * byte)) & 0xffn);
      const at = r.below(5 * KIB4 - 8);
      expect([guest.readU8(at), guest.readU16(at), guest.readU32(at), guest.readU64High(at)]).toEqual([
        view.getUint8(at),
        view.getUint16(at, true),
        view.getUint32(at, true),
        view.getUint32(at + 4, true),
      ]);
    }
    const all = new Uint8Array(5 * KIB4);
    expect(guest.read(0, all)).toBe(true);
    expect(Buffer.compare(all, model)).toBe(0);
  });
});

function pagingOff(events: ConstructorParameters<typeof GuestMemory>[0] | object = {}) {
  const m = machine(events);
  m.guest.createSlot({ gpa: 0, bytes: 16 * KIB4 });
  resetMmuState(m.vcpu.mmu.state, 40);
  m.vcpu.mmu.state.mode = PagingMode.off;
  const has = (vcpu: typeof m.vcpu, set: number, array: number, va: bigint) =>
    tlbLookup(m.linear.memory, vcpu.tlbAddress, set, array, va) !== undefined;
  return { ...m, has };
}

describe('code pages', () => {
  it('leave the write TLB of every set when protected, stay readable, and come back when unprotected', () => {
    const { guest, vcpu, has } = pagingOff();
    const { mmu } = vcpu;
    const host = guest.hostAddress(0x3000) as number;
    const writes = [Access.write, Access.write | Access.user, Access.write | Access.smap];
    for (const access of writes) {
      expect(mmu.fill(0x3000, 0, access)).toBe(host);
      expect(mmu.fill(0x4000, 0, access)).toBe(host + KIB4);
    }
    expect(mmu.protectCode(host + 0x123)).toBe(true);
    expect(mmu.protectCode(host)).toBe(false);
    for (const set of Object.values(TlbSet)) {
      expect(has(vcpu, set, TlbArray.write, 0x3000n)).toBe(false);
      expect(has(vcpu, set, TlbArray.read, 0x3000n)).toBe(true);
      expect(has(vcpu, set, TlbArray.write, 0x4000n)).toBe(true);
    }
    expect(mmu.fill(0x3008, 0, Access.write)).toBe(0);
    expect([mmu.state.kind, mmu.state.gpaLo, mmu.state.host]).toEqual([AccessKind.code, 0x3008, host + 8]);
    expect(mmu.fill(0x3008, 0, Access.read)).toBe(host + 8);
    expect(mmu.fill(0x3008, 0, Access.fetch)).toBe(host + 8);
    mmu.unprotectCode(host);
    expect(mmu.fill(0x3008, 0, Access.write)).toBe(host + 8);
  });

  it('are protected through every slot that shows them, and when their slot moves', () => {
    const { guest, vcpu } = pagingOff();
    const { mmu } = vcpu;
    const hostAddress = guest.hostAddress(0x2000) as number;
    const alias = guest.createSlot({ gpa: 0x10_0000, bytes: 2 * KIB4, hostAddress });
    mmu.protectCode(hostAddress);
    expect(mmu.fill(0x2000, 0, Access.write)).toBe(0);
    expect(mmu.fill(0x10_0000, 0, Access.write)).toBe(0);
    guest.moveSlot(alias, 0x20_0000);
    expect(mmu.fill(0x20_0000, 0, Access.write)).toBe(0);
    expect(mmu.fill(0x20_1000, 0, Access.write)).toBe(hostAddress + KIB4);
    mmu.unprotectCode(hostAddress);
    expect(mmu.fill(0x20_0000, 0, Access.write)).toBe(hostAddress);
  });

  it('tell the other vCPUs, whose next write then asks', () => {
    const { guest, linear, vcpu, has } = pagingOff();
    const told: number[] = [];
    const translator = addVcpu(linear, guest, (hostPage) => {
      told.push(hostPage);
      vcpu.mmu.dropWrites(hostPage);
    });
    const host = guest.hostAddress(0x3000) as number;
    vcpu.mmu.fill(0x3000, 0, Access.write);
    translator.mmu.protectCode(host);
    translator.mmu.protectCode(host);
    expect(told).toEqual([host]);
    expect(has(vcpu, TlbSet.supervisor, TlbArray.write, 0x3000n)).toBe(false);
  });

  it('report a device’s write after the bytes changed, and no write elsewhere', () => {
    const seen: [number, number, number][] = [];
    const m = pagingOff({ onCodeWrite: (host: number, length: number) => seen.push([host, length, m.guest.readU8(0x3fff)]) });
    const host = m.guest.hostAddress(0x3000) as number;
    m.vcpu.mmu.protectCode(host);
    m.guest.write(0x2ffe, new Uint8Array(KIB4 + 4).fill(0x77));
    m.guest.writeU32(0x5000, 1);
    m.guest.fill(0x3ffe, 0x66, 4);
    expect(seen).toEqual([
      [host, KIB4, 0x77],
      [host + 0xffe, 2, 0x66],
    ]);
  });

  it('report the A bit that a page walk sets in one', () => {
    const seen: [number, number][] = [];
    const { guest, vcpu } = pagingOff({ onCodeWrite: (host: number, length: number) => seen.push([host, length]) });
    const { mmu } = vcpu;
    guest.writeU32(0x1000, 0x2003);
    guest.writeU32(0x2000 + 5 * 4, 0x5003);
    mmu.state.mode = PagingMode.twoLevel;
    mmu.state.cr3 = 0x1000n;
    mmu.protectCode(guest.hostAddress(0x2000) as number);
    mmu.fill(0x5000, 0, Access.read);
    mmu.fill(0x5000, 0, Access.read);
    expect(seen).toEqual([[guest.hostAddress(0x2014), 8]]);
  });
});

describe('dirty log', () => {
  it('holds the pages that vCPUs, devices and page walks wrote since it was last taken', () => {
    const { guest, vcpu } = pagingOff();
    const { mmu } = vcpu;
    const slot = 0;
    guest.setSlotFlags(slot, { logDirty: true });
    mmu.flushAll();
    const host = guest.hostAddress(0x3000) as number;
    expect(mmu.fill(0x3004, 0, Access.write)).toBe(0);
    expect([mmu.state.kind, mmu.state.gpaLo]).toEqual([AccessKind.dirtyLog, 0x3004]);
    guest.markDirty(0x3004);
    expect(mmu.fill(0x3004, 0, Access.write)).toBe(host + 4);
    guest.fill(0x4ffe, 1, 4);
    guest.writeU32(0x1000, 0x2003);
    guest.writeU32(0x2000 + 5 * 4, 0x5003);
    expect([...guest.takeDirtyLog(slot)]).toEqual([0b11_1110]);
    expect([...guest.takeDirtyLog(slot)]).toEqual([0]);
    mmu.flushAll();
    expect(mmu.fill(0x3004, 0, Access.write)).toBe(0);

    mmu.state.mode = PagingMode.twoLevel;
    mmu.state.cr3 = 0x1000n;
    expect(mmu.fill(0x5000, 0, Access.read)).toBe(guest.hostAddress(0x5000));
    expect([...guest.takeDirtyLog(slot)]).toEqual([0b110]);
    guest.setSlotFlags(slot, { logDirty: false });
    expect(mmu.fill(0x5000, 0, Access.write)).toBe(guest.hostAddress(0x5000));
  });

  it('comes before code protection, so that a write to a code page is never missed', () => {
    const { guest, vcpu } = pagingOff();
    const { mmu } = vcpu;
    guest.setSlotFlags(0, { logDirty: true });
    mmu.protectCode(guest.hostAddress(0x3000) as number);
    mmu.fill(0x3000, 0, Access.write);
    expect(mmu.state.kind).toBe(AccessKind.dirtyLog);
    guest.markDirty(0x3000);
    mmu.fill(0x3000, 0, Access.write);
    expect(mmu.state.kind).toBe(AccessKind.code);
  });

  it('finds pages in the last bits of its words', () => {
    const { guest } = machine();
    const slot = guest.createSlot({ gpa: 0, bytes: 70 * KIB4, logDirty: true });
    for (const page of [0, 31, 32, 63, 69]) guest.writeU8(page * KIB4, 1);
    expect([...guest.takeDirtyLog(slot)]).toEqual([0x8000_0001, 0x8000_0001, 0x20]);
    for (const page of [31, 69]) guest.writeU8(page * KIB4, 1);
    expect([...guest.takeDirtyLog(slot)]).toEqual([0x8000_0000, 0, 0x20]);
  });
});

describe('accesses that are not RAM', () => {
  it('report their kind and address and enter nothing', () => {
    const { guest, vcpu, has } = pagingOff();
    const { mmu } = vcpu;
    guest.createSlot({ gpa: 0xf_0000, bytes: 0x1_0000, readOnly: true });
    expect(mmu.fill(...halves(0xfee0_0300n), Access.write)).toBe(0);
    expect([mmu.state.kind, mmu.state.gpaLo, mmu.state.gpaHi, mmu.state.host]).toEqual([AccessKind.unbacked, 0xfee0_0300, 0, 0]);
    expect(has(vcpu, TlbSet.supervisor, TlbArray.write, 0xfee0_0300n)).toBe(false);
    expect(mmu.fill(...halves(0xf_0300n), Access.write)).toBe(0);
    expect([mmu.state.kind, mmu.state.gpaLo]).toEqual([AccessKind.readOnly, 0xf_0300]);
    expect(mmu.fill(...halves(0xf_0300n), Access.read)).toBe(guest.hostAddress(0xf_0300));
    expect(mmu.state.kind).toBe(AccessKind.ram);
  });
});

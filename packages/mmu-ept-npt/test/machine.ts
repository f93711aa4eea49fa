import {
  createMmu,
  GuestMemory,
  type GuestMemoryEvents,
  MMU,
  type Mmu,
  TLB_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  TlbEntry,
  tlbArrayOffset,
} from '../src/index.ts';

/** Linear memory with a bump allocator. */
export function linearMemory(mebibytes = 16) {
  const memory = new WebAssembly.Memory({ initial: mebibytes * 16, maximum: 65536, shared: true });
  let next = 4096;
  const alloc = (bytes: number, align: number): number => {
    const at = Math.ceil(next / align) * align;
    next = at + bytes;
    if (next > memory.buffer.byteLength) throw new RangeError('linear memory is used up');
    return at;
  };
  return { memory, alloc };
}

export type Vcpu = { mmu: Mmu; tlbAddress: number; stateAddress: number };
type Linear = ReturnType<typeof linearMemory>;

export function addVcpu(linear: Linear, guest: GuestMemory, shootdown?: (hostPage: number) => void): Vcpu {
  const stateAddress = linear.alloc(MMU.size, MMU.align);
  const tlbAddress = linear.alloc(TLB_BYTES, 16);
  const mmu = createMmu({ memory: linear.memory, stateAddress, tlbAddress, guest, ...(shootdown && { shootdown }) });
  return { mmu, tlbAddress, stateAddress };
}

export function machine(events: GuestMemoryEvents = {}, mebibytes?: number) {
  const linear = linearMemory(mebibytes);
  const guest = new GuestMemory({ ...linear, ...events });
  return { linear, guest, vcpu: addVcpu(linear, guest) };
}

/** The engine's inline probe: the host address when the TLB answers an access of `size` bytes, else undefined. */
export function tlbLookup(
  memory: WebAssembly.Memory,
  tlb: number,
  set: number,
  array: number,
  va: bigint,
  size = 1,
): number | undefined {
  const view = new DataView(memory.buffer);
  const entry = tlb + tlbArrayOffset(set, array) + Number((va >> 12n) & BigInt(TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES;
  const distance = BigInt.asUintN(64, va - view.getBigInt64(entry + TlbEntry.tag, true));
  if (distance > BigInt(4096 - size)) return undefined;
  return (Number(BigInt.asIntN(32, va)) + view.getInt32(entry + TlbEntry.addend, true)) >>> 0;
}

export const halves = (va: bigint): [number, number] => [Number(BigInt.asIntN(32, va)), Number(BigInt.asIntN(32, va >> 32n))];

/** A small deterministic generator (xorshift32): the same cases on every run. */
export function random(seed: number) {
  let state = seed | 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  return {
    u32: next,
    below: (n: number): number => next() % n,
    chance: (percent: number): boolean => next() % 100 < percent,
    pick: <T>(from: readonly T[]): T => from[next() % from.length],
    u64: (): bigint => (BigInt(next()) << 32n) | BigInt(next()),
  };
}
export type Random = ReturnType<typeof random>;

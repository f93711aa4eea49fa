import type { CoalescedMmio } from './coalesced-mmio.ts';
import type { CoalescedBus } from './coalesced-ring.ts';
import type { DoorbellTable, PublishedDoorbell } from './doorbell-table.ts';
import { Doorbells, type IoEventFds } from './ioeventfd.ts';
import type { IoLen, UnclaimedHook } from './ports.ts';
import type { Region } from './range.ts';

export type IoBusOptions = {
  /** Called for each access that no device claims. */
  readonly onUnclaimed?: UnclaimedHook;
  /** How many ioeventfds it takes; by default `IOEVENTFD_LIMIT`. */
  readonly ioeventfdLimit?: number;
  /** Where processors look for ioeventfds before they ask the bus. */
  readonly doorbells?: DoorbellTable;
  /** Where writes to coalesced zones wait. */
  readonly coalesced?: CoalescedMmio;
};

/** Finds the region that holds an address; what distinguishes the port bus from the memory bus. */
export type Lookup = (address: number) => Region | undefined;

/** The CPU side of a bus. Values are unsigned; nothing here throws for anything a guest does. */
export type IoAccess = {
  /** Reads `len` bytes; bits above them are zero. Bytes that no device claims read as ones, and as zeros where an ioeventfd is. */
  readonly read: (address: number, len: IoLen) => number;
  /** Writes the low `len` bytes of `value`, at once or, in a coalesced zone, later. Bytes that no device claims are dropped. A write that an ioeventfd answers reaches no device. */
  readonly write: (address: number, len: IoLen, value: number) => void;
  /** Reads 8 bytes as two 4-byte accesses, low half first, into `out[0]` (low) and `out[1]` (high). */
  readonly read64: (address: number, out: Uint32Array) => void;
  /** Writes 8 bytes as two 4-byte accesses, low half first. */
  readonly write64: (address: number, lo: number, hi: number) => void;
};

const ONES = [0, 0xff, 0xffff, 0, 0xffff_ffff] as const;

/**
 * True when the access is one transfer for the device: inside its range, no wider than it decodes, and inside one aligned
 * doubleword, the unit in which the bus puts out byte enables (SDM vol. 1 §19.3: the processor may split any other access).
 */
function isOneTransfer(region: Region, address: number, len: IoLen): boolean {
  return address + len <= region.end && len <= region.width && (address % 4) + len <= 4;
}

/** Builds the CPU side of a bus over its lookup, for addresses below `limit`, and what stands before all devices: the ioeventfds. */
export function createAccess(
  find: Lookup,
  { bus, limit }: { readonly bus: CoalescedBus; readonly limit: number },
  { onUnclaimed, ioeventfdLimit, doorbells: table, coalesced }: IoBusOptions,
): IoAccess & IoEventFds {
  const publish = table && ((bell: PublishedDoorbell) => table.publish(bus, bell));
  const doorbells = new Doorbells(limit, { limit: ioeventfdLimit, publish });
  const { assignIoeventfd, deassignIoeventfd } = doorbells;
  const unclaimed = (address: number, len: IoLen): number => {
    let value = 0;
    for (let i = 0; i < len; i++) if (doorbells.count === 0 || !doorbells.covers(address + i)) value |= 0xff << (8 * i);
    onUnclaimed?.('read', address, len, value >>> 0);
    return value >>> 0;
  };
  const readByte = (address: number): number => {
    const region = find(address);
    if (region !== undefined) return region.device.read(address - region.base, 1) & 0xff;
    return unclaimed(address, 1);
  };
  const writeByte = (address: number, value: number): void => {
    const region = find(address);
    if (region !== undefined) region.device.write(address - region.base, 1, value);
    else onUnclaimed?.('write', address, 1, value);
  };

  /** A split access goes byte by byte: every byte then meets the device that claims it, whatever the alignment. */
  const readSplit = (address: number, len: IoLen): number => {
    let value = 0;
    for (let i = 0; i < len; i++) value |= readByte(address + i) << (8 * i);
    return value >>> 0;
  };
  const writeSplit = (address: number, len: IoLen, value: number): void => {
    for (let i = 0; i < len; i++) writeByte(address + i, (value >>> (8 * i)) & 0xff);
  };

  /** A doubleword on two 16-bit registers stays two word transfers: an index/data pair of words must see whole words. */
  const splitsIntoWords = (region: Region, address: number, len: IoLen): boolean =>
    len === 4 && region.width === 2 && address % 2 === 0 && address + len <= region.end;

  const readDevice = (address: number, len: IoLen): number => {
    const region = find(address);
    if (region === undefined) {
      if (len > 1 && hasNeighbour(find, address, len)) return readSplit(address, len);
      return unclaimed(address, len);
    }
    if (isOneTransfer(region, address, len)) return (region.device.read(address - region.base, len) & ONES[len]) >>> 0;
    if (splitsIntoWords(region, address, len)) return (readDevice(address, 2) | (readDevice(address + 2, 2) << 16)) >>> 0;
    return readSplit(address, len);
  };
  const writeDevice = (address: number, len: IoLen, masked: number): void => {
    const region = find(address);
    if (region === undefined) {
      if (len > 1 && hasNeighbour(find, address, len)) writeSplit(address, len, masked);
      else onUnclaimed?.('write', address, len, masked);
      return;
    }
    if (isOneTransfer(region, address, len)) region.device.write(address - region.base, len, masked);
    else if (splitsIntoWords(region, address, len)) {
      writeDevice(address, 2, masked & 0xffff);
      writeDevice(address + 2, 2, masked >>> 16);
    } else writeSplit(address, len, masked);
  };
  /** Doorbells see an access as the processor makes it, and none of its parts; so do coalesced zones. */
  const ring = (address: number, len: IoLen | 8, lo: number, hi: number): boolean =>
    doorbells.count !== 0 && doorbells.ring(address, len, lo, hi);
  const writeDevice64 = (address: number, lo: number, hi: number): void => {
    writeDevice(address, 4, lo);
    writeDevice(address + 4, 4, hi);
  };
  // A thread that has put a write in may not know of the doorbell.
  coalesced?.connect(bus, limit, (address, len, lo, hi) => {
    if (ring(address, len, lo, hi)) return;
    if (len === 8) writeDevice64(address, lo, hi);
    else writeDevice(address, len, lo);
  });
  /** Whether a write waits. One that does not comes after all that do. */
  const coalesce = (address: number, len: IoLen | 8, lo: number, hi: number): boolean => {
    if (coalesced === undefined) return false;
    if (coalesced.put(bus, address, len, lo, hi)) return true;
    coalesced.flush();
    return false;
  };
  const read = (address: number, len: IoLen): number => {
    coalesced?.flush();
    return readDevice(address, len);
  };

  return {
    assignIoeventfd,
    deassignIoeventfd,
    read,
    write: (address, len, value) => {
      const masked = (value & ONES[len]) >>> 0;
      if (!ring(address, len, masked, 0) && !coalesce(address, len, masked, 0)) writeDevice(address, len, masked);
    },
    read64: (address, out) => {
      out[0] = read(address, 4);
      out[1] = read(address + 4, 4);
    },
    write64: (address, lo, hi) => {
      if (!ring(address, 8, lo >>> 0, hi >>> 0) && !coalesce(address, 8, lo >>> 0, hi >>> 0))
        writeDevice64(address, lo >>> 0, hi >>> 0);
    },
  };
}

/** An access that starts in a hole may still end in a device. */
function hasNeighbour(find: Lookup, address: number, len: IoLen): boolean {
  for (let i = 1; i < len; i++) if (find(address + i) !== undefined) return true;
  return false;
}

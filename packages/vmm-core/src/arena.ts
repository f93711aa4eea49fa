import { KvmError } from './errors.ts';

const PAGE = 65_536;
const MAX_BYTES = 4 * 2 ** 30;
/** The last 4 KiB of 4 GiB stay unused: 0xffffffff is an answer of its own (a page fault) where an address is expected. */
const END = MAX_BYTES - 4096;

/** The linear memory of one virtual machine and what is left of it. */
export type Arena = {
  /** Shared, at most 4 GiB. Its pages cost nothing until they are touched. */
  readonly memory: WebAssembly.Memory;
  /**
   * Claims zero-filled bytes for good and returns their address.
   * @param align a power of two
   * @throws KvmError ENOMEM
   */
  readonly alloc: (bytes: number, align: number) => number;
  /** The same for the guest's own memory, which lies above all else. */
  readonly allocGuest: (bytes: number, align: number) => number;
  /** Takes back the last thing that `allocGuest` gave, untouched. */
  readonly undoAllocGuest: (address: number) => void;
  /** Bytes handed out so far, padding included. */
  readonly used: () => number;
};

export type ArenaOptions = {
  /** Bytes for processors and chips. These come first, where addresses are small, whatever the guest's size. */
  readonly overheadBytes: number;
  readonly guestBytes: number;
};

/**
 * An arena over a new shared memory. It grows when what was set aside is used up, but views that exist then end where the memory ended:
 * who knows what a machine will need says so. The first 64 KiB are never handed out, so that address 0 is nobody's.
 */
export function createArena({ overheadBytes, guestBytes }: ArenaOptions): Arena {
  const guestStart = (Math.ceil(overheadBytes / PAGE) + 1) * PAGE;
  const pages = Math.min(Math.ceil((guestStart + guestBytes) / PAGE), MAX_BYTES / PAGE);
  const memory = newMemory(pages);
  let next = PAGE;
  let nextGuest = guestStart;
  let size = pages * PAGE;

  const grow = (end: number): void => {
    const more = Math.ceil((end - size) / PAGE);
    try {
      memory.grow(more);
    } catch (cause) {
      throw new KvmError('ENOMEM', `the host refuses ${more * PAGE} more bytes of memory`, { cause });
    }
    size += more * PAGE;
  };
  const claim = (from: number, bytes: number, align: number): { address: number; end: number } => {
    if (!Number.isSafeInteger(bytes) || bytes < 0 || !Number.isInteger(Math.log2(align)))
      throw new KvmError('EINVAL', `cannot allocate ${bytes} bytes aligned to ${align}`);
    const address = Math.ceil(from / align) * align;
    return { address, end: address + bytes };
  };
  const allocGuest = (bytes: number, align: number): number => {
    const { address, end } = claim(nextGuest, bytes, align);
    if (end > END) throw new KvmError('ENOMEM', `${bytes} bytes more do not fit in the 4 GiB that a virtual machine can have`);
    if (end > size) grow(end);
    nextGuest = end;
    return address;
  };
  return {
    memory,
    alloc: (bytes, align) => {
      const { address, end } = claim(next, bytes, align);
      if (end > guestStart) return allocGuest(bytes, align);
      next = end;
      return address;
    },
    allocGuest,
    undoAllocGuest: (address) => {
      nextGuest = address;
    },
    used: () => next + (nextGuest - guestStart),
  };
}

function newMemory(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: MAX_BYTES / PAGE, shared: true });
  } catch (cause) {
    throw new KvmError('ENOMEM', `the host refuses ${Math.round((pages * PAGE) / 2 ** 20)} MiB of memory`, { cause });
  }
}

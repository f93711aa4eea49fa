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
  /** Bytes handed out so far, padding included. */
  readonly used: () => number;
};

/**
 * An arena over a new shared memory of at least `initialBytes`. It grows when that is used up, but views that exist then end where the
 * memory ended: who knows what a machine will need says so. The first 64 KiB are never handed out, so that address 0 is nobody's.
 */
export function createArena(initialBytes: number): Arena {
  const pages = Math.min(Math.ceil(initialBytes / PAGE) + 1, MAX_BYTES / PAGE);
  const memory = newMemory(pages);
  let next = PAGE;
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
  return {
    memory,
    alloc: (bytes, align) => {
      if (!Number.isSafeInteger(bytes) || bytes < 0 || !Number.isInteger(Math.log2(align)))
        throw new KvmError('EINVAL', `cannot allocate ${bytes} bytes aligned to ${align}`);
      const address = Math.ceil(next / align) * align;
      const end = address + bytes;
      if (end > END) throw new KvmError('ENOMEM', `${bytes} bytes more do not fit in the 4 GiB that a virtual machine can have`);
      if (end > size) grow(end);
      next = end;
      return address;
    },
    used: () => next,
  };
}

function newMemory(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: MAX_BYTES / PAGE, shared: true });
  } catch (cause) {
    throw new KvmError('ENOMEM', `the host refuses ${Math.round((pages * PAGE) / 2 ** 20)} MiB of memory`, { cause });
  }
}

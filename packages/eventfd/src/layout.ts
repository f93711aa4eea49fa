/** Where an eventfd's words are: each on a cache line of its own, because signallers write one and sleepers another. */
export const EVENTFD_LAYOUT = { counter: 0, readers: 64, writers: 128, closed: 192, size: 256, align: 64 } as const;

/** The highest value that writing reaches, and beyond it the one that signalling stops at: an overflow (eventfd(2); Linux, fs/eventfd.c). */
export const HIGHEST = (1n << 64n) - 2n;
export const OVERFLOW = (1n << 64n) - 1n;

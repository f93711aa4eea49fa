/** What paravirtual time needs from the machine. */

/** Host (or virtual) time. Nanoseconds as a number are exact below 2^53, about 104 days. */
export type Clock = {
  readonly monotonicNs: () => number;
  /** Wall clock: nanoseconds since 1970-01-01 UTC. */
  readonly realtimeNs: () => bigint;
};

/** Guest-physical memory. May throw for addresses without memory behind them. */
export type GuestMemory = {
  readonly read: (gpa: number, into: Uint8Array) => void;
  readonly write: (gpa: number, from: Uint8Array) => void;
};

/** Guest TSCs as the pvclock page describes them. */
export type GuestTscs = {
  /** The TSC of `cpu` at time `ns` of the clock. */
  readonly readAt: (cpu: number, ns: number, into: Pair) => void;
  /** Frequency of `cpu`'s TSC in kHz. */
  readonly khz: (cpu: number) => number;
  /** All TSCs show the same value at the same time. */
  readonly uniform: () => boolean;
};

/** A 64-bit value in two unsigned halves. */
export type Pair = { lo: number; hi: number };

/** Where a part keeps its state: `byteOffset` is a multiple of 8. */
export type StatePlace = { readonly buffer: ArrayBufferLike; readonly byteOffset: number };

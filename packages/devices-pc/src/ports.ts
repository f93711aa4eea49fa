/** The ports the devices of this package consume. */

/** Bytes of one access. */
export type IoLen = 1 | 2 | 4;

/** What a device offers to a bus: offsets from the start of its range, unsigned values. */
export interface IoDevice {
  read: (offset: number, len: IoLen) => number;
  write: (offset: number, len: IoLen, value: number) => void;
}

/** One interrupt line; the device drives the level, the interrupt controller decides about edges. */
export interface IrqLine {
  setLevel: (level: 0 | 1) => void;
}

/** Time. `deadlineNs` is on the scale of `monotonicNs`; disposing the result cancels the timer. */
export interface Clock {
  /** Nanoseconds since an arbitrary point; never goes backwards. */
  monotonicNs: () => number;
  /** Nanoseconds since 1970-01-01T00:00:00Z. */
  realtimeNs: () => bigint;
  setTimer: (deadlineNs: number, fn: () => void) => Disposable;
}

/** Where characters go. The array is the receiver's to keep. */
export interface CharBackend {
  write: (bytes: Uint8Array) => void;
}

/** Where a device's state lives; at least the layout's `size` bytes from `byteOffset`, aligned to the layout's `align`. */
export interface StateSlot {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
}

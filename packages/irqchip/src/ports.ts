/** What the interrupt controllers need from the machine around them; the machine fits these shapes without importing them. */

export type IoLen = 1 | 2 | 4;

/** Monotonic host (or virtual) time. Nanoseconds as a number: exact below 2^53 ns, about 104 days. */
export type Clock = {
  readonly monotonicNs: () => number;
  /** Calls `fn` once `monotonicNs()` has reached `deadlineNs`; disposing the handle cancels it. Late calls are allowed. */
  readonly setTimer: (deadlineNs: number, fn: () => void) => TimerHandle;
};

export type TimerHandle = { [Symbol.dispose]: () => void };

/** Ends a registration when disposed. */
export type Subscription = { [Symbol.dispose]: () => void };

/** One vCPU's time stamp counter as its APIC timer needs it. */
export type Tsc = {
  /** The time, on `Clock.monotonicNs`' scale, at which this vCPU's TSC reaches `hi:lo`. May lie in the past. */
  readonly deadlineNs: (lo: number, hi: number) => number;
};

/** Where a part keeps its state: `layout.size` bytes from `byteOffset`, which must be a multiple of `layout.align`. */
export type StatePlace = { readonly buffer: ArrayBufferLike; readonly byteOffset: number };

/**
 * What became of an interrupt, in the numbers of KVM_IRQ_LINE_STATUS: negative, masked or without a taker; 0, coalesced with a
 * request still pending; positive, the number of processors that took it.
 */
export type DeliveryCount = number;

/** The output pin of a counter. A sink that returns a delivery count lets the 8254 see which of its ticks were lost. */
export type OutputPin = { readonly setLevel: (level: 0 | 1) => DeliveryCount | void };

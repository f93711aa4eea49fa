/** What the clock and the run loop ask of the JavaScript engine around them; tests bring their own. */
export type Host = {
  /** Nanoseconds since a point that all threads share; never goes backwards. */
  readonly monotonicNs: () => number;
  /** Nanoseconds since 1970-01-01T00:00:00Z. */
  readonly realtimeNs: () => bigint;
  /** Resolves after the event loop has handled what is waiting now. */
  readonly yieldToEvents: () => Promise<void>;
  /** Calls `fn` after about `ms` milliseconds; the result cancels. Keeps the process alive. */
  readonly setTimeout: (fn: () => void, ms: number) => () => void;
  /** Blocks the thread for at most `ns`, without using the processor; returns at once where that is not allowed. */
  readonly nap: (ns: number) => void;
};

/** Node's global is an accessor, which costs more than the time does. */
const { performance } = globalThis;

const CALIBRATIONS = 2000;
/** When this thread's `performance.now` was 0, on a scale that all threads share. */
const threadStartNs = findThreadStart();

function findThreadStart(): number {
  const { hrtime } = globalThis.process ?? {};
  // Milliseconds of the wall clock lose some digits on the way; recent ones fewer.
  if (hrtime === undefined) return (performance.timeOrigin - Date.UTC(2025)) * 1e6;
  // Each reading between two of the common clock narrows it down, to some tens of nanoseconds.
  let [least, most] = [-Infinity, Infinity];
  for (let i = 0; i < CALIBRATIONS; i++) {
    const before = hrtime();
    const now = performance.now() * 1e6;
    const after = hrtime();
    least = Math.max(least, before[0] * 1e9 + before[1] - now);
    most = Math.min(most, after[0] * 1e9 + after[1] - now);
  }
  return Math.round((least + most) / 2);
}

/** Node's `setImmediate`, which a browser does not have; its shortest timeout stands in. */
const soon: (fn: () => void) => void =
  typeof globalThis.setImmediate === 'function' ? (fn) => void setImmediate(fn) : (fn) => void setTimeout(fn, 0);

const napWord = new Int32Array(new SharedArrayBuffer(4));
let canBlock = true;

/** `Atomics.wait` sleeps to within 60 µs, where timers know milliseconds; a browser's main thread may not use it. */
function nap(ns: number): void {
  if (!canBlock) return;
  try {
    Atomics.wait(napWord, 0, 0, ns / 1e6);
  } catch {
    canBlock = false;
  }
}

/** The engine this code runs in. */
export const systemHost: Host = {
  monotonicNs: () => performance.now() * 1e6 + threadStartNs,
  realtimeNs: () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n,
  yieldToEvents: () => new Promise((resolve) => soon(resolve)),
  setTimeout: (fn, ms) => {
    const handle = setTimeout(fn, ms);
    return () => clearTimeout(handle);
  },
  nap,
};

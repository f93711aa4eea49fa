/** Parts the tests of every device share: a clock that only moves when told, a line that remembers, a backend that collects. */
import type { CharBackend, Clock, IoDevice, IrqLine, StateSlot } from '../ports.ts';

export type TestClock = Clock & {
  /** Moves both clocks on and runs the timers that fall due, each at its time. */
  readonly advance: (ns: number) => void;
  readonly timers: () => number;
};

export function createTestClock(start: { realtimeNs?: bigint; monotonicNs?: number } = {}): TestClock {
  const epoch = start.realtimeNs ?? 1_700_000_000_000_000_000n;
  const origin = start.monotonicNs ?? 5_000_000_000;
  let now = origin;
  const timers = new Set<{ deadline: number; fn: () => void }>();
  const nextDue = (limit: number) => {
    let due: { deadline: number; fn: () => void } | undefined;
    for (const timer of timers) if (timer.deadline <= limit && (due === undefined || timer.deadline < due.deadline)) due = timer;
    return due;
  };
  return {
    monotonicNs: () => now,
    realtimeNs: () => epoch + BigInt(Math.floor(now - origin)),
    setTimer: (deadline, fn) => {
      const timer = { deadline, fn };
      timers.add(timer);
      return { [Symbol.dispose]: () => void timers.delete(timer) };
    },
    advance: (ns) => {
      const end = now + ns;
      for (let timer = nextDue(end); timer !== undefined; timer = nextDue(end)) {
        timers.delete(timer);
        now = Math.max(now, timer.deadline);
        timer.fn();
      }
      now = end;
    },
    timers: () => timers.size,
  };
}

export type TestLine = IrqLine & { readonly level: () => 0 | 1; readonly edges: () => number };

/** Counts rising edges, which is what an edge-triggered input sees. */
export function createTestLine(): TestLine {
  let level: 0 | 1 = 0;
  let edges = 0;
  return {
    setLevel: (next) => {
      if (next > level) edges++;
      level = next;
    },
    level: () => level,
    edges: () => edges,
  };
}

export function createTestBackend(): CharBackend & { readonly text: () => string; readonly calls: () => number } {
  const received: number[] = [];
  let calls = 0;
  return {
    write: (bytes) => {
      calls++;
      received.push(...bytes);
    },
    text: () => String.fromCharCode(...received),
    calls: () => calls,
  };
}

/** A slot with other bytes around it, so that a device that writes outside its layout can be noticed. */
export function createSlot(size: number): StateSlot {
  const buffer = new SharedArrayBuffer(64 + Math.ceil(size / 64) * 64 + 64);
  return { buffer, byteOffset: 64 };
}

/** A small generator of numbers that look random and repeat (xorshift32). */
export function createRandom(seed: number): (limit: number) => number {
  let x = seed | 1;
  return (limit) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % limit;
  };
}

/** A hostile guest: random accesses of every length. It must find nothing that throws, and only values that fit their length. */
export function hammer(device: IoDevice, size: number, rounds: number, random: (limit: number) => number): void {
  for (let round = 0; round < rounds; round++) {
    const len = ([1, 2, 4] as const)[random(3)];
    const offset = random(size);
    if (random(2) === 0) device.write(offset, len, random(2 ** 32));
    else {
      const value = device.read(offset, len);
      if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * len))
        throw new Error(`read ${value} from ${offset}, ${len} bytes`);
    }
  }
}

import type { Host } from './host.ts';

export type InstructionHostOptions = {
  /** Instructions that all processors of the machine have retired: a nanosecond each. */
  readonly instructions: () => number;
  /** The wall clock at the start, ns since 1970 UTC. */
  readonly startNs: bigint;
  /** What the event loop is for: input, and the rest of the process. */
  readonly host: Pick<Host, 'yieldToEvents' | 'setTimeout'>;
};

/** Waiting longer than this is for something that no timer of the machine knows of. */
const LONGEST_SKIP_MS = 9_000;
const MS = 1e6;

/**
 * Time that is counted in instructions. What a guest waits for comes at once: the time until then is skipped. With processors that take turns and
 * compile on this thread, two runs of a guest are the same, instruction by instruction, as long as nothing from outside comes in between.
 */
export function createInstructionHost({ instructions, startNs, host }: InstructionHostOptions): Host {
  let skippedNs = 0;
  const monotonicNs = (): number => skippedNs + instructions();
  return {
    monotonicNs,
    realtimeNs: () => startNs + BigInt(Math.floor(monotonicNs())),
    yieldToEvents: host.yieldToEvents,
    setTimeout: (fn, ms) => {
      if (ms > LONGEST_SKIP_MS) return host.setTimeout(fn, ms);
      let live = true;
      void host.yieldToEvents().then(() => {
        if (!live) return;
        skippedNs += ms * MS;
        fn();
      });
      return () => {
        live = false;
      };
    },
    nap: (ns) => {
      skippedNs += ns;
    },
  };
}

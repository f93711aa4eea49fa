import type { CharBackend } from './ports.ts';

/** Bytes collected before the backend is called without a newline or `flush`. */
const BATCH = 64;
const NEWLINE = 0x0a;

export type CharOutput = {
  readonly put: (byte: number) => void;
  /** Hands over what has been collected; the monitor calls it when the guest idles, exits or prompts. */
  readonly flush: () => void;
};

/** Batches characters for a backend: a call per character would cost more than the guest's own work. */
export function createCharOutput(backend: CharBackend): CharOutput {
  const pending = new Uint8Array(BATCH);
  let count = 0;
  const flush = (): void => {
    if (count === 0) return;
    const bytes = pending.slice(0, count);
    count = 0;
    backend.write(bytes);
  };
  return {
    put: (byte) => {
      pending[count++] = byte;
      if (byte === NEWLINE || count === BATCH) flush();
    },
    flush,
  };
}

/** The part of a TTY input stream that raw mode needs. */
export type RawInput = { readonly isTTY?: boolean; readonly setRawMode?: (raw: boolean) => unknown };

/** The part of `process` that tells about the end of it and about being continued. */
export type ProcessEvents = {
  readonly on: (event: 'exit' | 'SIGCONT', listener: () => void) => unknown;
  readonly removeListener: (event: 'exit' | 'SIGCONT', listener: () => void) => unknown;
};

/**
 * Puts the terminal into raw mode and takes it out again, whatever ends the process: a normal end, an exception and every signal that
 * has a handler all pass through the `exit` event. After a stop and a continue the shell has reset the terminal; raw mode is set anew.
 * @returns restores the terminal; calling it again does nothing
 */
export function enterRawMode(input: RawInput, events: ProcessEvents): () => void {
  if (input.isTTY !== true || input.setRawMode === undefined) return () => undefined;
  const setRaw = (raw: boolean): void => {
    try {
      input.setRawMode?.(raw);
    } catch {
      // The terminal is gone (its window was closed): nothing is left to restore.
    }
  };
  let active = true;
  const again = (): void => {
    setRaw(false);
    setRaw(true);
  };
  const restore = (): void => {
    if (!active) return;
    active = false;
    events.removeListener('exit', restore);
    events.removeListener('SIGCONT', again);
    setRaw(false);
  };
  events.on('exit', restore);
  events.on('SIGCONT', again);
  setRaw(true);
  return restore;
}

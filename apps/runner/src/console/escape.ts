/** What a key after Ctrl-A asks for, or bytes for the guest, in the order they were typed. */
export type ConsoleInput =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'quit' }
  | { readonly kind: 'help' };

const CTRL_A = 0x01;

export const CONSOLE_HELP = [
  '',
  'Ctrl-A h        this help',
  'Ctrl-A x        leave the virtual machine',
  'Ctrl-A Ctrl-A   send one Ctrl-A to the guest',
  '',
].join('\r\n');

/** Takes QEMU's escape sequences out of what is typed. A Ctrl-A at the end of one chunk waits for the next. */
export class EscapeFilter {
  #escaped = false;

  push(input: Uint8Array): ConsoleInput[] {
    const result: ConsoleInput[] = [];
    let plain: number[] = [];
    const flush = (): void => {
      if (plain.length > 0) result.push({ kind: 'bytes', bytes: Uint8Array.from(plain) });
      plain = [];
    };
    for (const byte of input) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else plain.push(byte);
        continue;
      }
      this.#escaped = false;
      if (byte === CTRL_A) plain.push(byte);
      else if (byte === 0x78 || byte === 0x58) {
        flush();
        result.push({ kind: 'quit' });
      } else if (byte === 0x68 || byte === 0x3f) {
        flush();
        result.push({ kind: 'help' });
      }
      // Other keys after Ctrl-A mean nothing and go nowhere, as in QEMU.
    }
    flush();
    return result;
  }
}

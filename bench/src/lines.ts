/** Cuts a serial console's bytes into lines. A line is handed on when its line feed has come, without CR and LF. */
export class LineSplitter {
  readonly #onLine: (line: string) => void;
  readonly #decoder = new TextDecoder('latin1');
  #rest = '';

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(bytes: Uint8Array): void {
    this.#rest += this.#decoder.decode(bytes);
    const lines = this.#rest.split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#onLine(line.replaceAll('\r', ''));
  }

  /** What came after the last line feed. */
  get rest(): string {
    return this.#rest;
  }
}

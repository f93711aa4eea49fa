/** Remembers the end of a console's output, to be shown when a run fails. */
export class ConsoleTail {
  #bytes = new Uint8Array(0);
  readonly #limit: number;

  constructor(limit = 8192) {
    this.#limit = limit;
  }

  readonly write = (bytes: Uint8Array): void => {
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined.length > this.#limit * 2 ? joined.slice(-this.#limit) : joined;
  };

  /** The last lines as plain text: a guest's control sequences must not reach the user's terminal from here. */
  lines(count: number): string[] {
    return new TextDecoder()
      .decode(this.#bytes.slice(-this.#limit))
      .replace(/\x1b\[[0-9;?]*[A-Za-z]/g, '')
      .split(/\r*\n/)
      .map((line) => line.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, ''))
      .filter((line) => line.trim() !== '')
      .slice(-count);
  }
}

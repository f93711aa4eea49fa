/**
 * Gathers what a UART sends byte by byte and writes it once per turn of the event loop: a system call per character would cost more
 * than the guest's instructions that produced it.
 */
export class BatchedWriter {
  readonly #out: (bytes: Uint8Array) => void;
  #buffer = new Uint8Array(4096);
  #length = 0;
  #scheduled = false;

  constructor(out: (bytes: Uint8Array) => void) {
    this.#out = out;
  }

  readonly write = (bytes: Uint8Array): void => {
    if (this.#length + bytes.length > this.#buffer.length) this.#grow(this.#length + bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    if (this.#length >= 1 << 16) this.flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.flush();
      });
    }
  };

  readonly flush = (): void => {
    if (this.#length === 0) return;
    const bytes = this.#buffer.slice(0, this.#length);
    this.#length = 0;
    this.#out(bytes);
  };

  #grow(need: number): void {
    const larger = new Uint8Array(Math.max(need, this.#buffer.length * 2));
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }
}

/** What a UART takes from the line. */
export type Receiver = { readonly receive: (bytes: Uint8Array) => number };

/** Bytes on their way to a UART, in order: its FIFO has 16 places, a person can paste more. */
export class SerialInput {
  readonly #waiting: Uint8Array[] = [];
  #receiver: Receiver | undefined;

  /** The UART that the bytes are for. */
  connect(receiver: Receiver): void {
    this.#receiver = receiver;
    this.drain();
  }

  send(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    // The caller may use its array again; `slice` of a Node.js Buffer would be no copy.
    this.#waiting.push(new Uint8Array(bytes));
    if (this.#waiting.length === 1) this.drain();
  }

  /** Offers what waits; to be called when the UART has space again. */
  drain(): void {
    while (this.#receiver !== undefined && this.#waiting.length > 0) {
      const taken = this.#receiver.receive(this.#waiting[0]);
      if (taken < this.#waiting[0].length) {
        this.#waiting[0] = this.#waiting[0].subarray(taken);
        return;
      }
      this.#waiting.shift();
    }
  }
}

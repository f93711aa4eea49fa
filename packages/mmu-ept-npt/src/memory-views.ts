/** Views over a shared memory that may grow: an older view stays valid, but ends where the memory then ended. */
export class MemoryViews {
  readonly memory: WebAssembly.Memory;
  bytes: Uint8Array;
  words: Uint32Array;

  constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Uint32Array(memory.buffer);
  }

  /** The views, over all of the memory as it is now. */
  current(): this {
    if (this.memory.buffer.byteLength !== this.bytes.length) this.refresh();
    return this;
  }

  /** To be called when an address turns out to lie beyond the views; asking the memory each time costs more than the access. */
  refresh(): void {
    this.bytes = new Uint8Array(this.memory.buffer);
    this.words = new Uint32Array(this.memory.buffer);
  }
}

/** As many as may wait; what comes then is not done. */
const MOST = 5000;

/** Jobs that are done one at a time when the thread has nothing else to do. */
export class IdleQueue {
  readonly #waiting: (() => void)[] = [];
  /** Those that wait for the end. */
  readonly #last: (() => void)[] = [];
  #scheduled = false;

  /** @param last it is not to be begun before `finish` */
  add(job: () => void, last: boolean): void {
    const queue = last ? this.#last : this.#waiting;
    if (queue.length >= MOST) return;
    queue.push(job);
    if (!last) this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Messages that have come meanwhile are handled first.
    setImmediate(() => {
      this.#scheduled = false;
      this.#waiting.shift()?.();
      if (this.#waiting.length > 0) this.#schedule();
    });
  }

  /** Does what is left, for so many ms at most; the rest is forgotten. */
  finish(ms: number): void {
    const end = performance.now() + ms;
    for (const job of [...this.#waiting, ...this.#last]) {
      if (performance.now() > end) break;
      job();
    }
    this.#waiting.length = 0;
    this.#last.length = 0;
  }
}

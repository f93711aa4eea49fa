/** As many as may wait; what comes then is not done. */
const MOST = 5000;

/** Jobs that are done one at a time when the thread has nothing else to do. */
export class IdleQueue {
  readonly #waiting: (() => void)[] = [];
  #scheduled = false;

  add(job: () => void): void {
    if (this.#waiting.length >= MOST) return;
    this.#waiting.push(job);
    this.#schedule();
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
    for (let job = this.#waiting.shift(); job && performance.now() < end; job = this.#waiting.shift()) job();
    this.#waiting.length = 0;
  }
}

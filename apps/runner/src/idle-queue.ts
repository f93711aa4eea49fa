/** As many as may wait; what comes then is not done. */
const MOST = 10_000;
/** Time in which others come that belong before a job. */
const WAIT_MS = 30;

type Waiting = { readonly order: number; readonly job: () => void };

/** Jobs that are done one at a time when the thread has nothing else to do: of those that came at about the same time, in their order. */
export class IdleQueue {
  /** Those that have come lately, and those that are to be done, the first one last. */
  #fresh: Waiting[] = [];
  #ready: Waiting[] = [];
  #isScheduled = false;

  add(order: number, job: () => void): void {
    if (this.#fresh.length + this.#ready.length >= MOST) return;
    this.#fresh.push({ order, job });
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#fresh.length + this.#ready.length === 0) return;
    this.#isScheduled = true;
    const next = (): void => {
      this.#isScheduled = false;
      if (this.#ready.length === 0) this.#sort();
      this.#ready.pop()?.job();
      this.#schedule();
    };
    // Messages that have come meanwhile are handled first.
    if (this.#ready.length > 0) setImmediate(next);
    else setTimeout(next, WAIT_MS);
  }

  #sort(): void {
    this.#ready = [...this.#ready, ...this.#fresh].sort((a, b) => b.order - a.order);
    this.#fresh = [];
  }

  /** Does what is left, for so many ms at most; the rest is forgotten. */
  finish(ms: number): void {
    const end = performance.now() + ms;
    this.#sort();
    for (let next = this.#ready.pop(); next && performance.now() < end; next = this.#ready.pop()) next.job();
    this.#ready = [];
  }
}

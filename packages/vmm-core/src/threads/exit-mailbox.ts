import type { View } from '@tsvisor/state-layout';
import { ThreadError } from './errors.ts';
import * as protocol from './mailbox-protocol.ts';
import { SPIN_US, Spin } from './spin.ts';
import { FOREVER, type Place, SharedWords } from './words.ts';

/** What a device access is made of; its meaning is the callers' business. The result is what `handle` leaves. */
export type MailboxPayload = Pick<
  View<typeof protocol.MAILBOX.schema>,
  'kind' | 'length' | 'address' | 'valueLo' | 'valueHi' | 'resultLo' | 'resultHi'
>;
export type MailboxHandler = (index: number, payload: MailboxPayload) => void;

export type MailboxOptions = {
  /** How long to wait awake for the other side, in µs, where it pays: 0 unless there is a core for each thread that runs. By default 20. */
  readonly spinUs?: number;
};
export type MailboxServerOptions = MailboxOptions & {
  /** Gives the event loop a turn; by default `setImmediate`, or what does its work in a browser. */
  readonly yieldToEvents?: () => Promise<void>;
};

/** The bytes of a doorbell and `count` mailboxes: zeroed, aligned to 64. */
export const mailboxBytes = (count: number): number => protocol.mailboxAt(count) * 4;

const YIELD_MS = 2;

const { performance } = globalThis;

/** The side of the thread that asks, as a vCPU does. At any time, one thread uses a mailbox. */
export class MailboxClient {
  /** To be filled before `call`, and read after it. */
  readonly payload: MailboxPayload;
  readonly #words: SharedWords;
  readonly #mailbox: number;
  readonly #spin: Spin;
  readonly #isAnswered: () => boolean;
  #number = 0;

  /**
   * @param place where doorbell and mailboxes are
   * @throws ThreadError `THREADS_INVALID`
   */
  constructor(place: Place, index: number, { spinUs = SPIN_US }: MailboxOptions = {}) {
    this.#words = new SharedWords(place, mailboxBytes(index + 1));
    this.#mailbox = protocol.mailboxAt(index);
    this.#spin = new Spin(spinUs);
    this.payload = protocol.MAILBOX.view(place.buffer, place.byteOffset + this.#mailbox * 4);
    this.#isAnswered = () => protocol.isAnswered(this.#words, this.#mailbox, this.#number);
  }

  /** Posts the payload and blocks until it is answered. @throws ThreadError `MAILBOX_CLOSED`, `THREADS_CANNOT_BLOCK` */
  call(): void {
    this.#number = protocol.post(this.#words, this.#mailbox);
    this.#spin.until(this.#isAnswered);
    if (!protocol.awaitAnswer(this.#words, this.#mailbox, this.#number))
      throw new ThreadError('MAILBOX_CLOSED', 'nobody answers any more: the mailbox is closed');
  }
}

/** The one who answers for all mailboxes: by `serve` on a thread with an event loop, by `poll` and `wait` on one that may block. */
export class MailboxServer {
  readonly #words: SharedWords;
  readonly #payloads: readonly MailboxPayload[];
  /** Number of the last request that was answered, for each mailbox. */
  readonly #answered: Int32Array;
  readonly #spin: Spin;
  readonly #yieldToEvents: () => Promise<void>;
  readonly #isSomething = (): boolean => this.closed || this.#isPosted();
  #first = 0;
  #serving = false;
  #reason: unknown;

  /** @throws ThreadError `THREADS_INVALID`, `THREADS_NO_WAIT_ASYNC` */
  constructor(place: Place, count: number, options: MailboxServerOptions = {}) {
    if (typeof Atomics.waitAsync !== 'function')
      throw new ThreadError('THREADS_NO_WAIT_ASYNC', 'this JavaScript engine has no Atomics.waitAsync');
    this.#words = new SharedWords(place, mailboxBytes(count));
    this.#spin = new Spin(options.spinUs ?? SPIN_US);
    this.#yieldToEvents = options.yieldToEvents ?? nextTurn;
    this.#payloads = Array.from({ length: count }, (_, i) =>
      protocol.MAILBOX.view(place.buffer, place.byteOffset + protocol.mailboxAt(i) * 4),
    );
    this.#answered = Int32Array.from({ length: count }, (_, i) => this.#words.load(protocol.mailboxAt(i) + protocol.RESPONSE));
  }

  get closed(): boolean {
    return this.#words.load(protocol.SHUT) !== 0;
  }

  /**
   * Handles requests until `close`, giving the event loop a turn every 2 ms at least. Does not keep the process alive while nothing is posted.
   * Rejects with what `handle` throws, after closing, and with the error given to `close`.
   */
  async serve(handle: MailboxHandler): Promise<void> {
    if (this.#serving) throw new RangeError('the mailboxes are served already');
    this.#serving = true;
    try {
      let end = performance.now() + YIELD_MS;
      while (!this.closed) {
        const late = this.#handleUntil(handle, end);
        if (late || performance.now() >= end) await this.#yieldToEvents();
        else if (this.#spin.until(this.#isSomething) || !protocol.arm(this.#words, this.#isSomething)) continue;
        else {
          const woken = this.#words.sleepAsync(protocol.ARMED, 1);
          if (woken === undefined) continue;
          await woken;
        }
        end = performance.now() + YIELD_MS;
      }
    } finally {
      this.#serving = false;
    }
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** Handles what is posted now, one request of each mailbox at most; returns how many. Throws what `handle` throws, after closing. */
  poll(handle: MailboxHandler): number {
    let handled = 0;
    for (let i = 0; i < this.#payloads.length; i++) if (this.#handle(i, handle)) handled++;
    return handled;
  }

  /** Blocks until something is posted, or for `timeoutMs`; false: nothing is, or the mailboxes are closed. @throws ThreadError `THREADS_CANNOT_BLOCK` */
  wait(timeoutMs = FOREVER): boolean {
    if (!this.#spin.until(this.#isSomething) && protocol.arm(this.#words, this.#isSomething)) {
      this.#words.sleep(protocol.ARMED, 1, timeoutMs);
      this.#words.store(protocol.ARMED, 0);
    }
    return !this.closed && this.#isPosted();
  }

  /** Releases all who wait for an answer, with `MAILBOX_CLOSED`, and ends `serve`, with `error` if there is one. */
  close(error?: unknown): void {
    this.#reason ??= error;
    protocol.close(this.#words, this.#payloads.length);
  }
  [Symbol.dispose](): void {
    this.close();
  }

  /** One pass over the mailboxes that goes on next time where it had to end; true if it had to. */
  #handleUntil(handle: MailboxHandler, end: number): boolean {
    const count = this.#payloads.length;
    for (let n = 0, i = this.#first; n < count; n++, i = i + 1 < count ? i + 1 : 0) {
      if (!this.#handle(i, handle) || performance.now() < end) continue;
      this.#first = i + 1 < count ? i + 1 : 0;
      return true;
    }
    return false;
  }

  #handle(index: number, handle: MailboxHandler): boolean {
    const mailbox = protocol.mailboxAt(index);
    const number = this.#words.load(mailbox + protocol.REQUEST);
    const answered = this.#answered[index];
    if (number === answered || this.closed) return false;
    try {
      handle(index, this.#payloads[index]);
    } catch (error) {
      this.close(error);
      throw error;
    }
    this.#answered[index] = number;
    protocol.answer(this.#words, mailbox, answered, number);
    return true;
  }

  #isPosted(): boolean {
    for (let i = 0; i < this.#answered.length; i++)
      if (this.#words.load(protocol.mailboxAt(i) + protocol.REQUEST) !== this.#answered[i]) return true;
    return false;
  }
}

/** A browser has no `setImmediate`, and its timeouts are milliseconds long; a message to oneself is a task of its own. */
const nextTurn = (): Promise<void> =>
  new Promise((resolve) => {
    if (typeof globalThis.setImmediate === 'function') {
      setImmediate(resolve);
      return;
    }
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });

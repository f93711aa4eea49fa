import { randomBytes } from 'node:crypto';

/**
 * The second UART carries what the runner must not confuse with a console: a token that only this run's guest knows marks where a
 * command's output begins and where it ends, and all bytes between are the command's own, unchanged.
 *
 *     SOH "tsvisor:" TOKEN ":" KIND [NUMBER] LF        KIND: R ready for input, B output begins, E output ended with status NUMBER
 */
const MARK_START = '\x01tsvisor:';
/** Longest rest of a mark after its token: kind, a status, the line feed. */
const MAX_REST = 16;

export const makeToken = (): string => randomBytes(16).toString('hex');

export type ChannelEvents = {
  readonly onReady: () => void;
  /** Output of the command. */
  readonly onOutput: (bytes: Uint8Array) => void;
  readonly onStatus: (status: number) => void;
};

export class ExecChannel {
  readonly #mark: Buffer;
  readonly #events: ChannelEvents;
  #pending: Buffer = Buffer.alloc(0);
  #open = false;
  #ended = false;

  constructor(token: string, events: ChannelEvents) {
    this.#mark = Buffer.from(`${MARK_START}${token}:`, 'latin1');
    this.#events = events;
  }

  readonly write = (bytes: Uint8Array): void => {
    if (this.#ended) return;
    this.#pending = this.#pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#pending, bytes]);
    while (this.#step());
  };

  /** Consumes output and at most one mark; false when more bytes are needed. */
  #step(): boolean {
    const at = this.#pending.indexOf(this.#mark);
    if (at === -1) {
      this.#emit(this.#pending.length - this.#partialMark());
      return false;
    }
    this.#emit(at);
    const end = this.#pending.indexOf(0x0a, this.#mark.length);
    const rest = end === -1 ? this.#pending.length : end;
    if (end === -1 && rest - this.#mark.length < MAX_REST) return false;
    const match = /^(R|B|E(\d{1,3}))$/.exec(this.#pending.toString('latin1', this.#mark.length, rest));
    if (match === null) {
      // Right token, but not one of our marks: the guest printed its own secret. Pass it through.
      this.#emit(this.#mark.length);
      return this.#pending.length > 0;
    }
    this.#pending = this.#pending.subarray(rest + 1);
    if (match[1] === 'R') this.#events.onReady();
    else if (match[1] === 'B') this.#open = true;
    else if (this.#open) {
      this.#ended = true;
      this.#pending = Buffer.alloc(0);
      this.#events.onStatus(Number(match[2]) & 0xff);
    }
    return this.#pending.length > 0;
  }

  #emit(length: number): void {
    if (length === 0) return;
    if (this.#open) this.#events.onOutput(this.#pending.subarray(0, length));
    this.#pending = this.#pending.subarray(length);
  }

  /** How many bytes at the end may be the beginning of a mark. */
  #partialMark(): number {
    const most = Math.min(this.#mark.length - 1, this.#pending.length);
    for (let n = most; n > 0; n--) {
      if (this.#pending.compare(this.#mark, 0, n, this.#pending.length - n) === 0) return n;
    }
    return 0;
  }
}

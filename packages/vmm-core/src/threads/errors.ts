export type ThreadErrorCode =
  /** The mailbox was closed, before or while a call waited: the machine is gone, or a device threw. */
  | 'MAILBOX_CLOSED'
  /** Memory that cannot hold the state: not shared, not on a 64-byte line, or too small. */
  | 'THREADS_INVALID'
  /** Blocking where it is not allowed: a browser tab's main thread. */
  | 'THREADS_CANNOT_BLOCK'
  /** This JavaScript engine has no `Atomics.waitAsync`. */
  | 'THREADS_NO_WAIT_ASYNC';

export class ThreadError extends Error {
  readonly code: ThreadErrorCode;
  constructor(code: ThreadErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ThreadError';
    this.code = code;
  }
}

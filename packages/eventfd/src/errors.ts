export type EventFdErrorCode =
  /** The eventfd was closed, before or while someone waited. */
  | 'EVENTFD_CLOSED'
  /** The time was over before there was something to read, or room to write. */
  | 'EVENTFD_TIMEOUT'
  /** Nothing to read, or no room to write, and the eventfd does not block. Linux: EAGAIN. */
  | 'EVENTFD_AGAIN'
  /** A value that cannot be added, or memory that cannot hold an eventfd. Linux: EINVAL. */
  | 'EVENTFD_INVALID'
  /** Blocking where nobody could end it, because the memory is not shared, or where it is not allowed: a browser tab's main thread. */
  | 'EVENTFD_CANNOT_BLOCK';

export class EventFdError extends Error {
  readonly code: EventFdErrorCode;
  constructor(code: EventFdErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'EventFdError';
    this.code = code;
  }
}

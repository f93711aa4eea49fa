/** Linux's eventfd, in memory that threads may share. */
export { EventFdError, type EventFdErrorCode } from './errors.ts';
export { type AsyncWaitOptions, EventFd, type EventFdHandle, type EventFdOptions, type WaitOptions } from './eventfd.ts';
export { EVENTFD_LAYOUT } from './layout.ts';

/** The ports this package consumes. */

/** Bytes of one device access. Wider and boundary-crossing accesses are split by the bus before a device sees them. */
export type IoLen = 1 | 2 | 4;

/**
 * A device as the bus sees it: `offset` counts bytes from the start of the range it was registered with, values are unsigned
 * and `len` bytes wide. The bus never calls it with an access that leaves its range.
 */
export interface IoDevice {
  read: (offset: number, len: IoLen) => number;
  write: (offset: number, len: IoLen, value: number) => void;
}

/** What an ioeventfd signals, such as an eventfd. It must not throw. */
export interface IoEvent {
  signal: () => void;
}

/** Told of accesses that no device claims; meant for tracing, so it must not throw. `value` is what was read or dropped. */
export type UnclaimedHook = (direction: 'read' | 'write', address: number, len: IoLen, value: number) => void;

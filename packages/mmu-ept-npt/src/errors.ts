export type MemoryErrorCode =
  /** Two slots would claim the same guest-physical addresses. */
  | 'MMU_SLOT_OVERLAP'
  /** A range is empty, unaligned, or outside the 40-bit guest-physical space. */
  | 'MMU_SLOT_RANGE'
  /** The host side of a slot is unaligned or outside the WebAssembly memory. */
  | 'MMU_HOST_RANGE'
  /** No slot has this number. */
  | 'MMU_NO_SUCH_SLOT'
  /** All slots are taken. */
  | 'MMU_TOO_MANY_SLOTS';

/** A range of guest-physical addresses, in bytes. */
export type GpaRange = { readonly gpa: number; readonly bytes: number };

/** What a mistaken use of guest memory throws; nothing that a guest does can raise it. */
export class MemoryError extends Error {
  readonly code: MemoryErrorCode;
  /** For an overlap: the refused range, then the range that is in its way. */
  readonly ranges: readonly GpaRange[];

  constructor(code: MemoryErrorCode, message: string, ranges: readonly GpaRange[] = []) {
    super(message);
    this.name = 'MemoryError';
    this.code = code;
    this.ranges = ranges;
  }
}

/** A range as people read it: first and last address. */
export const describeRange = ({ gpa, bytes }: GpaRange): string => `0x${gpa.toString(16)}-0x${(gpa + bytes - 1).toString(16)}`;

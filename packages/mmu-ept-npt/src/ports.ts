/** What this package is given by whoever puts a machine together. */

/** Memory and a way to claim parts of it. */
export type LinearMemory = {
  /** Shared; any size up to 4 GiB. */
  readonly memory: WebAssembly.Memory;
  /**
   * Claims `bytes` of the memory, zero-filled, and returns the address (unsigned). Never page 0 and never the last page of 4 GiB:
   * the host addresses 0 and 0xffffffff are answers of their own.
   */
  readonly alloc: (bytes: number, align: number) => number;
};

export type GuestMemoryEvents = {
  /** Bytes in a page that translated code came from have just changed, by a device or a page walk. */
  readonly onCodeWrite?: (hostAddress: number, length: number) => void;
  /** Slots changed, or pages are to be logged again: every vCPU must flush its whole TLB before it goes on. */
  readonly onMapChange?: () => void;
};

/** The part of guest memory that a page walk needs; `GuestMemory` is one. */
export type GuestMap = {
  /** Linear-memory addresses of the physical map's root and of the slot table. */
  readonly physRoot: number;
  readonly slotTable: number;
  /** A walk changed an entry of up to 8 bytes in a page that holds code or is to be logged. */
  readonly noteWrite: (gpa: number, hostAddress: number, length: number) => void;
};

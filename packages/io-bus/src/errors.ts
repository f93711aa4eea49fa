/** What can go wrong while ranges are registered. Accesses by a guest never fail. */
export type IoBusErrorCode =
  /** The range meets one that is registered already; the message names both. */
  | 'IO_BUS_OVERLAP'
  /** The range is empty, not made of whole bytes, or leaves the bus's address space. */
  | 'IO_BUS_RANGE'
  /** An ioeventfd that would answer a write which another answers. KVM: EEXIST. */
  | 'IO_BUS_EXISTS'
  /** An ioeventfd with an impossible length, address or value, or a coalesced zone that cannot be. KVM: EINVAL. */
  | 'IO_BUS_INVALID'
  /** As many ioeventfds as the bus takes, or coalesced zones as there can be. KVM: ENOSPC. */
  | 'IO_BUS_FULL'
  /** De-assigning what was not assigned. KVM: ENOENT. */
  | 'IO_BUS_NOT_FOUND'
  /** Unregistering a coalesced zone that was not registered. */
  | 'IO_BUS_NO_ZONE';

export class IoBusError extends Error {
  override readonly name = 'IoBusError';
  readonly code: IoBusErrorCode;

  constructor(code: IoBusErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

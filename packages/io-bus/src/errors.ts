/** What can go wrong while ranges are registered. Accesses by a guest never fail. */
export type IoBusErrorCode =
  /** The range meets one that is registered already; the message names both. */
  | 'IO_BUS_OVERLAP'
  /** The range is empty, not made of whole bytes, or leaves the bus's address space. */
  | 'IO_BUS_RANGE';

export class IoBusError extends Error {
  override readonly name = 'IoBusError';
  readonly code: IoBusErrorCode;

  constructor(code: IoBusErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

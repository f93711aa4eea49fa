export type IrqChipErrorCode =
  /** Saved state that is truncated, of another part or version, or holds values the chip cannot reach. */
  | 'IRQCHIP_BAD_STATE'
  /** A construction argument out of range: number of processors, APIC id, IOAPIC version. */
  | 'IRQCHIP_BAD_ARGUMENT'
  /** A GSI route that names a pin or number that does not exist. */
  | 'IRQCHIP_BAD_ROUTE'
  /** More than 31 interrupt lines share one GSI. */
  | 'IRQCHIP_TOO_MANY_SOURCES';

export class IrqChipError extends Error {
  readonly code: IrqChipErrorCode;
  constructor(code: IrqChipErrorCode, message: string) {
    super(message);
    this.name = 'IrqChipError';
    this.code = code;
  }
}

/** What can go wrong while devices are configured or restored. Nothing a guest does throws. */
export type DevicesPcErrorCode =
  /** Saved state that is not of this device, of a version not known, or not possible. */
  | 'DEVICES_PC_BAD_STATE'
  /** A configuration that no machine can have. */
  | 'DEVICES_PC_CONFIG'
  /** The ACPI tables do not fit below 1 MiB. */
  | 'DEVICES_PC_ACPI_SPACE';

export class DevicesPcError extends Error {
  override readonly name = 'DevicesPcError';
  readonly code: DevicesPcErrorCode;

  constructor(code: DevicesPcErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export type KvmClockErrorCode =
  /** Saved state that is truncated, of another version or another number of processors, or holds impossible values. */
  | 'KVMCLOCK_BAD_STATE'
  /** A frequency, time or processor count out of range. */
  | 'KVMCLOCK_BAD_ARGUMENT'
  /** setClock with flags, none of which exists. KVM: EINVAL. */
  | 'KVMCLOCK_BAD_FLAGS';

export class KvmClockError extends Error {
  readonly code: KvmClockErrorCode;
  constructor(code: KvmClockErrorCode, message: string) {
    super(message);
    this.name = 'KvmClockError';
    this.code = code;
  }
}

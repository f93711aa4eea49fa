/** The errno names that operations of the KVM API fail with, as far as they occur here. */
export type Errno = 'E2BIG' | 'EBUSY' | 'EEXIST' | 'EINVAL' | 'ENODEV' | 'ENOENT' | 'ENOMEM' | 'ENOSPC' | 'ENOTTY' | 'ENXIO';

/** `VMM_` and the errno, or a fault in how a machine is put together from plugins. */
export type VmmErrorCode =
  | `VMM_${Errno}`
  /** Two plugins, or two providers of a service, have one name. */
  | 'VMM_PLUGIN_DUPLICATE'
  /** A plugin needs a service that nothing before it provides. */
  | 'VMM_PLUGIN_NEEDS'
  /** The thread of a vCPU has ended: by itself, or with its machine. */
  | 'VMM_THREAD_ENDED';

/** What a mistaken use of this package throws. Nothing that a guest does can raise it, and nothing has changed when it is thrown. */
export class VmmError extends Error {
  readonly code: VmmErrorCode;

  constructor(code: VmmErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'VmmError';
    this.code = code;
  }
}

/** An error of the KVM-shaped API, with the errno that the ioctl of the same name would return. */
export class KvmError extends VmmError {
  readonly errno: Errno;
  /** For E2BIG: how many entries there are. */
  readonly needed: number | undefined;

  constructor(errno: Errno, message: string, options: ErrorOptions & { readonly needed?: number } = {}) {
    super(`VMM_${errno}`, message, options);
    this.name = 'KvmError';
    this.errno = errno;
    this.needed = options.needed;
  }
}

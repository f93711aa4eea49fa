/**
 * What can be wrong with the files and sizes a boot starts from.
 *
 * - `BOOT_NOT_A_KERNEL`: neither a Linux bzImage nor an x86 ELF executable
 * - `BOOT_TRUNCATED`: the file ends before something its header promises
 * - `BOOT_BAD_HEADER`: a header field contradicts another or the format
 * - `BOOT_UNSUPPORTED`: a valid kernel of a kind that cannot be started here (too old, not relocatable low image, other machine)
 * - `BOOT_UNSUPPORTED_COMPRESSION`: the payload's compression is known but has no decoder
 * - `BOOT_BAD_PAYLOAD`: the payload is damaged
 * - `BOOT_NO_ENTRY`: the image has no entry of the protocol asked for
 * - `BOOT_OUT_OF_MEMORY`: the guest's memory is too small for the kernel
 * - `BOOT_INITRD_TOO_LARGE`: the kernel fits, the initrd does not
 * - `BOOT_CMDLINE`: the command line is too long for this kernel or holds a NUL
 * - `BOOT_BAD_MEMORY_MAP`: memory size or additional memory map entries are not usable
 * - `BOOT_BAD_CPIO`: not a `newc` archive, or an entry that the format cannot hold
 */
export type BootErrorCode =
  | 'BOOT_NOT_A_KERNEL'
  | 'BOOT_TRUNCATED'
  | 'BOOT_BAD_HEADER'
  | 'BOOT_UNSUPPORTED'
  | 'BOOT_UNSUPPORTED_COMPRESSION'
  | 'BOOT_BAD_PAYLOAD'
  | 'BOOT_NO_ENTRY'
  | 'BOOT_OUT_OF_MEMORY'
  | 'BOOT_INITRD_TOO_LARGE'
  | 'BOOT_CMDLINE'
  | 'BOOT_BAD_MEMORY_MAP'
  | 'BOOT_BAD_CPIO';

/** The only error this package throws for bad input; `message` is one line that can be shown to a person. */
export class BootError extends Error {
  readonly code: BootErrorCode;

  constructor(code: BootErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BootError';
    this.code = code;
  }
}

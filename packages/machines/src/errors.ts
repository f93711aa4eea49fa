/**
 * What can be asked for that no machine can be or do.
 *
 * - `MACHINES_DISPOSED`: the machine was disposed of before
 * - `MACHINES_CPU_FEATURE`: the kernel needs a feature that the model does not have
 * - `MACHINES_FIRMWARE`: not a size that a ROM can have
 * - `MACHINES_MEMORY`: more memory than a machine can have
 */
export type MachineErrorCode = 'MACHINES_CPU_FEATURE' | 'MACHINES_DISPOSED' | 'MACHINES_FIRMWARE' | 'MACHINES_MEMORY';

/** About the caller's input; `message` is one line that can be shown to a person. */
export class MachineError extends Error {
  readonly code: MachineErrorCode;

  constructor(code: MachineErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MachineError';
    this.code = code;
  }
}

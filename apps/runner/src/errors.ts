/**
 * What a user can get wrong, or lack.
 *
 * - `RUNNER_USAGE`: an option's value is not usable
 * - `RUNNER_FILE`: a file cannot be read or written
 * - `RUNNER_NO_APT`: no kernel given, and the host has no apt to fetch one with
 * - `RUNNER_FETCH`: apt is there but could not bring a package
 * - `RUNNER_HOST`: the host has too few processors for what is to be measured
 * - `RUNNER_MEASURE`: a guest that measures did not come to its end as it should
 */
export type RunnerErrorCode =
  | 'RUNNER_USAGE'
  | 'RUNNER_FILE'
  | 'RUNNER_NO_APT'
  | 'RUNNER_FETCH'
  | 'RUNNER_HOST'
  | 'RUNNER_MEASURE';

/** Shown to the user as one line; the command then exits with status 2. */
export class RunnerError extends Error {
  readonly code: RunnerErrorCode;

  constructor(code: RunnerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RunnerError';
    this.code = code;
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EEXIST: 'it is no folder',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  ENOSPC: 'no space left on the device',
  EROFS: 'the file system is read-only',
};

/** Turns an error of the file system into one line: "cannot read the kernel FILE: no such file". */
export function fileError(what: string, error: unknown): RunnerError {
  const code = codeOf(error);
  const reason = (code !== undefined && REASONS[code]) || (error instanceof Error ? error.message : String(error));
  return new RunnerError('RUNNER_FILE', `${what}: ${reason}`, { cause: error });
}

/** The `code` of a coded error, if it has one. */
export function codeOf(error: unknown): string | undefined {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** Whether it is the operating system's: ours have codes, too. */
export const isSystemError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;

/** First line of a message, for places that promise one. */
export const oneLine = (text: string): string => text.split('\n', 1)[0].trim();

export type BenchErrorCode = 'BENCH_USAGE' | 'BENCH_HOST' | 'BENCH_GUEST' | 'BENCH_WORKLOAD';

/** What keeps a measurement from being made; the message is one line for a person. */
export class BenchError extends Error {
  readonly code: BenchErrorCode;

  constructor(code: BenchErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BenchError';
    this.code = code;
  }
}

export const isBenchError = (error: unknown): error is BenchError => error instanceof BenchError;

import { ThreadError } from './threads/errors.ts';

/**
 * The bytes of a memory that threads share, whose type does not say so.
 * @throws ThreadError `THREADS_INVALID` for another memory
 */
export function sharedBufferOf(memory: WebAssembly.Memory): SharedArrayBuffer {
  const buffer: ArrayBufferLike = memory.buffer;
  if (buffer instanceof SharedArrayBuffer) return buffer;
  throw new ThreadError('THREADS_INVALID', 'threads meet in shared memory only');
}

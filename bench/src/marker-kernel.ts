import { openKernel } from '@tsvisor/boot';
import { BenchError } from './errors.ts';

/** What a marked kernel writes to the first serial port, with its first instructions. */
export const MARKER = '!';

/**
 * mov dx, 0x3f8; mov al, '!'; out dx, al; then cli; hlt for ever. The bytes mean the same in 32- and 64-bit code.
 */
const CODE = [0x66, 0xba, 0xf8, 0x03, 0xb0, MARKER.charCodeAt(0), 0xee, 0xfa, 0xf4, 0xeb, 0xfc];

/**
 * A copy of a kernel file that is loaded like the original, but whose entry points only write {@link MARKER}: how long a machine
 * takes to its first guest instruction can then be seen from outside.
 * @throws BenchError BENCH_HOST for a kernel with a compressed payload
 */
export async function markedKernel(file: Uint8Array): Promise<Uint8Array> {
  const copy = file.slice();
  const { elf, elfBytes } = await openKernel(copy);
  if (elfBytes.buffer !== copy.buffer) throw new BenchError('BENCH_HOST', 'a kernel with a compressed payload cannot be marked');
  let marked = 0;
  for (const entry of new Set([elf.entry, elf.pvhEntry])) {
    const segment = elf.segments.find(
      ({ gpa, bytes }) => entry !== undefined && entry >= gpa && entry + CODE.length <= gpa + bytes.length,
    );
    if (entry === undefined || segment === undefined) continue;
    // The segment is a view of the copy.
    segment.bytes.set(CODE, entry - segment.gpa);
    marked++;
  }
  if (marked === 0) throw new BenchError('BENCH_HOST', 'the kernel has no entry point in its file');
  return copy;
}

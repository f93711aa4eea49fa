import { writeElfKernel } from '@tsvisor/boot';
import { KERNEL } from './layout.ts';

const PAGE = 0x1000;

/** A 64-bit ELF kernel of one page: code at offsets in it, entered at its beginning in long mode, with interrupts off. */
export function makeKernel(parts: Readonly<Record<number, readonly number[]>>): Uint8Array {
  const page = new Uint8Array(PAGE);
  for (const [offset, code] of Object.entries(parts)) page.set(code, Number(offset));
  return writeElfKernel({ segments: [{ gpa: KERNEL, bytes: page }] });
}

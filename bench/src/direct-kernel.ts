import { openKernel } from '@tsvisor/boot';
import { BenchError } from './errors.ts';

/** Where a boot loader puts a bzImage's protected-mode part, and where the setup code enters it (Documentation/arch/x86/boot.rst). */
const PROTECTED_MODE = 0x10_0000;
const SYSSIZE = 0x1f4;
/** v86 puts the initramfs to 64 MiB. */
const END = 64 * 2 ** 20;

/**
 * A bzImage without a decompressor: the kernel's setup code, and behind it the unpacked kernel at such a distance that it lies where it
 * is to run once a loader has put the whole to 1 MiB. In the decompressor's place is a jump to the kernel's entry. It is for emulators
 * that can load nothing but a bzImage: they, too, then spend no time on unpacking.
 * @param bytes a bzImage of a 32-bit kernel, which clears its own BSS
 * @throws BenchError BENCH_HOST for another kernel
 */
export async function directKernel(bytes: Uint8Array): Promise<Uint8Array> {
  const { header, elf } = await openKernel(bytes);
  const start = Math.min(...elf.segments.map(({ gpa }) => gpa));
  const end = Math.max(...elf.segments.map(({ gpa, bytes: { length } }) => gpa + length));
  // mov $entry, %eax; jmp *%eax. The setup code leaves flat segments and boot_params in ESI, which is what the entry asks for.
  const jump = [0xb8, 0, 0, 0, 0, 0xff, 0xe0];
  if (header === undefined || elf.width !== 32 || start < PROTECTED_MODE + jump.length || end > END)
    throw new BenchError('BENCH_HOST', 'not a 32-bit kernel that can be entered without its decompressor');
  // Whole paragraphs, which syssize counts.
  const length = Math.ceil((end - PROTECTED_MODE) / 16) * 16;
  const out = new Uint8Array(header.setupBytes + length);
  out.set(bytes.subarray(0, header.setupBytes));
  const view = new DataView(out.buffer);
  view.setUint32(SYSSIZE, length / 16, true);
  out.set(jump, header.setupBytes);
  view.setUint32(header.setupBytes + 1, elf.entry, true);
  for (const segment of elf.segments) out.set(segment.bytes, header.setupBytes + segment.gpa - PROTECTED_MODE);
  return out;
}

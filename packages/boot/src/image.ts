import { ENTRY_64_OFFSET, HDR, isBzImage, isProgram, parseSetupHeader, type SetupHeader, XLF_KERNEL_64 } from './bzimage.ts';
import { decompressPayload } from './decompress.ts';
import { type ElfImage, isElf, parseElf } from './elf.ts';
import { BootError } from './errors.ts';
import { findMultibootHeader } from './multiboot-header.ts';

/** A kernel file taken apart: its ELF image and, for a bzImage, the setup header in front of it. */
export type KernelImage = {
  readonly elf: ElfImage;
  /** Absent for a bare vmlinux. */
  readonly header?: SetupHeader;
  /** The unpacked ELF file that `elf`'s segments are views of. */
  readonly elfBytes: Uint8Array;
};

/**
 * Recognises a bzImage, a program that pretends to be one or a bare ELF vmlinux by content and unpacks it.
 * @throws BootError
 */
export async function openKernel(bytes: Uint8Array): Promise<KernelImage> {
  if (isElf(bytes)) return { elf: parseElf(bytes), elfBytes: bytes };
  if (!isBzImage(bytes)) throw notAKernel(bytes);
  const header = parseSetupHeader(bytes);
  if (isProgram(header)) return openProgram(bytes, header);
  const start = header.setupBytes + header.payloadOffset;
  const elfBytes = await decompressPayload(bytes.subarray(start, start + header.payloadLength));
  return { header, elfBytes, elf: parseElf(elfBytes, "the kernel's payload") };
}

/** A program by the Linux boot protocol: it is entered where it is loaded, or 200h further in 64-bit mode. */
function openProgram(bytes: Uint8Array, header: SetupHeader): KernelImage {
  const program = bytes.subarray(header.setupBytes);
  const width = (header.xloadflags & XLF_KERNEL_64) === 0 ? 32 : 64;
  const entry = header.prefAddress + (width === 64 ? ENTRY_64_OFFSET : 0);
  const memSize = Math.max(program.length, header.initSize);
  const segments = [{ gpa: header.prefAddress, bytes: program, memSize }];
  return { header, elfBytes: program, elf: { width, entry, segments } };
}

/**
 * Checks a kernel file's headers without unpacking it.
 * @returns 64 when the kernel needs a processor with long mode, else 32, as for every Multiboot kernel
 * @throws BootError when it is not a kernel, truncated or damaged as far as headers show
 */
export function kernelWidth(bytes: Uint8Array): 32 | 64 {
  if (isBzImage(bytes)) return bzImageWidth(bytes);
  if (findMultibootHeader(bytes) !== undefined) return 32;
  if (isElf(bytes)) return parseElf(bytes).width;
  throw notAKernel(bytes);
}

function bzImageWidth(bytes: Uint8Array): 32 | 64 {
  return (parseSetupHeader(bytes).xloadflags & XLF_KERNEL_64) === 0 ? 32 : 64;
}

function notAKernel(bytes: Uint8Array): BootError {
  const reason =
    bytes.length === 0
      ? 'the file is empty'
      : bytes.length < HDR.version
        ? `the file has only ${bytes.length} bytes`
        : 'neither a bzImage, an ELF vmlinux for x86 nor a Multiboot kernel';
  return new BootError('BOOT_NOT_A_KERNEL', `not a Linux kernel: ${reason}`);
}

/**
 * Rewrites a bzImage with its payload unpacked, for a cache: {@link openKernel} reads the result without decompressing, and the
 * setup header stays, so that it is still started by the Linux boot protocol. A bare vmlinux is returned as it is.
 * @throws BootError
 */
export async function expandKernel(bytes: Uint8Array): Promise<Uint8Array> {
  const { header, elfBytes } = await openKernel(bytes);
  if (header === undefined || isProgram(header)) return bytes;
  const out = new Uint8Array(header.setupBytes + elfBytes.length);
  out.set(bytes.subarray(0, header.setupBytes));
  out.set(elfBytes, header.setupBytes);
  const view = new DataView(out.buffer);
  view.setUint32(HDR.payload_offset, 0, true);
  view.setUint32(HDR.payload_length, elfBytes.length, true);
  view.setUint32(HDR.syssize, Math.ceil(elfBytes.length / 16), true);
  return out;
}

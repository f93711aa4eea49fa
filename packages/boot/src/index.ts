export type { SetupHeader } from './bzimage.ts';
export { type CpioEntry, readCpio, writeCpio } from './cpio.ts';
export { type Compression, detectCompression } from './decompress.ts';
export {
  buildE820,
  E820_ACPI,
  E820_NVS,
  E820_RAM,
  E820_RESERVED,
  type E820Entry,
  HIGH_RAM_START,
  LOW_RAM_LIMIT,
} from './e820.ts';
export { type ElfImage, type ElfSegment, parseElf } from './elf.ts';
export { type ElfKernelOptions, type ElfKernelSegment, writeElfKernel } from './elf-writer.ts';
export type { EntryState, SegmentState } from './entry.ts';
export { BootError, type BootErrorCode } from './errors.ts';
export { expandKernel, type KernelImage, kernelWidth, openKernel } from './image.ts';
export { isMultiboot, loadKernel } from './load-kernel.ts';
export { type EntryProtocol, type LinuxBootConfig, type LinuxBootPlan, type LoadSegment, loadLinux } from './load-linux.ts';

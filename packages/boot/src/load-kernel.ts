import { isBzImage } from './bzimage.ts';
import { type LinuxBootConfig, type LinuxBootPlan, loadLinux } from './load-linux.ts';
import { loadMultiboot } from './multiboot.ts';
import { findMultibootHeader } from './multiboot-header.ts';

/** A bzImage of Linux has no such header, whatever its first bytes look like. */
const headerOf = (kernel: Uint8Array): number | undefined => (isBzImage(kernel) ? undefined : findMultibootHeader(kernel));

/**
 * Whether a kernel is a Multiboot kernel.
 * @throws BootError BOOT_BAD_HEADER when it would be one if its header's checksum were right
 */
export const isMultiboot = (kernel: Uint8Array): boolean => headerOf(kernel) !== undefined;

/**
 * Plans the boot of whatever kernel it is given: a Multiboot kernel by its header, anything else as Linux.
 * @throws BootError for everything that can be wrong with the input
 */
export async function loadKernel(config: LinuxBootConfig): Promise<LinuxBootPlan> {
  const header = headerOf(config.kernel);
  return header === undefined ? loadLinux(config) : loadMultiboot(config, header);
}

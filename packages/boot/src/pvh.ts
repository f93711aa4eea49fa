import { Writer } from './bytes.ts';
import type { E820Entry } from './e820.ts';

/** xen/include/public/arch-x86/hvm/start_info.h */
const HVM_START_MAGIC = 0x336e_c578;
const INFO_SIZE = 56;
const MODULE_SIZE = 32;
const MEMMAP_ENTRY_SIZE = 24;

export type StartInfoInput = {
  /** Where the result will lie: it points at its own parts. */
  readonly gpa: number;
  readonly cmdlineGpa: number;
  readonly initrd?: { readonly gpa: number; readonly size: number };
  readonly e820: readonly E820Entry[];
  readonly acpiRsdp?: number;
};

/** `hvm_start_info` version 1 with its module list and memory map behind it; EBX points at it on entry. */
export function buildStartInfo(input: StartInfoInput): Uint8Array {
  const modules = input.initrd === undefined ? 0 : 1;
  const moduleList = 64;
  const memmap = moduleList + modules * MODULE_SIZE;
  const info = new Writer(memmap + input.e820.length * MEMMAP_ENTRY_SIZE);
  info.u32(0, HVM_START_MAGIC);
  info.u32(4, 1);
  info.u32(12, modules);
  info.u64(16, modules === 0 ? 0 : input.gpa + moduleList);
  info.u64(24, input.cmdlineGpa);
  info.u64(32, input.acpiRsdp ?? 0);
  info.u64(40, input.gpa + memmap);
  info.u32(48, input.e820.length);
  info.u32(INFO_SIZE - 4, 0);
  if (input.initrd !== undefined) {
    info.u64(moduleList, input.initrd.gpa);
    info.u64(moduleList + 8, input.initrd.size);
  }
  input.e820.forEach((entry, i) => {
    const at = memmap + i * MEMMAP_ENTRY_SIZE;
    info.u64(at, entry.gpa);
    info.u64(at + 8, entry.size);
    info.u32(at + 16, entry.type);
  });
  return info.bytes;
}

import { KERNEL } from './layout.ts';

const PAGE = 0x1000;

/** A 64-bit ELF kernel of one page: code at offsets in it, entered at its beginning in long mode, with interrupts off. */
export function makeKernel(parts: Readonly<Record<number, readonly number[]>>): Uint8Array {
  const bytes = new Uint8Array(2 * PAGE);
  const view = new DataView(bytes.buffer);
  const u16 = (at: number, value: number): void => view.setUint16(at, value, true);
  const u64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // 64 bits, little-endian
  // What makes an ELF file a kernel of Linux, which is entered in 64-bit mode.
  bytes.set(new TextEncoder().encode('Linux version 0'), 0x80);
  u16(16, 2); // e_type: ET_EXEC
  u16(18, 62); // e_machine: EM_X86_64
  u16(20, 1); // e_version
  u64(24, KERNEL); // e_entry
  u64(32, 64); // e_phoff
  u16(52, 64); // e_ehsize
  u16(54, 56); // e_phentsize
  u16(56, 1); // e_phnum
  u16(64, 1); // p_type: PT_LOAD
  u16(68, 7); // p_flags: RWX
  u64(72, PAGE); // p_offset
  u64(80, KERNEL); // p_vaddr
  u64(88, KERNEL); // p_paddr
  u64(96, PAGE); // p_filesz
  u64(104, PAGE); // p_memsz
  u64(112, PAGE); // p_align
  for (const [offset, code] of Object.entries(parts)) bytes.set(code, PAGE + Number(offset));
  return bytes;
}

/** Kernels of a few instructions, in machine code. */

/** Where the code lies and is entered: long mode, interrupts off, the first 4 GiB mapped to themselves. */
export const KERNEL_GPA = 0x10_0000;

/** A 64-bit ELF kernel of one page with the given bytes at their offsets in it. */
export function makeKernel(parts: Readonly<Record<number, readonly number[]>> = { 0: [0xf4] }): Uint8Array {
  const bytes = new Uint8Array(0x2000);
  const view = new DataView(bytes.buffer);
  const u16 = (at: number, value: number): void => view.setUint16(at, value, true);
  const u64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes.set(new TextEncoder().encode('Linux version 0'), 0x80);
  u16(16, 2); // ET_EXEC
  u16(18, 62); // EM_X86_64
  u16(20, 1);
  u64(24, KERNEL_GPA);
  u64(32, 64);
  u16(52, 64);
  u16(54, 56);
  u16(56, 1);
  // The program header: PT_LOAD, RWX, one page from file offset 0x1000.
  u16(64, 1);
  u16(68, 7);
  u64(72, 0x1000);
  u64(80, KERNEL_GPA);
  u64(88, KERNEL_GPA);
  u64(96, 0x1000);
  u64(104, 0x1000);
  u64(112, 0x1000);
  for (const [offset, code] of Object.entries(parts)) bytes.set(code, 0x1000 + Number(offset));
  return bytes;
}

const dword = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
/** mov dword [address], value */
export const store = (address: number, value: number): number[] => [0xc7, 0x04, 0x25, ...dword(address), ...dword(value)];
/** mov dword [rax + offset], value */
export const storeAtRax = (offset: number, value: number): number[] => [0xc7, 0x80, ...dword(offset), ...dword(value)];
/** mov eax, value */
export const loadEax = (value: number): number[] => [0xb8, ...dword(value)];
/** mov dx, 0x3f8; then for each character mov al, it; out dx, al */
export const print = (text: string): number[] => [
  ...[0x66, 0xba, 0xf8, 0x03],
  ...[...text].flatMap((char) => [0xb0, char.charCodeAt(0), 0xee]),
];
/** mov dx, 0x604; mov ax, SLP_EN | 5 << 10; out dx, ax; hlt; jmp to the hlt */
export const POWER_OFF: readonly number[] = [
  ...[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef],
  ...[0xf4, 0xeb, 0xfd],
];

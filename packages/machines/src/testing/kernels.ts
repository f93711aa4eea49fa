/** Kernels of a few instructions, in machine code. */
import { writeElfKernel } from '@tsvisor/boot';

/** Where the code lies and is entered: long mode, interrupts off, the first 4 GiB mapped to themselves. */
export const KERNEL_GPA = 0x10_0000;

/** A 64-bit ELF kernel of one page with the given bytes at their offsets in it. */
export function makeKernel(parts: Readonly<Record<number, readonly number[]>> = { 0: [0xf4] }): Uint8Array {
  const page = new Uint8Array(0x1000);
  for (const [offset, code] of Object.entries(parts)) page.set(code, Number(offset));
  return writeElfKernel({ segments: [{ gpa: KERNEL_GPA, bytes: page }] });
}

export const dword = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
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

/** Where the second processor begins, in real mode, and where in that page it finds what the first one left: a GDTR and CR3. */
const TRAMPOLINE = 0x9000;
const GDTR = 0x80;
const CR3 = 0x90;
const LOCAL_APIC = 0xfee0_0000;

/** From real mode to 64-bit mode in the first processor's address space, to an offset in the kernel's page. Goes to `TRAMPOLINE_OFFSET` there. */
export const trampoline = (entry: number): number[] => [
  ...[0xfa, 0x8c, 0xc8, 0x8e, 0xd8], // cli; mov ax, cs; mov ds, ax
  ...[0x66, 0x0f, 0x01, 0x16, GDTR, 0], // lgdt [GDTR]
  ...[0x0f, 0x20, 0xe0, 0x66, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0], // mov eax, cr4; or eax, PAE; mov cr4, eax
  ...[0x66, 0xa1, CR3, 0, 0x0f, 0x22, 0xd8], // mov eax, [CR3]; mov cr3, eax
  ...[0x66, 0xb9, ...dword(0xc000_0080), 0x0f, 0x32, 0x66, 0x0d, ...dword(0x100), 0x0f, 0x30], // EFER.LME
  ...[0x0f, 0x20, 0xc0, 0x66, 0x0d, ...dword(0x8000_0001), 0x0f, 0x22, 0xc0], // CR0.PG, CR0.PE
  ...[0x66, 0xea, ...dword(KERNEL_GPA + entry), 0x10, 0], // ljmp 0x10:entry
];
export const TRAMPOLINE_OFFSET = 0xf00;

/** Has the second processor begin at the trampoline. Changes RAX, RCX, RSI and RDI. */
export const START_SECOND: readonly number[] = [
  ...[0xbe, ...dword(KERNEL_GPA + TRAMPOLINE_OFFSET), 0xbf, ...dword(TRAMPOLINE), 0xb9, ...dword(GDTR), 0xf3, 0xa4], // rep movsb
  ...[0x0f, 0x01, 0x04, 0x25, ...dword(TRAMPOLINE + GDTR)], // sgdt
  ...[0x0f, 0x20, 0xd8, 0x89, 0x04, 0x25, ...dword(TRAMPOLINE + CR3)], // mov rax, cr3; mov [CR3], eax
  ...loadEax(LOCAL_APIC),
  ...storeAtRax(0xf0, 0x1ff), // SVR: enabled
  ...[...storeAtRax(0x310, 1 << 24), ...storeAtRax(0x300, 0x4500)], // INIT
  ...[...storeAtRax(0x310, 1 << 24), ...storeAtRax(0x300, 0x4600 | (TRAMPOLINE >> 12))], // start-up
];

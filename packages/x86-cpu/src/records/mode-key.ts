/**
 * What a translation depends on besides its bytes. Translations are looked up by (host address, mode key), so no record ever tests
 * these at run time.
 */
import type { StackMode } from '../form.ts';

export const ModeKey = {
  /** Bits 0–1: 0 16-bit, 1 32-bit, 2 64-bit code. Generated code tests these two. */
  SIZE: 3,
  CODE32: 1,
  CODE64: 2,
  USER: 1 << 2,
  /** CPL is 0. CPL 1 and 2 are neither USER nor this. */
  CPL0: 1 << 3,
  /** Bits 4–5: StackMode. */
  STACK_SHIFT: 4,
  /** ES, CS, SS, DS have base 0 and cover 4 GiB readable and (but CS) writable; always so in 64-bit mode. */
  FLAT: 1 << 6,
  /** FS, GS may be added without limit or rights checks. */
  FLAT_FS: 1 << 7,
  FLAT_GS: 1 << 8,
  /** Where these two are: loading FS or GS changes nothing else of the key. */
  VARIANT_SHIFT: 7,
  /** x87/MMX and SSE instructions raise #NM (CR0.TS, or EM for x87). */
  NO_FPU: 1 << 9,
  FPU_EMULATED: 1 << 10,
  /** SSE instructions raise #UD (CR0.EM or not CR4.OSFXSR). */
  NO_SSE: 1 << 11,
  /** Blocks of one instruction: single stepping, interrupt shadows. */
  STEP: 1 << 12,
  VIRTUAL_8086: 1 << 13,
  /** CR4.UMIP makes SGDT and its like privileged. */
  UMIP: 1 << 14,
  PROTECTED: 1 << 15,
  /** Bits 16–25: number of the code segment's limit, where CS is not flat. */
  LIMIT_SHIFT: 16,
  LIMIT_MASK: 0x3ff,
  /** VEX instructions on vectors raise #UD (not CR4.OSXSAVE, or XCR0 without SSE or AVX state). */
  NO_AVX: 1 << 26,
  /** XSAVE and its kin raise #UD (not CR4.OSXSAVE). */
  NO_XSAVE: 1 << 27,
  /** Alignment checking: accesses are not what compiled code takes them for. */
  ALIGNED: 1 << 28,
} as const;

export const codeSize = (key: number): 16 | 32 | 64 => {
  const size = key & ModeKey.SIZE;
  return size === ModeKey.CODE64 ? 64 : size === ModeKey.CODE32 ? 32 : 16;
};
/** The key holds the number of a limit, which means something else to each processor. */
export const hasLimitNumber = (key: number): boolean => (key & (ModeKey.LIMIT_MASK << ModeKey.LIMIT_SHIFT)) !== 0;
export const is64Bit = (key: number): boolean => (key & ModeKey.SIZE) === ModeKey.CODE64;
export const stackMode = (key: number): StackMode => ((key >> ModeKey.STACK_SHIFT) & 3) as StackMode;

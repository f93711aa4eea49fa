/** Guest-physical addresses that the guest, the embedding thread and the consumer's thread know. The first 4 GiB are mapped to themselves. */

export const MEMORY_BYTES = 32 << 20;

/** The kernel's page, and in it the handler of the one interrupt. */
export const KERNEL = 0x10_0000;
export const HANDLER = 0x800;
export const STACK_TOP = 0x20_0000;

export const DATA = 0x20_0000;
/** Offsets from DATA, each below 128. The first three are 64-bit nanoseconds from the embedding thread: for the two phases, and between rings. */
export const WARM_UP_NS = 0x00;
export const RUN_NS = 0x08;
export const PAUSE_NS = 0x10;
/** 64-bit: how long a phase took by the TSC, in it how often the guest rang, and where its samples end. */
export const TICKS = 0x20;
export const RINGS = 0x28;
export const SAMPLES_END = 0x30;
/** What LIDT takes. */
export const IDTR = 0x50;
/** 32-bit: non-zero sends the guest to its end. */
export const STOP = 0x60;
/** 32-bit, apart from what the guest writes: which phase it is in. */
export const PHASE = 0x40;
export const Phase = { warmUp: 0, measured: 1, over: 2 } as const;
/** 32-bit, on a line of its own: signals that the consumer has heard of. */
export const ANSWER = 0x80;
/** `struct pvclock_vcpu_time_info` */
export const PVCLOCK = 0xc0;
export const TSC_TIMESTAMP = PVCLOCK + 8;
export const SYSTEM_TIME = PVCLOCK + 16;

export const IDT = 0x20_1000;
export const SAMPLES = 0x40_0000;
export const SAMPLES_LIMIT = 0x1c0_0000;

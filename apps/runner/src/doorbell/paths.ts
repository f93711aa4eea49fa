import type { Ioeventfd } from '@tsvisor/vmm-core';

/** From a ring in the guest to whoever counts it. */
export type DoorbellPath = {
  readonly name: string;
  /** Rings. EDI is DOORBELL; EAX and EDX are free. */
  readonly code: readonly number[];
  /** `device`: one on the embedding thread answers each ring; `eventfd`: another thread waits for it. */
  readonly served: 'device' | 'eventfd';
  readonly where: Omit<Ioeventfd, 'event'>;
  /** What was published for it in 2009. */
  readonly published?: Published;
};

/**
 * G. Haskins, "KVM: add ioeventfd support", Linux commit d34e6b175e61, 7 July 2009: rings per second and µs until the ring's instruction was over.
 * Those that are `extrapolated` he computed from another path and what an exit of each kind had cost.
 */
export type Published = { readonly opsPerSecond: number; readonly us: number; readonly extrapolated: boolean };

/** Where no device of the machine is. */
export const DOORBELL = 0xd000_0000;
export const PORT = 0x580;
const NUMBER = 0x100;

const STORE = [0x89, 0x1f]; // mov [rdi], ebx
const OUT = [0x66, 0xba, PORT & 0xff, PORT >> 8, 0xef]; // mov dx, PORT; out dx, eax
const VMCALL = [0xb8, NUMBER & 0xff, NUMBER >> 8, 0, 0, 0x0f, 0x01, 0xc1]; // mov eax, NUMBER; vmcall

const MMIO = { bus: 'mmio', address: DOORBELL, length: 4 } as const;
const PIO = { bus: 'pio', address: PORT, length: 4 } as const;
const HYPERCALL = { bus: 'hypercall', address: NUMBER, length: 0 } as const;

const published = (opsPerSecond: number, us: number, extrapolated = false): Published => ({ opsPerSecond, us, extrapolated });

// biome-ignore format: table
export const PATHS: readonly DoorbellPath[] = [
  { name: 'userspace-mmio', code: STORE, served: 'device', where: MMIO, published: published(110_000, 9.09) },
  { name: 'userspace-pio', code: OUT, served: 'device', where: PIO, published: published(153_139, 6.53, true) },
  { name: 'ioeventfd-mmio', code: STORE, served: 'eventfd', where: MMIO, published: published(200_100, 5.00) },
  { name: 'fast-mmio', code: STORE, served: 'eventfd', where: { ...MMIO, length: 0 } },
  { name: 'ioeventfd-pio', code: OUT, served: 'eventfd', where: PIO, published: published(367_300, 2.72) },
  { name: 'hypercall', code: VMCALL, served: 'eventfd', where: HYPERCALL, published: published(412_585, 2.37, true) },
];

/** The way back: an event that interrupts a halted processor. */
export const IRQFD = 'irqfd';

export const PATH_NAMES: readonly string[] = [...PATHS.map(({ name }) => name), IRQFD];

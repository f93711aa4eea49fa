/** Where the test device of kvm-unit-tests (QEMU, `-device pc-testdev`) has its registers. */

/** Ports: a latch of 4 bytes, one that flushes a page in nested paging, a latch for single bytes, and a port for each interrupt line. */
export const TestdevPort = { latch: 0xe0, flush: 0xe4, byteLatch: 0xe8, irq: 0x2000 } as const;
export const LATCH_BYTES = 4;
export const TESTDEV_LINES = 24;
/** Memory that is a device: 64 KiB that hold what is written. */
export const TESTDEV_MEMORY = { gpa: 0xff00_0000, size: 0x1_0000 } as const;

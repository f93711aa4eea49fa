/** Devices that test images end with and speak through, as QEMU users know them. They are there only if they are asked for. */
import type { SerialSink } from './ports.ts';

export type TestDevice =
  /** A write of v to the port ends the machine with the status `(v << 1) | 1`. `size` is in ports. */
  | { readonly kind: 'isa-debug-exit'; readonly port: number; readonly size: 1 | 2 | 4 }
  /** Every byte written to the port is a character for the sink. */
  | { readonly kind: 'isa-debugcon'; readonly port: number; readonly sink: SerialSink }
  /** Interrupt lines to raise by a port, and a port and memory that are certainly emulated: what kvm-unit-tests use. */
  | { readonly kind: 'pc-testdev' };

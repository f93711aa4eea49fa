/** What a machine offers to the plugins it is built from. */

import type { IoDevice, MachineClock } from '@tsvisor/vmm-core';
import type { A20Control } from './a20.ts';

/** A place for a device's state. */
export type StateSlot = { readonly buffer: ArrayBufferLike; readonly byteOffset: number };
export type PortRange = { readonly base: number; readonly size: number; readonly name: string; readonly width?: 1 | 2 | 4 };

export type Services = {
  /** Puts registers on the port bus. */
  readonly ports: { readonly register: (range: PortRange, device: IoDevice) => Disposable };
  /** Puts registers on the memory bus; `base` is a guest-physical address. */
  readonly mmio: { readonly register: (range: PortRange, device: IoDevice) => Disposable };
  /** A line into a global system interrupt, ORed with the others there. */
  readonly irqLine: (gsi: number) => { readonly setLevel: (level: 0 | 1) => void } & Disposable;
  readonly clock: MachineClock;
  /** Sets state aside in the machine's memory. */
  readonly state: (layout: { readonly size: number; readonly align: number }) => StateSlot;
  /** Ends the machine. */
  readonly power: { readonly off: () => void; readonly reset: () => void; readonly exit: (status: number) => void };
  /** One more control of address line 20, which is open while any of them is. */
  readonly a20: () => A20Control;
};

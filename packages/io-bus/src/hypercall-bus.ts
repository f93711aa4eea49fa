import type { IoBusOptions } from './access.ts';
import type { PublishedDoorbell } from './doorbell-table.ts';
import { Doorbells, type IoEventFds } from './ioeventfd.ts';

/** Numbers of hypercalls are below this. Those that KVM defines are the lowest (Linux, include/uapi/linux/kvm_para.h). */
export const HYPERCALL_LIMIT = 2 ** 32;

/**
 * Hypercalls that are only a signal. One is like a write of 8 bytes: its number (RAX) is the address, its first argument (RBX) the value. Other
 * arguments are not looked at. There are no devices here.
 */
export type HypercallBus = IoEventFds & {
  /** Signals the event of a hypercall; false if it has none. The first argument comes as unsigned halves. */
  readonly ring: (number: number, lo: number, hi: number) => boolean;
};

export function createHypercallBus({
  ioeventfdLimit,
  doorbells: table,
}: Pick<IoBusOptions, 'ioeventfdLimit' | 'doorbells'> = {}): HypercallBus {
  const publish = table && ((bell: PublishedDoorbell) => table.publish('hypercall', bell));
  const doorbells = new Doorbells(HYPERCALL_LIMIT, { limit: ioeventfdLimit, lengths: [0, 8], publish });
  const { assignIoeventfd, deassignIoeventfd } = doorbells;
  return { assignIoeventfd, deassignIoeventfd, ring: (number, lo, hi) => doorbells.ring(number, 8, lo, hi) };
}

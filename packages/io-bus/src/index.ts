/** Port and memory-mapped I/O buses for a virtual machine monitor. */
export type { IoAccess, IoBusOptions } from './access.ts';
export { CoalescedMmio } from './coalesced-mmio.ts';
export { COALESCED_BYTES, COALESCED_MMIO_MAX, type CoalescedPlace, CoalescedRing } from './coalesced-ring.ts';
export { COALESCED_ZONE_MAX, type CoalescedMmioZone } from './coalesced-zones.ts';
export {
  DOORBELL_LAYOUT,
  type DoorbellBusName,
  DoorbellTable,
  type DoorbellTableOptions,
  doorbellTableBytes,
  hideDoorbells,
} from './doorbell-table.ts';
export { IoBusError, type IoBusErrorCode } from './errors.ts';
export { createHypercallBus, HYPERCALL_LIMIT, type HypercallBus } from './hypercall-bus.ts';
export { IOEVENTFD_LIMIT, type IoEventFd, type IoEventFds } from './ioeventfd.ts';
export { createMmioBus, GPA_LIMIT } from './mmio-bus.ts';
export { createPioBus, type IoBus, PORT_COUNT } from './pio-bus.ts';
export type { IoDevice, IoEvent, IoLen, UnclaimedHook } from './ports.ts';
export type { IoRange } from './range.ts';

export type { ApicBusOptions } from './apic-bus.ts';
export { ApicBus, createApicBus } from './apic-bus.ts';
export type { ByteDevice } from './byte-device.ts';
export type { IrqChipErrorCode } from './errors.ts';
export { IrqChipError } from './errors.ts';
export type { GsiLine, GsiRoute, GsiRouterOptions, PinSink } from './gsi-router.ts';
export { createGsiRouter, defaultGsiRoutes, GSI_COUNT, GSI_LAYOUT, GsiRouter } from './gsi-router.ts';
export type { InterruptBus, IoApicOptions } from './ioapic.ts';
export { createIoApic, IOAPIC_LAYOUT, IOAPIC_PINS, IoApic } from './ioapic.ts';
export type { IrqChipOptions } from './irqchip.ts';
export { CpuInterrupts, createIrqChip, IrqChip, irqChipLayout } from './irqchip.ts';
export type { MsrValue } from './lapic.ts';
export { createLocalApic, LocalApic } from './lapic.ts';
export type { LapicBus, LapicCore, LocalApicOptions } from './lapic-core.ts';
export {
  APIC_LVT_PERF,
  APIC_LVT_THERMAL,
  EVENT_INIT,
  EVENT_NMI,
  EVENT_SIPI,
  EVENT_SMI,
  LAPIC_LAYOUT,
  MSR_APIC_BASE,
  MSR_TSC_DEADLINE,
  MSR_X2APIC_FIRST,
  MSR_X2APIC_LAST,
} from './lapic-registers.ts';
export type { PicPairOptions } from './pic.ts';
export { createPicPair, PIC_LAYOUT, PicPair } from './pic.ts';
export type { PitOptions } from './pit.ts';
export { createPit, PIT_LAYOUT, Pit } from './pit.ts';
export { PIT_HZ } from './pit-counter.ts';
export type { Clock, DeliveryCount, IoLen, OutputPin, StatePlace, Subscription, TimerHandle, Tsc } from './ports.ts';
export { createMessageSender, createProcessorNode, type ProcessorNodeOptions } from './processor-node.ts';

/** The devices of a PC: each a function from its ports to registers that a bus can reach. */
export * from './acpi/index.ts';
export { type AcpiPm, createAcpiPm } from './acpi-pm/device.ts';
export type { AcpiPmPorts } from './acpi-pm/ports.ts';
export { acpiPmLayout } from './acpi-pm/state.ts';
export {
  createDebugConsole,
  createDebugExit,
  createDelayPort,
  type DebugConsole,
  type DebugExit,
  type DelayPort,
} from './debug-ports/device.ts';
export type { DebugConsolePorts, DebugExitPorts, DelayPortPorts } from './debug-ports/ports.ts';
export { delayPortLayout } from './debug-ports/state.ts';
export { DevicesPcError, type DevicesPcErrorCode } from './errors.ts';
export { createFwCfg, type FwCfg } from './fw-cfg/device.ts';
export type { FwCfgPorts } from './fw-cfg/ports.ts';
export { fwCfgLayout } from './fw-cfg/state.ts';
export { createI8042, type I8042 } from './i8042/device.ts';
export type { I8042Ports } from './i8042/ports.ts';
export { i8042Layout } from './i8042/state.ts';
export { createPcTestdev, type PcTestdev } from './pc-testdev/device.ts';
export type { PcTestdevPorts } from './pc-testdev/ports.ts';
export { TESTDEV_LINES, TESTDEV_MEMORY, TestdevPort } from './pc-testdev/registers.ts';
export { pcTestdevLayout } from './pc-testdev/state.ts';
export { createPort92, type Port92 } from './port92/device.ts';
export type { Port92Ports } from './port92/ports.ts';
export { port92Layout } from './port92/state.ts';
export type { CharBackend, Clock, IoDevice, IoLen, IrqLine, StateSlot } from './ports.ts';
export { createRtc, type Rtc } from './rtc/device.ts';
export type { RtcPorts } from './rtc/ports.ts';
export { rtcLayout } from './rtc/state.ts';
export { createUart16550, type Uart16550 } from './uart16550/device.ts';
export type { Uart16550Ports } from './uart16550/ports.ts';
export { uart16550Layout } from './uart16550/state.ts';

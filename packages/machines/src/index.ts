/** Machine presets. */
export { MachineError, type MachineErrorCode } from './errors.ts';
export type { GuestExit, Machine, MachineConfig, MachineFactory } from './machine.ts';
export { createMicrovmFactory } from './microvm/microvm.ts';
export type { Engine, SerialSink } from './ports.ts';

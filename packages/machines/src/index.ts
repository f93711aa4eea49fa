/** Machine presets. */
import type { MachineFactory } from './machine.ts';
import { createMicrovmFactory } from './microvm/microvm.ts';
import { x86Engine } from './x86-engine.ts';

export { MachineError, type MachineErrorCode } from './errors.ts';
export type { BootConfig, GuestExit, Machine, MachineConfig, MachineFactory } from './machine.ts';
export { createMicrovmFactory } from './microvm/microvm.ts';
export type { CompiledRegion, Engine, EngineModel, EngineOptions, SerialSink } from './ports.ts';
export type { TestDevice } from './test-device.ts';
export { createX86Engine, x86Engine } from './x86-engine.ts';

/** Microvms over this project's own engine. */
export const microvm: MachineFactory = createMicrovmFactory(x86Engine);

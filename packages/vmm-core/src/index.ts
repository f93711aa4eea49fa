/** Virtual machines shaped after the KVM API, and what puts them together and runs them. */
export { EventFd, EventFdError, type EventFdErrorCode, type EventFdHandle } from '@tsvisor/eventfd';
export type { CoalescedMmioZone } from '@tsvisor/io-bus';
export { type Arena, createArena } from './arena.ts';
export { createMachineClock, type MachineClock } from './clock.ts';
export { type CpuidEntry, cpuidFromEntries, type VcpuCpuid, vcpuCpuid } from './cpuid.ts';
export { MACHINE_DOORBELL_LAYOUT } from './doorbells.ts';
export { type Errno, KvmError, VmmError, type VmmErrorCode } from './errors.ts';
export type { SystemEvent, VcpuExit } from './exits.ts';
export { type Host, systemHost } from './host.ts';
export { createInstructionHost, type InstructionHostOptions } from './instruction-host.ts';
export type { IrqfdOptions } from './irqfd.ts';
export { KVM_API_VERSION, Kvm, type KvmOptions, type VmOptions } from './kvm.ts';
export { MpState } from './mp-state.ts';
export { composeMsrs, type MsrRange } from './msrs.ts';
export type {
  CpuidSource,
  DescriptorTable,
  InterruptController,
  IoDevice,
  IoLen,
  IrqEvent,
  MsrDevice,
  Processor,
  ProcessorBus,
  ProcessorConfig,
  ProcessorExit,
  ProcessorFactory,
  ProcessorMmioBus,
  ProcessorMmu,
  Regs,
  ResampleEvent,
  SegmentRegister,
  Sregs,
  TimeStampCounter,
  VcpuThreadPort,
} from './ports.ts';
export { PROCESSOR_MMU_OFFSETS } from './processor-mmu.ts';
export { type Built, buildPlugins, type Device, type Plugin } from './registry.ts';
export { type RunEnd, RunLoop, type RunLoopOptions, type RunnableVcpu, type RunnableVm } from './run-loop.ts';
export { sharedBufferOf } from './shared-buffer.ts';
export { ThreadError, type ThreadErrorCode } from './threads/errors.ts';
export { IrqSender, type IrqSenderSpec } from './threads/irq-sender.ts';
export { kickVcpu, type VcpuKickHandle } from './threads/kick.ts';
export { RemoteVcpu } from './threads/remote-vcpu.ts';
export { serveVcpu, type ThreadPort } from './threads/serve.ts';
export type { ThreadExit, VcpuSpec } from './threads/spec.ts';
export { type StartVcpuThread, VcpuThreads } from './threads/vcpu-threads.ts';
export { Vcpu } from './vcpu.ts';
export { type Ioeventfd, type Irqfd, type UserMemoryRegion, Vm } from './vm.ts';

export type { KvmClockErrorCode } from './errors.ts';
export { KvmClockError } from './errors.ts';
export type { ClockReading, KvmClockOptions } from './kvm-clock.ts';
export {
  createKvmClock,
  KVM_CLOCK_MSRS,
  KvmClock,
  kvmClockLayout,
  MSR_KVM_ASYNC_PF_EN,
  MSR_KVM_PV_EOI_EN,
  MSR_KVM_STEAL_TIME,
  MSR_KVM_SYSTEM_TIME,
  MSR_KVM_SYSTEM_TIME_NEW,
  MSR_KVM_WALL_CLOCK,
  MSR_KVM_WALL_CLOCK_NEW,
} from './kvm-clock.ts';
export type { CpuidRegisters } from './kvm-cpuid.ts';
export {
  KVM_CPUID_FEATURES,
  KVM_CPUID_SIGNATURE,
  KVM_FEATURE_CLOCKSOURCE,
  KVM_FEATURE_CLOCKSOURCE_STABLE,
  KVM_FEATURE_CLOCKSOURCE2,
  KVM_FEATURE_NOP_IO_DELAY,
  KVM_FEATURES,
  KVM_HINTS_REALTIME,
  kvmCpuid,
} from './kvm-cpuid.ts';
export type { Clock, GuestMemory, GuestTscs, Pair, StatePlace } from './ports.ts';
export type { Scale } from './pvclock.ts';
export { decodeTimeInfo, PVCLOCK_GUEST_STOPPED, PVCLOCK_TSC_STABLE, TIME_INFO_SIZE, tscScale } from './pvclock.ts';
export type { TscBankOptions } from './tsc.ts';
export { createTscBank, DEFAULT_TSC_KHZ, MSR_IA32_TSC, MSR_IA32_TSC_ADJUST, TSC_LAYOUT, TscBank } from './tsc.ts';

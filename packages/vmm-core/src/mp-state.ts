/** What a processor of several does before it runs: it waits to be started. */
import { defineLayout } from '@tsvisor/state-layout';

/** Values of `struct kvm_mp_state`. A halted processor is RUNNABLE here: HLT is the processor's own state. */
export const MpState = {
  RUNNABLE: 0,
  /** Never started: it takes INIT, and nothing else. */
  UNINITIALIZED: 1,
  /** After INIT: it waits for a start-up IPI (SDM vol. 3 §9.4.3). */
  INIT_RECEIVED: 2,
} as const;
export type MpState = (typeof MpState)[keyof typeof MpState];

/** A vCPU's state outside of processor and local APIC. */
export const VCPU_LAYOUT = defineLayout('vcpu', {
  mpState: 'u32',
  /** Where other threads find words of its processor, once its own thread has made it: see `Processor.addresses`. 0 until then. */
  exitRequest: 'u32',
  kicked: 'u32',
  codeMap: 'u32',
  /** As in `struct kvm_run`: 1, stored before a kick, has `run` return `intr`. */
  immediateExit: 'u32',
});

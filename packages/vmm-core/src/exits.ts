/** Why `Vcpu.run` returned; KVM's exit reasons in lower case. */
export type VcpuExit =
  /** The budget is used up, or something asked for a look: an event, a timer, `kick`. */
  | { readonly reason: 'intr' }
  /** The guest spins in PAUSE: it waits for what another processor does. */
  | { readonly reason: 'pause' }
  /** HLT, and nothing to wake up for. */
  | { readonly reason: 'hlt' }
  /** A triple fault. */
  | { readonly reason: 'shutdown' }
  /** The guest powered the machine off or reset it through a device. */
  | { readonly reason: 'system-event'; readonly event: SystemEvent }
  /** The processor cannot go on; its state is as it was when it gave up. */
  | { readonly reason: 'internal-error'; readonly message: string };

/** KVM_SYSTEM_EVENT_SHUTDOWN and KVM_SYSTEM_EVENT_RESET. */
export type SystemEvent = 'shutdown' | 'reset';

import { type VcpuPlace, VcpuSignals } from './vcpu-signals.ts';

/** What a thread needs to kick a vCPU. It can be posted. */
export type VcpuKickHandle = VcpuPlace & { readonly memory: WebAssembly.Memory };

/**
 * Makes `RemoteVcpu.run` resolve with `intr`, soon; the next one, if there is none now. From any thread, as a signal to a vCPU's thread and
 * `immediate_exit` do (Linux, Documentation/virt/kvm/api.rst, `struct kvm_run`).
 */
export function kickVcpu({ memory, ...place }: VcpuKickHandle): void {
  const signals = new VcpuSignals(memory, place);
  signals.setImmediateExit();
  signals.kick();
}

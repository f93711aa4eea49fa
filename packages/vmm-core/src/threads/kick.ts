import { VCPU_LAYOUT } from '../mp-state.ts';
import { Parking } from './parking.ts';

/** What a thread needs to kick a vCPU: the machine's memory, and where its `VCPU_LAYOUT` and `PARKING` are. It can be posted. */
export type VcpuKickHandle = { readonly memory: WebAssembly.Memory; readonly vcpu: number; readonly parking: number };

/**
 * Makes `RemoteVcpu.run` resolve with `intr`, soon; the next one, if there is none now. From any thread, as a signal to a vCPU's thread and
 * `immediate_exit` do (Linux, Documentation/virt/kvm/api.rst, `struct kvm_run`).
 */
export function kickVcpu({ memory, vcpu, parking }: VcpuKickHandle): void {
  const buffer = memory.buffer as unknown as SharedArrayBuffer;
  const words = new Int32Array(buffer);
  const { exitRequest, kicked } = VCPU_LAYOUT.view(buffer, vcpu);
  Atomics.store(words, (vcpu + VCPU_LAYOUT.offset.immediateExit) >> 2, 1);
  if (exitRequest !== 0) {
    Atomics.store(words, kicked >> 2, 1);
    Atomics.store(words, exitRequest >> 2, -1);
  }
  new Parking({ buffer, byteOffset: parking }).kick();
}

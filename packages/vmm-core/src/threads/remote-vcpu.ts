import { VmmError } from '../errors.ts';
import type { MpState } from '../mp-state.ts';
import type { Regs, Sregs, VcpuThreadPort } from '../ports.ts';
import { kickVcpu, type VcpuKickHandle } from './kick.ts';
import { SET_UP } from './serve.ts';
import type { Answer, ThreadExit, ThreadStats, VcpuCall, VcpuCalls } from './spec.ts';

type Waiting = { readonly resolve: (value: never) => void; readonly reject: (error: Error) => void };

/**
 * A vCPU that has a thread of its own, seen from the embedding one. Operations are named as KVM's ioctls on a vCPU are; all but `run` have to wait
 * until the vCPU is not in the guest. They reject with VmmError `VMM_THREAD_ENDED` when the thread is no more.
 */
export class RemoteVcpu {
  readonly id: number;
  /** The thread has set itself up. */
  readonly ready: Promise<void>;
  readonly #port: VcpuThreadPort;
  /** For `kickVcpu` in another thread. */
  readonly kickHandle: VcpuKickHandle;
  readonly #onEnd: (id: number) => void;
  readonly #waiting = new Map<number, Waiting>();
  #next = SET_UP + 1;
  #ended: Error | undefined;
  #stats: ThreadStats = { processor: {}, loop: {} };

  /** @param onEnd told when the thread is gone, whoever ended it; perhaps more than once */
  constructor(id: number, port: VcpuThreadPort, kickHandle: VcpuKickHandle, onEnd: (id: number) => void) {
    this.id = id;
    this.#port = port;
    this.kickHandle = kickHandle;
    this.#onEnd = onEnd;
    this.ready = new Promise((resolve, reject) => this.#waiting.set(SET_UP, { resolve, reject }));
    // Whoever runs the machine hears of it; until then nobody may be listening.
    this.ready.catch(() => undefined);
    port.onMessage((message) => this.#answered(message as Answer));
    port.onEnd((cause) => {
      this.#end(new VmmError('VMM_THREAD_ENDED', `the thread of vCPU ${id} has ended: ${cause.message}`, { cause }));
      onEnd(id);
    });
  }

  /** KVM_RUN: resolves when the guest ends, at a kick, or when `VcpuThreads` stops all vCPUs. */
  async run(): Promise<ThreadExit> {
    const { exit, stats } = await this.#ask('run');
    this.#stats = stats;
    return exit;
  }

  /** Makes `run` resolve with `intr`, as `kickVcpu` does from other threads. */
  kick(): void {
    kickVcpu(this.kickHandle);
  }

  getRegs(): Promise<Regs> {
    return this.#ask('getRegs');
  }
  setRegs(regs: Regs): Promise<void> {
    return this.#ask('setRegs', regs);
  }
  getSregs(): Promise<Sregs> {
    return this.#ask('getSregs');
  }
  setSregs(sregs: Sregs): Promise<void> {
    return this.#ask('setSregs', sregs);
  }
  getMpState(): Promise<MpState> {
    return this.#ask('getMpState');
  }
  setMpState(state: MpState): Promise<void> {
    return this.#ask('setMpState', state);
  }
  getMsrs(indices: readonly number[]): Promise<bigint[]> {
    return this.#ask('getMsrs', indices);
  }
  setMsrs(entries: readonly { readonly index: number; readonly data: bigint }[]): Promise<number> {
    return this.#ask('setMsrs', entries);
  }

  /** Counters of the processor and of its run loop, as of the last `run` that ended. */
  stats(): ThreadStats {
    return this.#stats;
  }

  /** Ends the thread, whatever it is at. */
  async dispose(): Promise<void> {
    this.#end(new VmmError('VMM_THREAD_ENDED', `vCPU ${this.id} is gone with its machine`));
    await this.#port.terminate();
    this.#onEnd(this.id);
  }

  #ask<C extends VcpuCall>(call: C, ...args: Parameters<VcpuCalls[C]>): Promise<Awaited<ReturnType<VcpuCalls[C]>>> {
    if (this.#ended) return Promise.reject(this.#ended);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#port.post({ id, call, args });
    });
  }

  #answered(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    if ('error' in answer) {
      const { code, message } = answer.error;
      const error = Object.assign(new Error(message), code === undefined ? {} : { code });
      // A thread without a vCPU answers nothing else.
      if (answer.id === SET_UP)
        this.#end(new VmmError('VMM_THREAD_ENDED', `vCPU ${this.id} cannot be set up: ${message}`, { cause: error }));
      else waiting?.reject(error);
    } else waiting?.resolve(answer.value as never);
    this.#waiting.delete(answer.id);
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

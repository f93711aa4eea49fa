import { VCPU_LAYOUT } from '../mp-state.ts';
import { sharedBufferOf } from '../shared-buffer.ts';
import { Parking } from './parking.ts';

/** Where a vCPU's shared state is in the machine's memory: its `VCPU_LAYOUT`, and its `PARKING`. */
export type VcpuPlace = { readonly vcpu: number; readonly parking: number };

/** What to store to a processor's `exitRequest`: see x86-cpu's `ExitRequest`. */
const LOOK = -1;
const STAND_ASIDE = -2;

/** How any thread gets a vCPU's attention. What it is to look for is stored before. */
export class VcpuSignals {
  readonly #words: Int32Array;
  readonly #state: ReturnType<typeof VCPU_LAYOUT.view>;
  readonly #parking: Parking;
  readonly #immediateExit: number;

  constructor(memory: WebAssembly.Memory, { vcpu, parking }: VcpuPlace) {
    const buffer = sharedBufferOf(memory);
    this.#words = new Int32Array(buffer);
    this.#state = VCPU_LAYOUT.view(buffer, vcpu);
    this.#parking = new Parking({ buffer, byteOffset: parking });
    this.#immediateExit = (vcpu + VCPU_LAYOUT.offset.immediateExit) / 4;
  }

  /** An interrupt is there: the guest takes it at the next block boundary, and wakes if it has halted. */
  interrupt(): void {
    this.#leave();
    this.#parking.kick();
  }

  /** The vCPU is to stand at an instruction boundary, if it runs guest code. Any other request has it look for this one as well. */
  standAside(): void {
    const { exitRequest } = this.#state;
    if (exitRequest !== 0) Atomics.compareExchange(this.#words, exitRequest >> 2, 0, STAND_ASIDE);
  }

  /** The vCPU's thread is to leave the guest, or its sleep, and look what is wanted. */
  kick(): void {
    this.#leave(this.#state.kicked);
    this.#parking.kick();
  }

  /** As `struct kvm_run` has it: `run` is to return `intr`, and does so at the kick after this. */
  setImmediateExit(): void {
    Atomics.store(this.#words, this.#immediateExit, 1);
  }

  /** A vCPU whose processor is still being made has no words for it, and looks before it runs. */
  #leave(reason?: number): void {
    const { exitRequest } = this.#state;
    if (exitRequest === 0) return;
    if (reason) Atomics.store(this.#words, reason >> 2, 1);
    Atomics.store(this.#words, exitRequest >> 2, LOOK);
  }
}

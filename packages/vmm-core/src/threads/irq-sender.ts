import { createMessageSender } from '@tsvisor/irqchip';
import { defineLayout } from '@tsvisor/state-layout';
import type { ResampleEvent } from '../ports.ts';
import { sharedBufferOf } from '../shared-buffer.ts';
import { VcpuSignals } from './vcpu-signals.ts';
import { line, SharedWords } from './words.ts';

/** An interrupt message, as a route has it. */
export type Message = { readonly addressLo: number; readonly addressHi: number; readonly data: number };

/** What an irqfd's signals become. The embedding thread writes it: SEQUENCE is odd meanwhile. */
export const IRQFD_LAYOUT = defineLayout('irqfd', {
  sequence: line,
  /** 1: the rest is a message. 0: only the embedding thread knows. */
  direct: 'i32',
  addressLo: 'i32',
  addressHi: 'i32',
  data: 'i32',
});

const SEQUENCE = IRQFD_LAYOUT.offset.sequence / 4;
const DIRECT = IRQFD_LAYOUT.offset.direct / 4;
const ADDRESS_LO = IRQFD_LAYOUT.offset.addressLo / 4;
const ADDRESS_HI = IRQFD_LAYOUT.offset.addressHi / 4;
const DATA = IRQFD_LAYOUT.offset.data / 4;

/** What a thread needs to send an irqfd's interrupts by itself; can be posted. Numbers are addresses in the memory. */
export type IrqSenderSpec = {
  readonly memory: WebAssembly.Memory;
  readonly route: number;
  readonly irqchip: number;
  readonly vcpus: readonly number[];
  readonly parkings: readonly number[];
};

const wordsAt = (memory: WebAssembly.Memory, byteOffset: number): SharedWords =>
  new SharedWords({ buffer: sharedBufferOf(memory), byteOffset }, IRQFD_LAYOUT.size);

/** Says what the irqfd's signals are from now on; without a message they are left to the embedding thread. */
export function setIrqfdRoute(memory: WebAssembly.Memory, route: number, message: Message | undefined): void {
  const words = wordsAt(memory, route);
  words.add(SEQUENCE, 1);
  words.store(DIRECT, message ? 1 : 0);
  if (message) {
    words.store(ADDRESS_LO, message.addressLo);
    words.store(ADDRESS_HI, message.addressHi);
    words.store(DATA, message.data);
  }
  words.add(SEQUENCE, 1);
}

/**
 * Signals an irqfd from any thread. If its GSI is an interrupt message, it is in the local APIC when `signal` returns, as with
 * `kvm_arch_set_irq_inatomic`; else the irqfd's event is signalled, and the embedding thread does the rest.
 */
export class IrqSender {
  readonly #event: ResampleEvent;
  readonly #words: SharedWords;
  readonly #signalMsi: (addressLo: number, addressHi: number, data: number) => unknown;

  /** @param event the irqfd's, as this thread has it */
  constructor(spec: IrqSenderSpec, event: ResampleEvent) {
    const { memory, irqchip, vcpus, parkings } = spec;
    const buffer = sharedBufferOf(memory);
    const signals = vcpus.map((vcpu, cpu) => new VcpuSignals(memory, { vcpu, parking: parkings[cpu] }));
    this.#event = event;
    this.#words = wordsAt(memory, spec.route);
    const sender = createMessageSender({
      state: { buffer, byteOffset: irqchip },
      cpus: vcpus.length,
      onEvent: (cpu) => signals[cpu].interrupt(),
    });
    this.#signalMsi = (lo, hi, data) => sender.signalMsi(lo, hi, data);
  }

  signal(): void {
    const words = this.#words;
    for (;;) {
      const sequence = words.load(SEQUENCE);
      const direct = words.load(DIRECT);
      const addressLo = words.load(ADDRESS_LO);
      const addressHi = words.load(ADDRESS_HI);
      const data = words.load(DATA);
      if (sequence & 1 || words.load(SEQUENCE) !== sequence) continue;
      if (direct) this.#signalMsi(addressLo >>> 0, addressHi >>> 0, data >>> 0);
      else this.#event.signal();
      return;
    }
  }
}

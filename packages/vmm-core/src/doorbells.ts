import { EVENTFD_LAYOUT, EventFd, type EventFdOptions } from '@tsvisor/eventfd';
import { DOORBELL_LAYOUT, DoorbellTable, doorbellTableBytes, type IoEvent } from '@tsvisor/io-bus';
import type { Arena } from './arena.ts';
import type { ProcessorDoorbells } from './ports.ts';

/** How they are laid out, for generated code. */
export const MACHINE_DOORBELL_LAYOUT: ProcessorDoorbells['layout'] = {
  ...DOORBELL_LAYOUT,
  eventfd: { counter: EVENTFD_LAYOUT.counter, readers: EVENTFD_LAYOUT.readers },
};

/** The eventfds in a machine's memory, and the table by which its processors ring them. */
export class MachineDoorbells {
  readonly table: DoorbellTable;
  readonly #arena: Arena;
  readonly #address: number;
  readonly #events = new WeakMap<IoEvent, number>();

  constructor(arena: Arena, cpus: number) {
    this.#arena = arena;
    this.#address = arena.alloc(doorbellTableBytes(cpus), 64);
    this.table = new DoorbellTable({
      buffer: arena.memory.buffer,
      byteOffset: this.#address,
      cpus,
      addressOf: (event) => this.#events.get(event),
    });
  }

  createEventFd(options: Omit<EventFdOptions, 'memory'>): EventFd {
    const byteOffset = this.#arena.alloc(EVENTFD_LAYOUT.size, EVENTFD_LAYOUT.align);
    const event = EventFd.create({ ...options, memory: { buffer: this.#arena.memory.buffer, byteOffset } });
    this.#events.set(event, byteOffset);
    return event;
  }

  /** For the processor of a vCPU. */
  forCpu(cpu: number): ProcessorDoorbells {
    return { address: this.#address, reader: this.table.readerAddress(cpu), layout: MACHINE_DOORBELL_LAYOUT };
  }
}

/**
 * One processor's part of an irqchip whose other chips are on another thread. Local APICs meet in shared memory: an interrupt is an atomic `or` into
 * IRR, from whatever thread, and a wake-up. SDM vol. 3 §12.4
 */
import { ApicBus } from './apic-bus.ts';
import { CpuInterrupts, irqChipLayout, withoutTimers } from './irqchip.ts';
import { LocalApic } from './lapic.ts';
import { PIC_LAYOUT } from './pic.ts';
import type { Clock, StatePlace, Tsc } from './ports.ts';

export type ProcessorNodeOptions = {
  /** The state of the irqchip, which was created with as many processors and `processorsElsewhere`. */
  readonly state: StatePlace;
  readonly cpus: number;
  /** This processor. */
  readonly cpu: number;
  /** Its timer runs by this. */
  readonly clock: Clock;
  readonly tsc: (cpu: number) => Tsc;
  /** A processor may have something to take, this one or another. */
  readonly onEvent: (cpu: number) => void;
  /** The acknowledge cycle of the 8259A pair, where it is: the vector. */
  readonly acknowledgePic: () => number;
  /** The IOAPIC, where it is, is to hear of the end of an interrupt. */
  readonly endOfInterrupt: (vector: number, level: boolean) => void;
};

/** @throws IrqChipError */
export function createProcessorNode(options: ProcessorNodeOptions): CpuInterrupts {
  const { state, cpus, cpu, clock } = options;
  const layout = irqChipLayout(cpus);
  const place = (offset: number): StatePlace => ({ buffer: state.buffer, byteOffset: state.byteOffset + offset });
  const eoiVectors = new Uint32Array(state.buffer, state.byteOffset + layout.eoiVectors, 8);
  const bus = new ApicBus({
    onEoi: (vector, level) => {
      // Most interrupts are timers' and other processors', which no IOAPIC needs to hear of.
      if (level || Atomics.load(eoiVectors, vector >> 5) & (1 << (vector & 31))) options.endOfInterrupt(vector, level);
    },
  });
  const lapics = layout.lapic.map(
    (offset, id) =>
      new LocalApic({
        state: place(offset),
        id,
        clock: id === cpu ? clock : withoutTimers(clock),
        tsc: options.tsc(id),
        bus,
        bootstrap: id === 0,
        onEvent: () => options.onEvent(id),
      }),
  );
  for (const lapic of lapics) bus.attach(lapic);
  const { int } = PIC_LAYOUT.view(state.buffer, state.byteOffset + layout.pic);
  const pic = { pending: () => int[0] === 1, acknowledge: options.acknowledgePic };
  return new CpuInterrupts(lapics[cpu], pic, () => options.onEvent(cpu));
}

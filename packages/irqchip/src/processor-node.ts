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

/** All local APICs of an irqchip, as this thread sees them. */
function attachLapics(
  bus: ApicBus,
  { state, cpus, onEvent }: Pick<ProcessorNodeOptions, 'state' | 'cpus' | 'onEvent'>,
  clock: (cpu: number) => Clock,
  tsc: (cpu: number) => Tsc,
): LocalApic[] {
  const lapics = irqChipLayout(cpus).lapic.map(
    (offset, id) =>
      new LocalApic({
        state: { buffer: state.buffer, byteOffset: state.byteOffset + offset },
        id,
        clock: clock(id),
        tsc: tsc(id),
        bus,
        bootstrap: id === 0,
        onEvent: () => onEvent(id),
      }),
  );
  for (const lapic of lapics) bus.attach(lapic);
  return lapics;
}

/** Sends interrupt messages from a thread that has no processor. The irqchip was created with as many and `processorsElsewhere`. */
export function createMessageSender(
  options: Pick<ProcessorNodeOptions, 'state' | 'cpus' | 'onEvent'>,
): Pick<ApicBus, 'signalMsi'> {
  const bus = new ApicBus();
  const clock = withoutTimers({ monotonicNs: () => 0, setTimer: () => ({ [Symbol.dispose]: () => undefined }) });
  attachLapics(
    bus,
    options,
    () => clock,
    () => ({ deadlineNs: () => Number.POSITIVE_INFINITY }),
  );
  return bus;
}

/** @throws IrqChipError */
export function createProcessorNode(options: ProcessorNodeOptions): CpuInterrupts {
  const { state, cpus, cpu, clock } = options;
  const layout = irqChipLayout(cpus);
  const eoiVectors = new Uint32Array(state.buffer, state.byteOffset + layout.eoiVectors, 8);
  const bus = new ApicBus({
    onEoi: (vector, level) => {
      // Most interrupts are timers' and other processors', which no IOAPIC needs to hear of.
      if (level || Atomics.load(eoiVectors, vector >> 5) & (1 << (vector & 31))) options.endOfInterrupt(vector, level);
    },
  });
  const lapics = attachLapics(bus, options, (id) => (id === cpu ? clock : withoutTimers(clock)), options.tsc);
  const { int } = PIC_LAYOUT.view(state.buffer, state.byteOffset + layout.pic);
  const pic = { pending: () => int[0] === 1, acknowledge: options.acknowledgePic };
  return new CpuInterrupts(lapics[cpu], pic, () => options.onEvent(cpu));
}

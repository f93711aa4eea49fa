import type { CpuInterrupts } from '@tsvisor/irqchip';
import type { InterruptController } from './ports.ts';

/** A vCPU without an in-kernel irqchip: nothing ever arrives. */
export const noInterrupts: InterruptController = {
  pending: () => false,
  acknowledge: () => 0,
  takeNmi: () => false,
  readTpr: () => 0,
  writeTpr: () => undefined,
};

/** SVR after reset: what a processor is given when the request is gone by the acknowledge cycle (SDM vol. 3 §12.9). */
const SPURIOUS = 0xff;

/** One processor's share of an irqchip, as the processor asks for it. */
export function processorInterrupts(cpu: CpuInterrupts): InterruptController {
  return {
    pending: () => cpu.interruptPending(),
    acknowledge: () => {
      const vector = cpu.acknowledge();
      return vector < 0 ? SPURIOUS : vector;
    },
    takeNmi: () => cpu.takeNmi(),
    readTpr: () => cpu.lapic.cr8,
    writeTpr: (value) => {
      cpu.lapic.cr8 = value;
    },
  };
}

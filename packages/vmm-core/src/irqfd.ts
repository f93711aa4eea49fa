import type { IrqChip } from '@tsvisor/irqchip';
import type { IrqEvent, ResampleEvent } from './ports.ts';

/** `struct kvm_irqfd`. */
export type IrqfdOptions = {
  readonly gsi: number;
  /** Signalled by whoever wants the interrupt. */
  readonly event: IrqEvent;
  /**
   * KVM_IRQFD_FLAG_RESAMPLE, for level-triggered lines: the line stays up until the guest ends the interrupt; then this is signalled, and whoever
   * still wants one signals again.
   */
  readonly resample?: ResampleEvent;
};

/**
 * Turns the signals of an event into interrupts, until it is disposed or the event is closed (Linux, Documentation/virt/kvm/api.rst, KVM_IRQFD).
 * `ended` is called once, then.
 */
export function startIrqfd(chip: IrqChip, { gsi, event, resample }: IrqfdOptions, ended: () => void): Disposable {
  const line = chip.irqLine(gsi);
  const end = new AbortController();
  const listening =
    resample &&
    chip.onEnd(gsi, () => {
      line.setLevel(0);
      resample.signal();
    });
  const dispose = (): void => {
    if (end.signal.aborted) return;
    end.abort();
    listening?.[Symbol.dispose]();
    line.setLevel(0);
    line[Symbol.dispose]();
    ended();
  };
  const serve = async (): Promise<void> => {
    for (;;) {
      await event.readAsync({ signal: end.signal });
      if (end.signal.aborted) return;
      line.setLevel(1);
      if (!resample) line.setLevel(0);
    }
  };
  // Reading fails when the event is closed, or by the abort above.
  serve().catch(dispose);
  return { [Symbol.dispose]: dispose };
}

import { once } from 'node:events';
import type { EventFdHandle, IrqSenderSpec, Vm } from '@tsvisor/vmm-core';
import { startDoorbellThread } from '../doorbell-thread.ts';
import { RunnerError } from '../errors.ts';
import { haltedGuest } from './guest.ts';
import * as at from './layout.ts';
import { bootGuest, type DataWords, type Factory, runToEnd } from './machine.ts';
import { type Figures, us } from './measure.ts';
import { IRQFD } from './paths.ts';
import { mean, percentile } from './statistics.ts';

const GSI = 24;
const VECTOR = 0x51;
/** boot.rst, "64-bit Boot Protocol": __BOOT_CS. */
const BOOT_CS = 0x10;
const GATE_BYTES = 16;
const INTERRUPT_GATE = 0x8e00;
const MSI = 0xfee0_0000;
/** Between signals: for the processor to halt in, or for its thread to sleep, too. */
const PAUSE_NS = { 'halted-vcpu': 100e3, 'sleeping-vcpu': 3e6 } as const;
/** For the guest to come to its first halt. */
const BOOT_MS = 100;

/** An IDT with one gate (SDM vol. 3 §7.14.1), and what LIDT takes. */
function writeIdt(vm: Vm, words: DataWords): void {
  const gate = at.IDT + VECTOR * GATE_BYTES;
  const handler = at.KERNEL + at.HANDLER;
  vm.memory.writeU32(gate, (BOOT_CS << 16) | (handler & 0xffff));
  vm.memory.writeU32(gate + 4, (handler & 0xffff_0000) | INTERRUPT_GATE);
  words.store(at.IDTR, 0xfff | ((at.IDT & 0xffff) << 16));
  words.store(at.IDTR + 4, at.IDT >>> 16);
}

const LOOKS = 100;

/** Machine clock minus TSC, in ns: kvm-clock goes as fast as both, and says by how much it is ahead of the TSC. */
function clockMinusTsc(vm: Vm, words: DataWords): number {
  let [ahead, doubt] = [0, Number.POSITIVE_INFINITY];
  for (let i = 0; i < LOOKS; i++) {
    const before = vm.clock.monotonicNs();
    const { clockNs } = vm.getClock();
    const after = vm.clock.monotonicNs();
    if (after - before >= doubt) continue;
    doubt = after - before;
    ahead = clockNs - (before + after) / 2;
  }
  return words.load64(at.SYSTEM_TIME) - words.load64(at.TSC_TIMESTAMP) - ahead;
}

/** What the signaller's thread is given. Times are ns; `tscToClock` makes one of the machine's clock out of the guest's TSC. */
export type SignallerData = {
  readonly event: EventFdHandle;
  readonly sender: IrqSenderSpec;
  readonly data: DataWords['place'];
  readonly originNs: number;
  readonly tscToClock: number;
  readonly runNs: number;
  readonly pauseNs: number;
};
/** Of one signal: ns until the handler's first instruction, and until the call returned. */
export type Timing = { readonly totalNs: number; readonly signallerNs: number };

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function signalFromThread(data: SignallerData): Promise<Timing[]> {
  const [timings] = (await once(startDoorbellThread('signaller', data), 'message')) as [(Timing | undefined)[]];
  const answered = timings.filter((timing) => timing !== undefined);
  if (answered.length < timings.length) throw new RunnerError('RUNNER_MEASURE', 'the guest does not hear its interrupts');
  return answered;
}

/** From an irqfd's signal on a device's thread to the handler of a processor that has halted. */
export async function haltedVcpu(factory: Factory, form: keyof typeof PAUSE_NS, seconds: number): Promise<Figures> {
  const { machine, words } = await bootGuest(factory, haltedGuest());
  const { vm } = machine;
  try {
    writeIdt(vm, words);
    vm.setGsiRouting([{ gsi: GSI, to: 'msi', addressLo: MSI, addressHi: 0, data: VECTOR }]);
    const event = vm.createEventFd();
    const sender = vm.assignIrqfd({ gsi: GSI, event }).sender();
    if (sender === undefined) throw new RunnerError('RUNNER_MEASURE', 'the processor has no thread');
    const ended = runToEnd(machine, seconds * 1000);
    await pause(BOOT_MS);
    const timings = await signalFromThread({
      event: event.handle,
      sender,
      data: words.place,
      originNs: vm.clock.originNs,
      tscToClock: clockMinusTsc(vm, words),
      runNs: seconds * 1e9,
      pauseNs: PAUSE_NS[form],
    });
    words.store(at.STOP, 1);
    event.signal();
    await ended;
    const totals = timings.map(({ totalNs }) => totalNs);
    return {
      path: IRQFD,
      form,
      opsPerSecond: 1e9 / (mean(totals) ?? Number.NaN),
      p50us: us(percentile(totals, 0.5)),
      p99us: us(percentile(totals, 0.99)),
      signalsPerWake: 1,
      signallerP50us: us(
        percentile(
          timings.map(({ signallerNs }) => signallerNs),
          0.5,
        ),
      ),
    };
  } finally {
    await machine.dispose();
  }
}

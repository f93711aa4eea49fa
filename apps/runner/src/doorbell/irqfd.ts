import type { Vm } from '@tsvisor/vmm-core';
import { RunnerError } from '../errors.ts';
import { haltedGuest } from './guest.ts';
import * as at from './layout.ts';
import { bootGuest, type DataWords, type Factory, runToEnd } from './machine.ts';
import type { Figures } from './measure.ts';
import { IRQFD } from './paths.ts';
import { mean, percentile } from './statistics.ts';

const GSI = 24;
const VECTOR = 0x51;
/** boot.rst, "64-bit Boot Protocol": __BOOT_CS. */
const BOOT_CS = 0x10;
const GATE_BYTES = 16;
const INTERRUPT_GATE = 0x8e00;
/** Time between signals, for the processor to halt in; more than it waits awake, so that its thread sleeps. */
const PAUSE_MS = 2;
const PATIENCE_NS = 5e9;

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

type Sample = { readonly total: number; readonly signaller: number };

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** From an event's signal on this thread to the handler of a processor that had halted. */
export async function haltedVcpu(factory: Factory, seconds: number): Promise<Figures> {
  const { machine, words } = await bootGuest(factory, haltedGuest());
  const { vm } = machine;
  try {
    writeIdt(vm, words);
    vm.setGsiRouting([{ gsi: GSI, to: 'msi', addressLo: 0xfee0_0000, addressHi: 0, data: VECTOR }]);
    const event = vm.createEventFd();
    vm.assignIrqfd({ gsi: GSI, event });
    const ended = runToEnd(machine, seconds * 1000);
    const now = (): number => vm.clock.monotonicNs();
    const signal = async (): Promise<Sample> => {
      const before = words.load(at.ANSWER);
      const start = now();
      event.signal();
      const signalled = now();
      while (words.load(at.ANSWER) === before) {
        if (now() - start > PATIENCE_NS) throw new RunnerError('RUNNER_MEASURE', 'the guest does not hear interrupts');
        await turn();
      }
      return { total: words.load64(at.TICKS) + tscToClock - start, signaller: signalled - start };
    };
    await pause(500);
    const tscToClock = clockMinusTsc(vm, words);
    const samples: Sample[] = [];
    for (const end = now() + seconds * 1e9; now() < end; ) {
      await pause(PAUSE_MS);
      samples.push(await signal());
    }
    words.store(at.STOP, 1);
    event.signal();
    await ended;
    const totals = samples.map(({ total }) => total / 1000);
    return {
      path: IRQFD,
      form: 'halted-vcpu',
      opsPerSecond: 1e6 / (mean(totals) ?? Number.NaN),
      p50us: percentile(totals, 0.5) ?? Number.NaN,
      p99us: percentile(totals, 0.99) ?? Number.NaN,
      signalsPerWake: 1,
      signallerP50us:
        (percentile(
          samples.map(({ signaller }) => signaller),
          0.5,
        ) ?? Number.NaN) / 1000,
    };
  } finally {
    await machine.dispose();
  }
}

import type { Machine } from '@tsvisor/machines';
import { type Consumer, type Heard, startConsumer } from './consumer.ts';
import { idleGuest, streamingGuest } from './guest.ts';
import * as at from './layout.ts';
import { bootGuest, type DataWords, type Factory, runToEnd } from './machine.ts';
import type { DoorbellPath } from './paths.ts';
import { mean, percentile } from './statistics.ts';

/**
 * - `streaming`: one ring after the other; µs of a ring
 * - `idle-consumer`: each ring finds its consumer asleep; µs until the guest sees its answer
 * - `halted-vcpu`: each signal finds the processor halted since not long ago; µs until its handler
 * - `sleeping-vcpu`: the same after so long that the processor's thread sleeps
 */
export type Form = 'streaming' | 'idle-consumer' | 'halted-vcpu' | 'sleeping-vcpu';

export type Figures = {
  readonly path: string;
  readonly form: Form;
  readonly opsPerSecond: number;
  readonly p50us: number;
  readonly p99us: number;
  /** Signals for each time that they were taken. */
  readonly signalsPerWake: number;
  /** Of the instruction or the call that signals, where that is not all there is to it. */
  readonly signallerP50us?: number;
};

/** Rings of which each sample is the mean: with none shorter than what it costs to take it. */
const BATCH = { device: 10, eventfd: 1000 } as const;
/** Time to compile in, and for V8 to optimise what was compiled. */
const WARM_UP_NS = { least: 50e6, most: 400e6 } as const;
/** Until the consumer sleeps again. */
const PAUSE_NS = 100e3;
const NS_PER_US = 1000;

/** Connects the path's end in the host, which does nothing but count, as the doorbell of 2009 did. */
async function connect({ where, served }: DoorbellPath, { vm }: Machine, words: DataWords): Promise<Consumer> {
  if (served === 'eventfd') {
    const event = vm.createEventFd();
    vm.assignIoeventfd({ ...where, event });
    return startConsumer(event, words);
  }
  const heard: Heard = { signals: 0, wakes: 0 };
  const ring = (): void => {
    words.answer(1);
    if (words.load(at.PHASE) !== at.Phase.measured) return;
    heard.signals++;
    heard.wakes++;
  };
  const bus = where.bus === 'pio' ? vm.pio : vm.mmio;
  bus.register({ base: where.address, size: 4, name: 'doorbell' }, { read: () => 0, write: ring });
  return { heard: () => Promise.resolve(heard) };
}

async function run(factory: Factory, path: DoorbellPath, kernel: Uint8Array, seconds: number) {
  const { machine, words } = await bootGuest(factory, kernel);
  try {
    const runNs = seconds * 1e9;
    const warmUpNs = Math.min(Math.max(runNs, WARM_UP_NS.least), WARM_UP_NS.most);
    words.store64(at.WARM_UP_NS, warmUpNs);
    words.store64(at.RUN_NS, runNs);
    words.store64(at.PAUSE_NS, PAUSE_NS);
    const consumer = await connect(path, machine, words);
    await runToEnd(machine, (warmUpNs + runNs) / 1e6);
    const { signals, wakes } = await consumer.heard();
    const count = (words.load64(at.SAMPLES_END) - at.SAMPLES) / 4;
    return {
      ticks: words.load64(at.TICKS),
      rings: words.load64(at.RINGS),
      samples: words.samples(at.SAMPLES - at.DATA, count),
      signalsPerWake: signals / wakes,
    };
  } finally {
    await machine.dispose();
  }
}

export const us = (ns: number | undefined): number => (ns ?? Number.NaN) / NS_PER_US;

export async function streaming(factory: Factory, path: DoorbellPath, seconds: number): Promise<Figures> {
  const batch = BATCH[path.served];
  const { ticks, rings, samples, signalsPerWake } = await run(factory, path, streamingGuest(path, batch), seconds);
  return {
    path: path.name,
    form: 'streaming',
    opsPerSecond: rings / (ticks / 1e9),
    p50us: us(percentile(samples, 0.5)) / batch,
    p99us: us(percentile(samples, 0.99)) / batch,
    signalsPerWake,
  };
}

export async function idleConsumer(factory: Factory, path: DoorbellPath, seconds: number): Promise<Figures> {
  const { samples, signalsPerWake } = await run(factory, path, idleGuest(path), seconds);
  const signaller = samples.filter((_, i) => i % 2 === 0);
  const roundTrip = samples.filter((_, i) => i % 2 === 1);
  return {
    path: path.name,
    form: 'idle-consumer',
    opsPerSecond: 1e9 / (mean(roundTrip) ?? Number.NaN),
    p50us: us(percentile(roundTrip, 0.5)),
    p99us: us(percentile(roundTrip, 0.99)),
    signalsPerWake,
    signallerP50us: us(percentile(signaller, 0.5)),
  };
}

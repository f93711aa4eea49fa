import { availableParallelism } from 'node:os';
import type { Machine } from '@tsvisor/machines';
import { sharedBufferOf } from '@tsvisor/vmm-core';
import { RunnerError } from '../errors.ts';
import type { loadMachineFactory } from '../machine.ts';
import { ANSWER, DATA, MEMORY_BYTES } from './layout.ts';

export type Factory = Awaited<ReturnType<typeof loadMachineFactory>>;

/** For a machine that does not get as far as its guest's deadlines. */
const PATIENCE_MS = 30_000;
const THREADS = 2;

/** A machine of one processor, which has a thread, and a window on the words that it shares with this one. */
export async function bootGuest(factory: Factory, kernel: Uint8Array) {
  if (availableParallelism() < THREADS)
    throw new RunnerError('RUNNER_HOST', 'who rings and who answers need a processor each, and this host has one');
  const machine = await factory.create({
    kernel,
    cmdline: '',
    memoryBytes: MEMORY_BYTES,
    cpuModel: 'max',
    tier: 'jit',
    serial: [{ write: () => undefined }],
  });
  const { arena, memory } = machine.vm;
  const address = memory.hostAddress(DATA);
  if (address === undefined) throw new RunnerError('RUNNER_MEASURE', 'the guest has no memory where its data are');
  return { machine, words: new DataWords(sharedBufferOf(arena.memory), address) };
}

/** The guest's data page. */
export class DataWords {
  readonly place: { readonly buffer: SharedArrayBuffer; readonly byteOffset: number };
  readonly #words: Int32Array;
  readonly #wide: BigInt64Array;

  constructor(buffer: SharedArrayBuffer, byteOffset: number) {
    this.place = { buffer, byteOffset };
    this.#words = new Int32Array(buffer, byteOffset);
    this.#wide = new BigInt64Array(buffer, byteOffset);
  }

  load(offset: number): number {
    return Atomics.load(this.#words, offset / 4);
  }
  store(offset: number, value: number): void {
    Atomics.store(this.#words, offset / 4, value);
  }
  load64(offset: number): number {
    return Number(Atomics.load(this.#wide, offset / 8));
  }
  store64(offset: number, value: number): void {
    Atomics.store(this.#wide, offset / 8, BigInt(Math.round(value)));
  }
  /** Tells the guest of `count` signals that were heard. */
  answer(count: number): void {
    Atomics.add(this.#words, ANSWER / 4, count);
  }
  /** Unsigned words that the guest wrote while it ran, after its end. */
  samples(offset: number, count: number): Uint32Array {
    return new Uint32Array(this.place.buffer, this.place.byteOffset + offset, count).slice();
  }
}

/** Runs the guest until it powers off. @throws RunnerError RUNNER_MEASURE */
export async function runToEnd(machine: Machine, ms: number): Promise<void> {
  const timer = setTimeout(() => machine.stop(), ms + PATIENCE_MS);
  const { reason, message } = await machine.start();
  clearTimeout(timer);
  if (reason !== 'poweroff') throw new RunnerError('RUNNER_MEASURE', `the guest ended in '${message ?? reason}'`);
}

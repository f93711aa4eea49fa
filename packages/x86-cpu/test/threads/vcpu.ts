/** A processor's thread for locked.test.ts: runs the programs one after the other, each when the other processor has come to it, too. */
import { parentPort, workerData } from 'node:worker_threads';
import type { GuestMemoryAddresses } from '@tsvisor/mmu-ept-npt';
import { LongModeMachine } from '../system/long-mode.ts';
import { StopOthers, wordsOf } from './stop-others.ts';

export type Job = {
  readonly memory: WebAssembly.Memory;
  readonly start: number;
  readonly end: number;
  readonly attach: GuestMemoryAddresses;
  /** Address of `StopOthers`' words, and behind them that of how many processors have come. */
  readonly words: number;
  readonly cpu: number;
  readonly heat: number | undefined;
  /** Without it, locked instructions are not atomic. */
  readonly exclusive: boolean;
  /** How often generated code looks for others by itself; undefined: it always asks `StopOthers`. */
  readonly looks: number | undefined;
  readonly programs: readonly { readonly address: number; readonly code: Uint8Array }[];
};
export type Report = {
  readonly registers: readonly { readonly rcx: bigint; readonly rbp: bigint; readonly r8: bigint }[];
  /** Instructions that ran in compiled code. */
  readonly compiled: number;
};

export const CPUS = 2;
const COME = wordsOf(CPUS);
const WORDS = COME + 1;
const BUDGET = 1_000_000;
const LOOKS = 2000;

function serve(job: Job): Report {
  const { memory, cpu, programs, start, end, attach, heat, looks } = job;
  const words = new Int32Array(memory.buffer, job.words, WORDS);
  const others = new StopOthers(memory, job.words >> 2, cpu, CPUS, looks);
  const machine = new LongModeMachine({
    shared: { memory, start, end, attach },
    ...(heat === undefined ? {} : { heat }),
    ...(job.exclusive ? { exclusive: others } : {}),
  });
  others.announce(machine.processor.addresses.exitRequest);
  for (const { address, code } of programs) machine.write(address, code);
  let met = 0;
  const meet = (): void => {
    met += CPUS;
    if (Atomics.add(words, COME, 1) + 1 === met) Atomics.notify(words, COME);
    // Awake for a while, so that both begin at once.
    for (let looks = 0, come = 0; (come = Atomics.load(words, COME)) < met; looks++)
      if (looks > LOOKS) Atomics.wait(words, COME, come);
  };
  meet();
  const registers = programs.map(({ address }) => {
    machine.state.rip = BigInt(address);
    machine.state.halted = 0;
    meet();
    for (let reason = ''; reason !== 'halt'; ) {
      others.enterGuest();
      reason = machine.run(BUDGET);
      others.leaveGuest();
      if (reason === 'shutdown' || reason === 'error') throw new Error(`${reason} at ${machine.state.rip.toString(16)}`);
    }
    return { rcx: machine.gpr(1), rbp: machine.gpr(5), r8: machine.gpr(8) };
  });
  return { registers, compiled: Number(machine.state.compiled) };
}

if (parentPort !== null) parentPort.postMessage(serve(workerData as Job));

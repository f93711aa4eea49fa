/** What the embedding thread and a vCPU's thread say to each other. */
import { defineLayout } from '@tsvisor/state-layout';
import type { VcpuExit } from '../exits.ts';
import type { MpState } from '../mp-state.ts';
import type { ProcessorDoorbells, Regs, Sregs } from '../ports.ts';
import { line } from './words.ts';

/** Everything that a vCPU's thread needs to take part in its machine; can be posted. Numbers are addresses in the memory, unless said otherwise. */
export type VcpuSpec = {
  readonly id: number;
  readonly cpus: number;
  readonly memory: WebAssembly.Memory;
  readonly physRoot: number;
  readonly slotTable: number;
  /** What the thread may claim for its processor. */
  readonly claimStart: number;
  readonly claimEnd: number;
  readonly tscs: number;
  readonly kvmClock: number;
  /** None: there is no irqchip. */
  readonly irqchip: number | undefined;
  /** The `VCPU_LAYOUT` of each vCPU, and its `PARKING`. */
  readonly vcpus: readonly number[];
  readonly parkings: readonly number[];
  readonly mailboxes: number;
  readonly world: number;
  readonly control: number;
  /** The map of translated code that all share (`CodeSharing`). */
  readonly codeMap: number;
  readonly doorbells: ProcessorDoorbells;
  /** Ring and zones of coalesced writes. */
  readonly coalesced: number;
  /** Bytes for translations. */
  readonly codeBytes: number;
  /** When, by the host's clock, the machine's showed 0. */
  readonly originNs: number;
  /** Threads that the host can run at a time. */
  readonly parallelism: number;
};

/** What the embedding thread tells all vCPUs, at any time. */
export const CONTROL_LAYOUT = defineLayout('machine control', {
  /** 1: return from `run`. */
  stop: line,
  /** 1: address line 20 is held low. */
  a20Closed: line,
});

/** What a vCPU asks of the embedding thread: kinds of a mailbox's payload. */
export const Call = {
  PioRead: 1,
  PioWrite: 2,
  MmioRead: 3,
  MmioWrite: 4,
  MmioWrite64: 5,
  /** INTA: the vector of the 8259A pair. */
  AcknowledgePic: 6,
  /** An interrupt has ended: its vector is the address, its trigger mode the value. */
  EndOfInterrupt: 7,
  /** A hypercall of that number, with its first argument: whether it was a signal. */
  Hypercall: 8,
  /** Coalesced writes have waited long enough. */
  FlushCoalescedMmio: 9,
} as const;

/** Why a vCPU's thread is not in the guest any more. `stopped`: all were asked to. `intr`: this one was kicked. */
export type ThreadExit = Exclude<VcpuExit, { readonly reason: 'hlt' | 'pause' }> | { readonly reason: 'stopped' };

/** Counters of a vCPU's processor, and counts and times (ns) of its run loop. */
export type ThreadStats = {
  readonly processor: Readonly<Record<string, number>>;
  readonly loop: Readonly<Record<string, number>>;
};

/** What can be asked of a vCPU's thread while it is not in the guest. */
export type VcpuCalls = {
  readonly run: () => Promise<{ readonly exit: ThreadExit; readonly stats: ThreadStats }>;
  readonly getRegs: () => Regs;
  readonly setRegs: (regs: Regs) => void;
  readonly getSregs: () => Sregs;
  readonly setSregs: (sregs: Sregs) => void;
  readonly getMpState: () => MpState;
  readonly setMpState: (state: MpState) => void;
  readonly getMsrs: (indices: readonly number[]) => bigint[];
  readonly setMsrs: (entries: readonly { readonly index: number; readonly data: bigint }[]) => number;
};
export type VcpuCall = keyof VcpuCalls;

export type Question = { readonly id: number; readonly call: VcpuCall; readonly args: readonly unknown[] };
/** `id` 0: the thread has set itself up, or failed to. */
export type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: { readonly code?: string; readonly message: string } };

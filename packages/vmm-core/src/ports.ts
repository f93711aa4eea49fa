/** What the virtual machine core consumes: above all a processor, which it knows by these shapes only. */

import type { DOORBELL_LAYOUT } from '@tsvisor/io-bus';

export type IoLen = 1 | 2 | 4;

/** Registers of a device: offsets from the start of its range, unsigned values. */
export interface IoDevice {
  read: (offset: number, len: IoLen) => number;
  write: (offset: number, len: IoLen, value: number) => void;
}

/** What an irqfd reads, such as an eventfd: takes what was signalled, or waits for it. It rejects when there will be no more signals, or at the abort. */
export interface IrqEvent {
  readAsync: (options: { readonly signal: AbortSignal }) => Promise<unknown>;
}

/** What is signalled at the end of a level-triggered interrupt. It must not throw. */
export interface ResampleEvent {
  signal: () => void;
}

/** A thread that somebody started for a vCPU. Messages are cloned. */
export type VcpuThreadPort = {
  readonly post: (message: unknown) => void;
  readonly onMessage: (fn: (message: unknown) => void) => void;
  /** The thread has ended without being asked to. */
  readonly onEnd: (fn: (error: Error) => void) => void;
  /** Ends it, whatever it is at. Resolves when it is gone. */
  readonly terminate: () => Promise<void>;
};

/** `struct kvm_regs`. */
export type Regs = Record<
  | 'rax'
  | 'rbx'
  | 'rcx'
  | 'rdx'
  | 'rsi'
  | 'rdi'
  | 'rsp'
  | 'rbp'
  | 'r8'
  | 'r9'
  | 'r10'
  | 'r11'
  | 'r12'
  | 'r13'
  | 'r14'
  | 'r15'
  | 'rip'
  | 'rflags',
  bigint
>;

/** `struct kvm_segment`: the limit in bytes, already scaled by G. */
export type SegmentRegister = {
  base: bigint;
  limit: number;
  selector: number;
  type: number;
  present: number;
  dpl: number;
  db: number;
  s: number;
  l: number;
  g: number;
  avl: number;
  unusable: number;
};

/** `struct kvm_dtable`. */
export type DescriptorTable = { base: bigint; limit: number };

/** `struct kvm_sregs`, without the pending interrupts. */
export type Sregs = Record<'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss' | 'tr' | 'ldt', SegmentRegister> &
  Record<'gdt' | 'idt', DescriptorTable> &
  Record<'cr0' | 'cr2' | 'cr3' | 'cr4' | 'cr8' | 'efer' | 'apicBase', bigint>;

/** One access path of the processor: port or guest-physical address, unsigned values. */
export type ProcessorBus = {
  readonly read: (address: number, len: IoLen) => number;
  readonly write: (address: number, len: IoLen, value: number) => void;
};
export type ProcessorMmioBus = ProcessorBus & {
  /** 8 bytes in one, as unsigned halves. */
  readonly write64: (address: number, lo: number, hi: number) => void;
};

/** The interrupt hardware as a processor asks it. */
export type InterruptController = {
  readonly pending: () => boolean;
  /** Only called when `pending`. */
  readonly acknowledge: () => number;
  readonly takeNmi: () => boolean;
  readonly readTpr: () => number;
  readonly writeTpr: (value: number) => void;
};

/** Model-specific registers outside of the processor; halves of 64-bit values. False: there is none, or #GP. */
export type MsrDevice = {
  readonly read: (index: number, out: Uint32Array) => boolean;
  readonly write: (index: number, lo: number, hi: number) => boolean;
};

export type TimeStampCounter = {
  readonly read: (out: Uint32Array) => void;
  readonly write: (lo: number, hi: number) => void;
};

/** CPUID: EAX, EBX, ECX, EDX into `out`. */
export type CpuidSource = { readonly query: (leaf: number, subleaf: number, out: Uint32Array) => void };

/** The paging unit as a processor drives it; generated code calls the functions in `exports`. */
export type ProcessorMmu = {
  readonly exports: {
    readonly fill: CallableFunction;
    readonly probe: CallableFunction;
    readonly flushNonGlobal: CallableFunction;
    readonly flushPage: CallableFunction;
  };
  readonly stateAddress: number;
  readonly tlbAddress: number;
  readonly offsets: {
    readonly cr3: number;
    readonly mode: number;
    readonly flags: number;
    readonly pkru: number;
    readonly faultError: number;
    readonly gpaLo: number;
    readonly gpaHi: number;
    readonly kind: number;
    readonly host: number;
    readonly misses: number;
  };
  readonly flushAll: () => void;
  readonly flushNonGlobal: () => void;
  readonly flushPage: (vaLo: number, vaHi: number) => void;
  readonly loadPdptes: () => boolean;
  readonly protectCode: (hostPage: number) => void;
  readonly unprotectCode: (hostPage: number) => void;
};

/** What several processors that translate code from one memory share. */
export type CodeSharing = {
  /** Address of one i64 for each page of linear memory: a bit for each 64-byte granule that any of them may have translated; they set bits. */
  readonly mapAddress: number;
  /** A processor changed bytes that may have been translated. */
  readonly written: (hostAddress: number, length: number) => void;
};

/** Hypercalls that are a signal: number, and the first argument as unsigned halves; false if that one is none. */
export type ProcessorHypercalls = { readonly ring: (number: number, lo: number, hi: number) => boolean };

/** Doorbells in shared memory, for generated code: the table's address, that of the vCPU's own words, and how both are laid out. */
export type ProcessorDoorbells = {
  readonly address: number;
  readonly reader: number;
  readonly layout: typeof DOORBELL_LAYOUT & { readonly eventfd: { readonly counter: number; readonly readers: number } };
};

/** Where generated code does that by itself: threads/world-protocol.ts, by addresses in linear memory; see x86-cpu's `ExclusiveWords`. */
export type ExclusiveWords = {
  readonly exclusive: number;
  readonly id: number;
  readonly head: number;
  readonly states: number;
  readonly stateBytes: number;
  readonly processors: number;
  readonly me: number;
  readonly looks: number;
  readonly wait: () => void;
  readonly enterGuest: () => void;
};

export type ProcessorConfig = {
  readonly memory: WebAssembly.Memory;
  readonly alloc: (bytes: number, align: number) => number;
  readonly mmu: ProcessorMmu;
  readonly pio: ProcessorBus;
  readonly mmio: ProcessorMmioBus;
  readonly hypercalls: ProcessorHypercalls;
  readonly doorbells: ProcessorDoorbells;
  readonly interrupts: InterruptController;
  readonly msrs: MsrDevice;
  readonly tsc: TimeStampCounter;
  readonly cpuid: CpuidSource;
  readonly codeSharing?: CodeSharing;
  /** Where other processors run at the same time: between the two calls, they stand at instruction boundaries. */
  readonly exclusive?: {
    readonly enter: () => void;
    readonly leave: () => void;
    readonly serve: () => void;
    readonly words?: ExclusiveWords;
  };
  /** PAUSE instructions before `run` returns `pause`. */
  readonly pauseWindow?: number;
  /** The vCPUs take all processors of the host: what is done beside them for this one keeps them from running. */
  readonly hostFull?: boolean;
  /** Bytes for translations. */
  readonly codeBytes?: number;
};

/**
 * Why a processor gave up running: its budget was used or an exit was asked for, HLT, the PAUSE of one that waits for another, a triple fault, or
 * a defect of its own.
 */
export type ProcessorExit = { readonly reason: 'budget' | 'halt' | 'pause' | 'shutdown' | 'error'; readonly message?: string };

export type Processor = {
  /** Runs about `budget` instructions at most, taking interrupts as they come. */
  readonly run: (budget: number) => ProcessorExit;
  /** An event became pending: `run` returns at the next block boundary. */
  readonly requestExit: () => void;
  readonly getRegs: () => Regs;
  readonly setRegs: (regs: Regs) => void;
  readonly getSregs: () => Sregs;
  readonly setSregs: (sregs: Sregs) => void;
  /** The state after INIT. */
  readonly init: () => void;
  /** An INIT has to wait. */
  readonly initBlocked: boolean;
  /** Instructions retired. */
  readonly instructions: number;
  readonly stats: () => Record<string, number>;
  /** Memory that may hold translated code was written from outside of the processor. */
  readonly codeWritten: (hostAddress: number, length: number) => void;
  /** In linear memory, for others to look at or store to: see x86-cpu's `Processor.addresses`. */
  readonly addresses: { readonly [name in 'exitRequest' | 'kicked' | 'codeMap']: number };
  readonly dispose: () => void;
};

export type ProcessorFactory = (config: ProcessorConfig) => Processor;

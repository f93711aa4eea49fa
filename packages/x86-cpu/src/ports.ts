/** What the processor consumes. Providers fit these structurally; none of them imports this file. */

export type IoLength = 1 | 2 | 4;

/** Where other processors run at the same time, on other threads: what is no atomic operation of the host has them stop. */
export type ExclusiveAccess = {
  /**
   * Returns when all others stand at instruction boundaries, where they stay until `leave`. Meanwhile this processor's TLB may be flushed, and code that it
   * has translated retired, as at an instruction boundary.
   */
  readonly enter: () => void;
  readonly leave: () => void;
  /**
   * This processor stands at an instruction boundary: lets others be alone, and does what they asked for. Called at most a slice of `run` after they did, and soon if
   * they stored a negative value to `exitRequest` (`Processor.addresses`): -2, in place of 0 alone, if it is for their `enter`.
   */
  readonly serve: () => void;
  /** Where they meet, if generated code may do most of that by itself. */
  readonly words?: ExclusiveWords;
};

/**
 * The words by which processors make one another stand still: i32, by address. Whoever is to be alone stores its number in `exclusive`, then looks at
 * the others' states; whoever goes inside of generated code changes its state, then looks at `exclusive` and `head`.
 */
export type ExclusiveWords = {
  /** 0, or the number of who is alone, with bit 0 set while somebody sleeps until it is not. */
  readonly exclusive: number;
  /** This processor's number in `exclusive`: even, not 0. */
  readonly id: number;
  /** Counts the requests of another kind, which `serve` does. */
  readonly head: number;
  /**
   * Each processor's state, every `stateBytes` bytes: bit 0, it runs generated code; bit 1, somebody sleeps until that changes; above, how many requests
   * it has served. The word behind it is the address of its `exitRequest`, 0 until it has one.
   */
  readonly states: number;
  readonly stateBytes: number;
  readonly processors: number;
  /** Index of this one. */
  readonly me: number;
  /** How often generated code looks whether others have done what it waits for, before it calls one of these. */
  readonly looks: number;
  /** This processor has `exclusive`, and is inside: returns when all others are outside. */
  readonly wait: () => void;
  /** It is outside: goes inside as soon as nobody else has `exclusive`. */
  readonly enterGuest: () => void;
};

/** What several processors that translate code from one memory share, so that each hears of what another one changes. */
export type CodeSharing = {
  /**
   * Address of one i64 for each page of linear memory: a bit for each 64-byte granule that any of them may have translated. Processors set bits;
   * clearing them is the provider's.
   */
  readonly mapAddress: number;
  /** Bytes that may have been translated were changed by this processor: every processor, this one too, is to have `codeWritten` called. */
  readonly written: (hostAddress: number, length: number) => void;
};

/** The port I/O bus. Values are unsigned. */
export type PortBus = {
  read: (port: number, length: IoLength) => number;
  write: (port: number, length: IoLength, value: number) => void;
};

/** Guest-physical addresses that are not memory. 8-byte accesses come as two halves, low first. */
export type MmioBus = {
  read: (gpa: number, length: IoLength) => number;
  write: (gpa: number, length: IoLength, value: number) => void;
  /** 8 bytes in one, as unsigned halves. */
  write64: (gpa: number, lo: number, hi: number) => void;
};

/** What hypercalls do that are no doorbells in memory. */
export type HypercallBus = {
  /** Signals the event of a hypercall, if it has one: its number, and the first argument as unsigned halves. */
  ring: (number: number, lo: number, hi: number) => boolean;
};

/**
 * Writes that are only a signal, in shared memory: a hash table with linear probing of entries { key, value, answers, event }. An entry with
 * `event` 0 ends probing, one with `removed` does not count; the key is an address (port, hypercall number) with the bus from bit `busShift` on.
 * `answers` is the length of the writes meant, 0 for all; with `answersValue`, only those of `value`. Probing begins at the upper bits of
 * (keyLo ^ keyHi · high ^ (valueLo ^ valueHi) · value) · hash, with 0 for the value to find those that take any.
 */
export type DoorbellLayout = {
  readonly entries: number;
  readonly entryBytes: number;
  readonly key: number;
  readonly value: number;
  readonly answers: number;
  readonly event: number;
  readonly removed: number;
  readonly answersValue: number;
  readonly busShift: number;
  readonly buses: { readonly pio: number; readonly mmio: number; readonly hypercall: number };
  readonly multipliers: { readonly hash: number; readonly high: number; readonly value: number };
  /** In a vCPU's own words: odd while it looks or rings, 2 more for each signal; and the key of a page where it sees no doorbell. */
  readonly sequence: number;
  readonly hiddenPage: number;
  /** The counter of an event and its word for who sleeps until there is something to read: bit 0 and an epoch. */
  readonly eventfd: { readonly counter: number; readonly readers: number };
};
export type Doorbells = {
  readonly address: number;
  /** Of this vCPU's words. */
  readonly reader: number;
  readonly layout: DoorbellLayout;
};

/** The local APIC, as far as the processor core talks to it. */
export type InterruptController = {
  /** A maskable interrupt is waiting to be acknowledged. */
  pending: () => boolean;
  /** Takes the highest-priority one: its vector. Only called when `pending`. */
  acknowledge: () => number;
  /** Takes a pending non-maskable interrupt, if there is one. */
  takeNmi: () => boolean;
  /** Takes a pending system-management interrupt, if there is one; without this there are none. */
  takeSmi?: () => boolean;
  /** CR8: bits 7–4 of the task-priority register. */
  readTpr: () => number;
  writeTpr: (value: number) => void;
};

/** Model-specific registers that live outside the core: APIC base, x2APIC, pvclock. A 64-bit value is two u32 halves. */
export type MsrDevice = {
  /** Reads into `out` (low, high); false if there is no such register, or reading it faults. */
  read: (index: number, out: Uint32Array) => boolean;
  /** false: #GP. */
  write: (index: number, lo: number, hi: number) => boolean;
};

/** Time-stamp counter of this vCPU: ticks into `out` (low, high). */
export type TimeStampCounter = {
  read: (out: Uint32Array) => void;
  write: (lo: number, hi: number) => void;
};

/** Fills an array with random bits, for RDRAND and RDSEED. */
export type EntropySource = { fill: (out: Uint32Array<ArrayBuffer>) => void };

/** CPUID: fills `out` with EAX, EBX, ECX, EDX. */
export type CpuidSource = { query: (leaf: number, subleaf: number, out: Uint32Array) => void };

/** WebAssembly functions of the MMU, called by generated code; see `Mmu`. */
export type MmuFunctions = {
  /** (va: i64, access: i32) → host address, 0: permitted but not plain memory, -1: page fault. */
  readonly fill: CallableFunction;
  readonly probe: CallableFunction;
  /** () drops all translations but global ones; (va: i64) those of a page. */
  readonly flushNonGlobal: CallableFunction;
  readonly flushPage: CallableFunction;
};

/**
 * The memory-management unit of one vCPU: page walks and TLB fill over shared memory. The engine probes the TLB arrays inline:
 * per set (0 supervisor, 1 user, 2 supervisor with SMAP) a read, a write and a fetch array of 8192 entries
 * `{ i64 page, i32 addend, u32 }`, indexed by address bits 12–24. An entry of a device's page has the page's address xor 0x2800, which no access in it
 * matches, and the number of its guest-physical page in place of the addend.
 */
export type Mmu = {
  readonly exports: MmuFunctions;
  readonly stateAddress: number;
  readonly tlbAddress: number;
  /** Offsets in its state. */
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
  /** Loads the PDPTE registers; false if reserved bits are set. */
  readonly loadPdptes: () => boolean;
  readonly protectCode: (hostPage: number) => void;
  readonly unprotectCode: (hostPage: number) => void;
};

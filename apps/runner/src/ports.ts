/** Takes what a guest's UART transmits. Calls come one after the other; the bytes belong to the callee only during the call. */
export type SerialSink = { readonly write: (bytes: Uint8Array) => void };

/** Guest code that was compiled together. */
export type CompiledRegion = {
  readonly holds: (gva: bigint) => boolean;
  /** The guest's instructions beside what was made of them. */
  readonly text: () => string;
};

/** What the machine starts with: a kernel that is entered directly, or firmware at the reset vector. */
export type BootConfig =
  | {
      /** bzImage, ELF vmlinux or Multiboot kernel; not modified. */
      readonly kernel: Uint8Array;
      readonly initrd?: Uint8Array;
      readonly cmdline: string;
    }
  | { readonly firmware: Uint8Array };

export type MachineConfig = BootConfig & {
  /** RAM, bytes. */
  readonly memoryBytes: number;
  readonly cpus?: number;
  /** The processors take turns on one thread. */
  readonly inline?: boolean;
  /** Time is counted in instructions: two runs are the same. */
  readonly deterministic?: boolean;
  readonly cpuModel: string;
  /** `jit` compiles hot code; the interpreter runs the rest. */
  readonly tier?: 'auto' | 'jit' | 'interp';
  /** Called whenever guest code has been compiled. */
  readonly onRegion?: (region: CompiledRegion) => void;
  /** What the guest sends through ttyS0 and, if there is one, ttyS1. */
  readonly serial: readonly [SerialSink, SerialSink?];
  readonly testDevices?: readonly TestDevice[];
};

/** For test images: a port that ends the machine, one that takes characters, and what kvm-unit-tests raise interrupts with. */
export type TestDevice =
  | { readonly kind: 'isa-debug-exit'; readonly port: number; readonly size: 1 | 2 | 4 }
  | { readonly kind: 'isa-debugcon'; readonly port: number; readonly sink: SerialSink }
  | { readonly kind: 'pc-testdev' };

/**
 * How a run of a guest ended. `error`: the machine could not go on; `message` says why. `exit`: the guest wrote to an exit port; `status`
 * is what follows from it, up to 32 bits.
 */
export type GuestExit = {
  readonly reason: 'poweroff' | 'reset' | 'triple-fault' | 'stopped' | 'error' | 'exit';
  readonly message?: string;
  readonly status?: number;
};

export type GuestMachine = {
  /** Runs until the guest ends or `stop` is called, yielding to the event loop between slices. */
  readonly start: () => Promise<GuestExit>;
  /** Queues bytes for a UART's receiver; nothing is lost while the guest is slow to read. */
  readonly sendSerial: (port: 0 | 1, bytes: Uint8Array) => void;
  /** Makes `start` resolve with `stopped`, soon. */
  readonly stop: () => void;
  readonly stats: () => Record<string, number | string>;
  readonly dispose: () => void | Promise<void>;
};

/**
 * Makes machines. An error with a `code` that `create` rejects with is about the user's input: its message is one line for a person.
 */
export type MachineFactory = { readonly create: (config: MachineConfig) => Promise<GuestMachine> };

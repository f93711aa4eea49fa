import type { VcpuThreadPort, Vm } from '@tsvisor/vmm-core';
import type { EngineOptions, SerialSink } from './ports.ts';
import type { TestDevice } from './test-device.ts';
import type { VcpuThreadData } from './vcpu.ts';

/** What the machine starts with: a kernel that is entered directly, or firmware at the reset vector. */
export type BootConfig =
  | {
      /** bzImage, ELF vmlinux or Multiboot kernel; not modified. */
      readonly kernel: Uint8Array;
      /** Of a Multiboot kernel: its module. */
      readonly initrd?: Uint8Array;
      readonly cmdline: string;
    }
  | {
      /** A ROM of 64 KiB to 16 MiB, whole multiples of 64 KiB. It ends at 4 GiB; its last 128 KiB also at 1 MiB. */
      readonly firmware: Uint8Array;
    };

export type MachineConfig = EngineOptions &
  BootConfig & {
    /** RAM, bytes: whole pages. */
    readonly memoryBytes: number;
    /** Processors, 1 to 254; by default 1. */
    readonly cpus?: number;
    /**
     * Gives each processor a thread; without it they take turns on this one. `parallelism`: threads that the host can run at a time.
     */
    readonly threads?: {
      /** Starts a thread that calls `serveMachineVcpu` with this (`@tsvisor/machines/vcpu`). */
      readonly start: (data: VcpuThreadData) => VcpuThreadPort;
      readonly parallelism: number;
    };
    /**
     * Time is counted in instructions, a nanosecond each, the processors take turns and compile on this thread, and random numbers are always the same: two
     * runs of a guest are identical as long as nothing is sent to it.
     */
    readonly deterministic?: boolean;
    /** A name of the engine's models. */
    readonly cpuModel: string;
    /** What the guest sends through ttyS0 and, if there is to be one, ttyS1. */
    readonly serial: readonly [SerialSink, SerialSink?];
    readonly testDevices?: readonly TestDevice[];
  };

/**
 * How a run of a guest ended. `error`: the machine could not go on, `message` says why; `exit`: the guest wrote to an exit port, `status` is
 * what follows from it, odd, up to 32 bits.
 */
export type GuestExit = {
  readonly reason: 'poweroff' | 'reset' | 'triple-fault' | 'stopped' | 'error' | 'exit';
  readonly message?: string;
  readonly status?: number;
};

/** A machine with its guest loaded. */
export type Machine = {
  /** The virtual machine: its buses, doorbells, interrupts and memory, for devices of one's own. */
  readonly vm: Vm;
  /**
   * Runs until the guest ends or `stop` or `dispose` is called, yielding to the event loop every few milliseconds.
   * @throws what a device throws; VmmError `VMM_THREAD_ENDED`; MachineError `MACHINES_DISPOSED`
   */
  readonly start: () => Promise<GuestExit>;
  /** Queues bytes for a UART's receiver; they wait until the guest reads. */
  readonly sendSerial: (port: 0 | 1, bytes: Uint8Array) => void;
  /** Makes `start` resolve with `stopped`, soon; the next one, if there is none now. */
  readonly stop: () => void;
  /** Counters and times; names say the unit where there is one. */
  readonly stats: () => Record<string, number | string>;
  /** Ends everything. Resolves when threads are gone. */
  readonly dispose: () => Promise<void>;
};

export type MachineFactory = {
  /** @throws MachineError, BootError: the input; KvmError ENOMEM: the host gives no memory */
  readonly create: (config: MachineConfig) => Promise<Machine>;
};

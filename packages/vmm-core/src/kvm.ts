import { createArena } from './arena.ts';
import { createMachineClock } from './clock.ts';
import { KvmError } from './errors.ts';
import { type Host, systemHost } from './host.ts';
import type { ProcessorFactory } from './ports.ts';
import type { StartVcpuThread } from './threads/vcpu-threads.ts';
import { Vm, type VmParts } from './vm.ts';

export type KvmOptions = {
  /** Makes the processors, by x86-cpu's `createProcessor` or another one of its shape. */
  readonly createProcessor: ProcessorFactory;
  /** Time and waiting; default: those of the JavaScript engine. */
  readonly host?: Host;
};

export type VmOptions = Pick<VmParts, 'onUnclaimedPort' | 'onUnclaimedMemory'> & {
  /** Gives each vCPU a thread. */
  readonly threads?: { readonly start: StartVcpuThread; readonly parallelism: number };
  /** Bytes of guest memory that slots will be made of; linear memory for it is set aside, not touched. */
  readonly memoryBytes: number;
  /** Bytes for processors, their translations and the chips. Default: what that many processors need. */
  readonly overheadBytes?: number;
  /** Processors there can be, 1–254. Default 1. */
  readonly cpus?: number;
};

/** The version that KVM_GET_API_VERSION has had since Linux 2.6.22. */
export const KVM_API_VERSION = 12;

const MiB = 2 ** 20;
const MAX_CPUS = 254;
/** Tables of a processor, beside its translations; and of all that there is one of. */
const CPU_OVERHEAD = 16 * MiB;
const MACHINE_OVERHEAD = 64 * MiB;
/** For translations: of one processor at most, of all of them together, of one at least. */
const MOST_CODE = 32 * MiB;
const ALL_CODE = 256 * MiB;
const LEAST_CODE = 2 * MiB;
const codeBytesOf = (cpus: number): number => Math.max(LEAST_CODE, Math.min(MOST_CODE, Math.floor(ALL_CODE / cpus / MiB) * MiB));

/** Capabilities by KVM's names in camelCase, and what checkExtension says of them. */
const EXTENSIONS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    irqchip: 1,
    userMemory: 1,
    nrMemslots: 512,
    nrVcpus: Math.min(globalThis.navigator?.hardwareConcurrency ?? 1, MAX_CPUS),
    maxVcpus: MAX_CPUS,
    extCpuid: 1,
    pit2: 1,
    irqRouting: 1024,
    signalMsi: 1,
    readonlyMem: 1,
    destroyMemoryRegionWorks: 1,
    tscDeadlineTimer: 1,
    ioeventfd: 1,
    ioeventfdNoLength: 1,
    ioeventfdAnyLength: 1,
    irqfd: 1,
    irqfdResample: 1,
    mpState: 1,
    coalescedMmio: 1,
    coalescedPio: 1,
  }),
);

/** What /dev/kvm is to a VMM: the place where virtual machines come from. */
export class Kvm {
  readonly host: Host;
  readonly #options: KvmOptions;
  readonly #vms = new Set<Vm>();

  constructor(options: KvmOptions) {
    this.#options = options;
    this.host = options.host ?? systemHost;
  }

  getApiVersion(): number {
    return KVM_API_VERSION;
  }

  /** KVM_CHECK_EXTENSION: 0 for what is not there, known or not. */
  checkExtension(name: string): number {
    return EXTENSIONS.get(name) ?? 0;
  }

  /**
   * KVM_CREATE_VM.
   * @throws KvmError EINVAL, ENOMEM when the host or the 4 GiB of linear memory do not give that much
   */
  createVm(options: VmOptions): Vm {
    const { memoryBytes, cpus = 1, threads, ...hooks } = options;
    const codeBytes = codeBytesOf(cpus);
    const { overheadBytes = MACHINE_OVERHEAD + cpus * (CPU_OVERHEAD + codeBytes) } = options;
    if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS)
      throw new KvmError('EINVAL', `${cpus} processors: 1–${MAX_CPUS} are possible`);
    const vm = new Vm({
      arena: createArena({ overheadBytes, guestBytes: memoryBytes }),
      clock: createMachineClock(this.host),
      createProcessor: this.#options.createProcessor,
      cpus,
      codeBytes,
      cpuBytes: CPU_OVERHEAD,
      ...(threads && { threads: { ...threads, host: this.host } }),
      onDispose: (disposed) => this.#vms.delete(disposed),
      ...hooks,
    });
    this.#vms.add(vm);
    return vm;
  }

  /** Ends all virtual machines. Resolves when their threads are gone. */
  async dispose(): Promise<void> {
    await Promise.all([...this.#vms].map((vm) => vm.dispose()));
  }
}

import type { EventFd, EventFdOptions } from '@tsvisor/eventfd';
import {
  COALESCED_BYTES,
  CoalescedMmio,
  type CoalescedMmioZone,
  createHypercallBus,
  createMmioBus,
  createPioBus,
  type HypercallBus,
  type IoBus,
  IoBusError,
  type IoEvent,
  type IoEventFd,
  type UnclaimedHook,
} from '@tsvisor/io-bus';
import { createIrqChip, type GsiRoute, type IrqChip, IrqChipError, irqChipLayout } from '@tsvisor/irqchip';
import {
  type ClockReading,
  createKvmClock,
  createTscBank,
  type KvmClock,
  KvmClockError,
  kvmClockLayout,
  TSC_LAYOUT,
  type TscBank,
} from '@tsvisor/kvmclock';
import { GuestMemory, MemoryError } from '@tsvisor/mmu-ept-npt';
import type { Arena } from './arena.ts';
import type { MachineClock } from './clock.ts';
import { cpuTime } from './cpu-time.ts';
import { MachineDoorbells } from './doorbells.ts';
import { type Errno, KvmError } from './errors.ts';
import type { SystemEvent } from './exits.ts';
import { type IrqfdOptions, startIrqfd } from './irqfd.ts';
import { VCPU_LAYOUT } from './mp-state.ts';
import type { CpuidSource, ProcessorFactory } from './ports.ts';
import { createProcessorMmu } from './processor-mmu.ts';
import { SharedCode } from './shared-code.ts';
import { IRQFD_LAYOUT, type IrqSenderSpec, type Message, setIrqfdRoute } from './threads/irq-sender.ts';
import type { RemoteVcpu } from './threads/remote-vcpu.ts';
import { VcpuThreads, type VcpuThreadsParts } from './threads/vcpu-threads.ts';
import { Vcpu } from './vcpu.ts';

/** `struct kvm_userspace_memory_region`; sizes and addresses in bytes. */
export type UserMemoryRegion = {
  readonly slot: number;
  readonly guestPhysAddr: number;
  /** 0 deletes the slot. */
  readonly memorySize: number;
  /** KVM_MEM_READONLY, KVM_MEM_LOG_DIRTY_PAGES. */
  readonly flags?: { readonly readOnly?: boolean; readonly logDirtyPages?: boolean };
  /** Address in the virtual machine's linear memory; left out, the memory is new and zero. */
  readonly userspaceAddr?: number;
};

/** `struct kvm_ioeventfd`. A hypercall's number is its address, its first argument a value of 8 bytes. */
export type Ioeventfd = IoEventFd & { readonly bus: 'pio' | 'mmio' | 'hypercall'; readonly event: IoEvent };

/** An irqfd that is there until it is disposed. */
export type Irqfd = Disposable & {
  /**
   * For `IrqSender`, with which other threads send its interrupts by themselves. Undefined where the vCPUs have no threads, and for a resampling
   * irqfd. Its place stays its own: the memory is not used again.
   */
  readonly sender: () => IrqSenderSpec | undefined;
};

export type VmParts = {
  readonly arena: Arena;
  readonly clock: MachineClock;
  readonly createProcessor: ProcessorFactory;
  readonly cpus: number;
  /** For the translations of each vCPU. */
  readonly codeBytes: number;
  /** Of each vCPU, beside those. */
  readonly cpuBytes: number;
  /** Gives each vCPU a thread (`startVcpu`); without it they run where the machine does (`createVcpu`). */
  readonly threads?: Pick<VcpuThreadsParts, 'start' | 'parallelism' | 'host'>;
  /** Told of accesses that no device claims. */
  readonly onUnclaimedPort?: UnclaimedHook;
  readonly onUnclaimedMemory?: UnclaimedHook;
  /** Told when the machine is disposed of. */
  readonly onDispose?: (vm: Vm) => void;
};

const BUS_PORTS = { picMaster: 0x20, picSlave: 0xa0, elcr: 0x4d0, pit: 0x40, systemControl: 0x61 } as const;
const PAGE = 4096;
/** A lock that is free soon is not worth giving up the processor for. */
const PAUSE_WINDOW = 64;
const IOAPIC_ADDRESS = 0xfec0_0000;

/** One virtual machine. Operations are named as KVM's ioctls on a VM are. */
export class Vm {
  readonly arena: Arena;
  readonly clock: MachineClock;
  readonly cpus: number;
  readonly memory: GuestMemory;
  readonly pio: IoBus;
  readonly mmio: IoBus;
  readonly hypercall: HypercallBus;
  /** Called when a vCPU that may be halted has something to do. */
  onWake: (() => void) | undefined;
  readonly #createProcessor: ProcessorFactory;
  readonly #vcpus = new Map<number, Vcpu>();
  readonly #tscs: TscBank;
  readonly #kvmClock: KvmClock;
  readonly #doorbells: MachineDoorbells;
  readonly #coalesced: CoalescedMmio;
  /** KVM's slot numbers are the caller's, the memory's are its own. */
  readonly #slots = new Map<number, number>();
  /** Where there can be several vCPUs. */
  readonly #sharedCode: SharedCode | undefined;
  readonly #mmus: ReturnType<typeof createProcessorMmu>[] = [];
  readonly #codeBytes: number;
  /** The irqfds by their events. */
  readonly #irqfds = new Map<IrqfdOptions['event'], Irqfd & { readonly reroute: () => void }>();
  #irqchip: IrqChip | undefined;
  #irqchipState = 0;
  readonly #threads: VcpuThreads | undefined;
  #hasPit = false;
  #systemEvent: SystemEvent | undefined;
  readonly #onDispose: ((vm: Vm) => void) | undefined;
  #disposed: Promise<void> | undefined;

  constructor(parts: VmParts) {
    this.#onDispose = parts.onDispose;
    this.arena = parts.arena;
    this.clock = parts.clock;
    this.cpus = parts.cpus;
    this.#createProcessor = parts.createProcessor;
    this.memory = new GuestMemory({
      memory: parts.arena.memory,
      alloc: parts.arena.alloc,
      onCodeWrite: (hostAddress, length) => {
        if (this.#threads) this.#threads.codeWritten(hostAddress, length);
        else if (this.#sharedCode) this.#sharedCode.written(hostAddress, length);
        else for (const vcpu of this.#vcpus.values()) vcpu.processor.codeWritten(hostAddress, length);
      },
      onMapChange: () => {
        this.#threads?.mapChanged();
        for (const mmu of this.#mmus) mmu.flushAll();
      },
    });
    this.#doorbells = new MachineDoorbells(parts.arena, parts.cpus);
    const doorbells = this.#doorbells.table;
    const { onUnclaimedPort, onUnclaimedMemory } = parts;
    const coalescedState = { buffer: parts.arena.memory.buffer, byteOffset: parts.arena.alloc(COALESCED_BYTES, 64) };
    const coalesced = new CoalescedMmio(coalescedState, parts.cpus);
    this.#coalesced = coalesced;
    this.pio = createPioBus({ doorbells, coalesced, ...(onUnclaimedPort && { onUnclaimed: onUnclaimedPort }) });
    this.mmio = createMmioBus({ doorbells, coalesced, ...(onUnclaimedMemory && { onUnclaimed: onUnclaimedMemory }) });
    this.hypercall = createHypercallBus({ doorbells });
    const { cpus, clock } = parts;
    this.#codeBytes = parts.codeBytes;
    if (cpus > 1 && !parts.threads) this.#sharedCode = new SharedCode(parts.arena);
    const place = (bytes: number) => ({ buffer: parts.arena.memory.buffer, byteOffset: parts.arena.alloc(bytes, 64) });
    const tscState = place(cpus * TSC_LAYOUT.size);
    this.#tscs = createTscBank({ state: tscState, cpus, clock, onChange: (cpu) => this.#tscMoved(cpu) });
    const clockState = place(kvmClockLayout(cpus).size);
    this.#kvmClock = createKvmClock({ state: clockState, cpus, clock, memory: this.memory, tsc: this.#tscs });
    if (parts.threads)
      this.#threads = new VcpuThreads({
        ...parts,
        ...parts.threads,
        memory: this.memory,
        pio: this.pio,
        mmio: this.mmio,
        hypercalls: this.hypercall,
        doorbells: this.#doorbells,
        coalesced: { bus: this.#coalesced, state: coalescedState.byteOffset },
        tscs: tscState.byteOffset,
        kvmClock: clockState.byteOffset,
        irqchip: () => this.#irqchip && { chip: this.#irqchip, state: this.#irqchipState },
      });
  }

  /** Deadlines and clock pages that were computed from a TSC that has been set since. */
  #tscMoved(cpu: number): void {
    // A vCPU with a thread has its timer there, and sets its own TSC.
    if (!this.#threads) this.#irqchip?.cpus[cpu].lapic.timer.retime();
    this.#kvmClock.refresh();
  }

  /**
   * KVM_SET_USER_MEMORY_REGION: creates, moves, deletes a slot or changes its flags.
   * @throws KvmError EINVAL, ENOMEM
   */
  setUserMemoryRegion(region: UserMemoryRegion): void {
    const { slot, guestPhysAddr: gpa, memorySize: bytes, flags = {}, userspaceAddr } = region;
    const present = this.#slots.get(slot);
    const options = { readOnly: flags.readOnly ?? false, logDirty: flags.logDirtyPages ?? false };
    mapErrors(() => {
      if (present === undefined) {
        if (bytes === 0) throw new KvmError('EINVAL', `there is no memory slot ${slot} to delete`);
        this.#slots.set(slot, this.#createSlot({ gpa, bytes, ...options }, userspaceAddr));
      } else if (bytes === 0) {
        this.memory.deleteSlot(present);
        this.#slots.delete(slot);
      } else this.#changeSlot(present, region, options);
    });
  }

  #createSlot(
    slot: { gpa: number; bytes: number; readOnly: boolean; logDirty: boolean },
    hostAddress: number | undefined,
  ): number {
    if (hostAddress !== undefined) return this.memory.createSlot({ ...slot, hostAddress });
    const address = this.arena.allocGuest(slot.bytes, PAGE);
    try {
      return this.memory.createSlot({ ...slot, hostAddress: address });
    } catch (error) {
      this.arena.undoAllocGuest(address);
      throw error;
    }
  }

  #changeSlot(present: number, region: UserMemoryRegion, options: { readOnly: boolean; logDirty: boolean }): void {
    const info = this.memory.slots().find((candidate) => candidate.slot === present);
    const sameHost = region.userspaceAddr === undefined || region.userspaceAddr === info?.hostAddress;
    // KVM: size and host address of a slot are fixed, and so is KVM_MEM_READONLY.
    if (info?.bytes !== region.memorySize || !sameHost || info.readOnly !== options.readOnly)
      throw new KvmError('EINVAL', `memory slot ${region.slot} exists: only its address and dirty logging can change`);
    if (info.gpa !== region.guestPhysAddr) this.memory.moveSlot(present, region.guestPhysAddr);
    if (info.logDirty !== options.logDirty) this.memory.setSlotFlags(present, { logDirty: options.logDirty });
  }

  /**
   * KVM_GET_DIRTY_LOG: one bit per page of the slot, lowest page first; the log starts anew.
   * @throws KvmError ENOENT when the slot does not exist or is not logged
   */
  getDirtyLog(slot: number): Uint32Array {
    const number = this.#slots.get(slot);
    const info = this.memory.slots().find((candidate) => candidate.slot === number);
    if (number === undefined || !info?.logDirty) throw new KvmError('ENOENT', `memory slot ${slot} is not logged`);
    return this.memory.takeDirtyLog(number);
  }

  /**
   * KVM_CREATE_IRQCHIP: 8259A pair, IOAPIC and local APICs where a PC has them.
   * @throws KvmError EEXIST, EINVAL after the first vCPU, EBUSY when a device sits at one of their addresses
   */
  createIrqchip(): IrqChip {
    if (this.#irqchip !== undefined) throw new KvmError('EEXIST', 'the virtual machine has its irqchip already');
    if (this.#vcpus.size > 0) throw new KvmError('EINVAL', 'an irqchip comes before the first vCPU');
    this.#irqchipState = this.arena.alloc(irqChipLayout(this.cpus).size, 64);
    const chip = createIrqChip({
      state: { buffer: this.arena.memory.buffer, byteOffset: this.#irqchipState },
      processorsElsewhere: this.#threads !== undefined,
      clock: this.clock,
      cpus: this.cpus,
      tsc: (cpu) => this.#tscs.deadlinePort(cpu),
      onEvent: (cpu) => {
        this.#vcpus.get(cpu)?.kick();
        this.#threads?.interrupt(cpu);
        this.onWake?.();
      },
    });
    const { devices } = chip;
    this.#place([
      () => this.pio.register({ base: BUS_PORTS.picMaster, size: 2, name: 'pic-master', width: 1 }, devices.picMaster),
      () => this.pio.register({ base: BUS_PORTS.picSlave, size: 2, name: 'pic-slave', width: 1 }, devices.picSlave),
      () => this.pio.register({ base: BUS_PORTS.elcr, size: 2, name: 'elcr', width: 1 }, devices.elcr),
      () => this.mmio.register({ base: IOAPIC_ADDRESS, size: 4096, name: 'ioapic' }, devices.ioapic),
    ]);
    this.#irqchip = chip;
    return chip;
  }

  /**
   * KVM_CREATE_PIT2: the 8254 and port 0x61.
   * @throws KvmError ENXIO without an irqchip, EEXIST, EBUSY
   */
  createPit2(): void {
    const { devices } = this.irqchip;
    if (this.#hasPit) throw new KvmError('EEXIST', 'the virtual machine has its 8254 already');
    this.#place([
      () => this.pio.register({ base: BUS_PORTS.pit, size: 4, name: 'pit', width: 1 }, devices.pit),
      () => this.pio.register({ base: BUS_PORTS.systemControl, size: 1, name: 'port-61', width: 1 }, devices.systemControl),
    ]);
    this.#hasPit = true;
  }

  /** All of the registrations or none. */
  #place(registrations: readonly (() => Disposable)[]): void {
    const done: Disposable[] = [];
    try {
      for (const register of registrations) done.push(register());
    } catch (cause) {
      for (const registration of done) registration[Symbol.dispose]();
      if (!(cause instanceof IoBusError)) throw cause;
      throw new KvmError('EBUSY', cause.message, { cause });
    }
  }

  /** @throws KvmError ENXIO when there is none */
  get irqchip(): IrqChip {
    if (this.#irqchip === undefined) throw new KvmError('ENXIO', 'the virtual machine has no in-kernel irqchip');
    return this.#irqchip;
  }

  /** KVM_IRQ_LINE_STATUS: sets a GSI; returns how many processors it reached, 0 when coalesced, negative when masked. */
  irqLine(gsi: number, level: 0 | 1): number {
    return this.irqchip.setIrq(gsi, level);
  }

  /** KVM_SIGNAL_MSI. */
  signalMsi(addressLo: number, addressHi: number, data: number): number {
    return this.irqchip.signalMsi(addressLo, addressHi, data);
  }

  /**
   * KVM_IRQFD: signals of an event become interrupts. Disposing it, or closing the event, takes it away again.
   * @throws KvmError ENXIO without an irqchip, EBUSY when the event has its irqfd already, EINVAL
   */
  assignIrqfd(irqfd: IrqfdOptions): Irqfd {
    const { irqchip } = this;
    const { event, gsi, resample } = irqfd;
    if (this.#irqfds.has(event)) throw new KvmError('EBUSY', `the event for GSI ${gsi} has its irqfd already`);
    return mapErrors(() => {
      let spec: IrqSenderSpec | undefined;
      const route = (message: Message | undefined): void => {
        if (spec) setIrqfdRoute(this.arena.memory, spec.route, message);
      };
      const started = startIrqfd(irqchip, irqfd, () => {
        this.#irqfds.delete(event);
        route(undefined);
      });
      const reroute = (): void => route(irqchip.router.messageOf(gsi));
      const sender = (): IrqSenderSpec | undefined => {
        // The line is held by whoever listens for the end of the interrupt.
        if (resample || !this.#threads || !this.#irqfds.has(event)) return undefined;
        spec ??= this.#threads.irqSender(this.arena.alloc(IRQFD_LAYOUT.size, 64));
        reroute();
        return spec;
      };
      const assigned = { ...started, sender, reroute };
      this.#irqfds.set(event, assigned);
      return assigned;
    });
  }

  /**
   * An eventfd in the machine's memory, where generated code signals it without leaving WebAssembly when the guest rings its doorbell. Its place stays its
   * own: the memory is not used again.
   * @throws EventFdError `EVENTFD_INVALID`, KvmError ENOMEM
   */
  createEventFd(options: Omit<EventFdOptions, 'memory'> = {}): EventFd {
    return this.#doorbells.createEventFd(options);
  }

  /**
   * KVM_IOEVENTFD: writes to a port or address become signals of an event. Disposing it takes it away again.
   * @throws KvmError EEXIST, EINVAL, ENOSPC
   */
  assignIoeventfd({ bus, event, ...where }: Ioeventfd): Disposable {
    return mapErrors(() => this[bus].assignIoeventfd(where, event));
  }

  /**
   * KVM_IOEVENTFD with KVM_IOEVENTFD_FLAG_DEASSIGN.
   * @throws KvmError ENOENT unless exactly this was assigned, EINVAL
   */
  deassignIoeventfd({ bus, event, ...where }: Ioeventfd): void {
    mapErrors(() => this[bus].deassignIoeventfd(where, event));
  }

  /**
   * KVM_REGISTER_COALESCED_MMIO: the guest's writes in the zone wait until somebody looks: another access to a device, the end of a slice, or a full
   * ring. Doorbells come first: those in the machine's memory are rung at once, others when the write is handed on.
   * @throws KvmError EINVAL, ENOSPC
   */
  registerCoalescedMmio(zone: CoalescedMmioZone): void {
    mapErrors(() => this.#coalesced.register(zone));
  }

  /**
   * KVM_UNREGISTER_COALESCED_MMIO. Writes that wait are handed on before it returns.
   * @throws KvmError ENXIO unless exactly this was registered, EINVAL
   */
  unregisterCoalescedMmio(zone: CoalescedMmioZone): void {
    mapErrors(() => this.#coalesced.unregister(zone));
  }

  /** Hands coalesced writes that wait to the devices. */
  flushCoalescedMmio(): void {
    this.#coalesced.flush();
  }

  /** @throws KvmError EINVAL for a route that cannot be; then the old table stays */
  setGsiRouting(routes: readonly GsiRoute[]): void {
    mapErrors(() => this.irqchip.setGsiRouting(routes));
    for (const { reroute } of this.#irqfds.values()) reroute();
  }

  /**
   * KVM_CREATE_VCPU. `id` is its APIC ID as well.
   * @throws KvmError EEXIST, EINVAL for an id beyond the number of processors, ENODEV when the machine has been disposed of
   */
  createVcpu(id: number, options: { readonly cpuid: CpuidSource }): Vcpu {
    if (this.#disposed) throw new KvmError('ENODEV', 'the virtual machine is gone');
    if (this.#threads) throw new KvmError('EINVAL', 'the vCPUs of this virtual machine have threads');
    this.#checkId(id, this.#vcpus.has(id));
    const sharedCode = this.#sharedCode;
    const mmu = createProcessorMmu(
      this.arena,
      this.memory,
      sharedCode && {
        shootdown: (hostPage) => {
          for (const other of this.#mmus) if (other !== mmu) other.dropWrites(hostPage);
        },
        ifFree: (hostPage, free) => sharedCode.ifFree(hostPage, free),
      },
    );
    const interrupts = this.#irqchip?.cpus[id];
    const vcpu = new Vcpu({
      id,
      createProcessor: this.#createProcessor,
      shared: {
        memory: this.arena.memory,
        alloc: this.arena.alloc,
        pio: this.pio,
        mmio: this.mmio,
        hypercalls: this.hypercall,
        ...(sharedCode && { codeSharing: sharedCode, pauseWindow: PAUSE_WINDOW }),
        codeBytes: this.#codeBytes,
      },
      doorbells: this.#doorbells.forCpu(id),
      onApicPage: (gpa) => this.#doorbells.table.hidePage(id, gpa),
      mmu,
      ...cpuTime(this.#tscs, this.#kvmClock, id),
      cpus: this.cpus,
      model: options.cpuid,
      interrupts,
      state: { buffer: this.arena.memory.buffer, byteOffset: this.arena.alloc(VCPU_LAYOUT.size, 64) },
      flushCoalescedMmio: () => this.#coalesced.flush(),
      takeSystemEvent: () => this.#takeSystemEvent(),
    });
    this.#mmus.push(mmu);
    sharedCode?.join(vcpu.processor);
    this.#vcpus.set(id, vcpu);
    return vcpu;
  }

  /**
   * KVM_CREATE_VCPU, with a thread for it. `id` is its APIC ID as well.
   * @throws KvmError EEXIST, EINVAL for an id beyond the number of processors, ENXIO where the machine was made without threads, ENODEV
   */
  startVcpu(id: number): RemoteVcpu {
    if (!this.#threads) throw new KvmError('ENXIO', 'this virtual machine was made without threads');
    this.#checkId(id, this.#threads.has(id));
    return this.#threads.create(id);
  }

  /** The vCPUs' threads, if the machine was made with them. */
  get threads(): VcpuThreads | undefined {
    return this.#threads;
  }

  #checkId(id: number, exists: boolean): void {
    if (!Number.isInteger(id) || id < 0 || id >= this.cpus)
      throw new KvmError('EINVAL', `vCPU ${id}: this virtual machine was made for ${this.cpus}`);
    if (exists) throw new KvmError('EEXIST', `there is a vCPU ${id} already`);
  }

  get vcpus(): readonly Vcpu[] {
    return [...this.#vcpus.values()];
  }

  /** A device ends the machine: its vCPUs return `system-event`. The first one counts. */
  raiseSystemEvent(event: SystemEvent): void {
    this.#systemEvent ??= event;
    for (const vcpu of this.#vcpus.values()) vcpu.kick();
    this.#threads?.end(event);
    this.onWake?.();
  }

  #takeSystemEvent(): SystemEvent | undefined {
    const event = this.#systemEvent;
    this.#systemEvent = undefined;
    return event;
  }

  /** The gate of address line 20. A closed one makes every odd megabyte show the one before it. */
  setA20(open: boolean): void {
    const mask = open ? 0xffff_ffff_ffff_ffffn : ~(1n << 20n) & 0xffff_ffff_ffff_ffffn;
    this.#threads?.setA20(open);
    for (const mmu of this.#mmus) {
      mmu.state.a20Mask = mask;
      mmu.flushAll();
    }
  }

  /** KVM_GET_CLOCK. */
  getClock(): ClockReading {
    return this.#kvmClock.getClock();
  }

  /**
   * KVM_SET_CLOCK: the guest's kvm-clock shows `clockNs` from now on.
   * @throws KvmError EINVAL for any flag, or a time that is none
   */
  setClock(clockNs: number, flags = 0): void {
    mapErrors(() => this.#kvmClock.setClock(clockNs, flags));
  }

  /** Ends the vCPUs and irqfds, and stops the chips' timers. Resolves when threads are gone. Nothing should run on this thread. */
  dispose(): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    this.#onDispose?.(this);
    for (const irqfd of [...this.#irqfds.values()]) irqfd[Symbol.dispose]();
    for (const vcpu of this.#vcpus.values()) vcpu.dispose();
    this.#vcpus.clear();
    this.#irqchip?.[Symbol.dispose]();
    await this.#threads?.dispose();
  }
}

const ERRNO: Readonly<Record<string, Errno>> = {
  MMU_TOO_MANY_SLOTS: 'ENOSPC',
  IO_BUS_EXISTS: 'EEXIST',
  IO_BUS_FULL: 'ENOSPC',
  IO_BUS_NOT_FOUND: 'ENOENT',
  IO_BUS_NO_ZONE: 'ENXIO',
};

/** Errors of the parts become the errno that KVM has for them. */
function mapErrors<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const known = [MemoryError, IrqChipError, KvmClockError, IoBusError].some((type) => cause instanceof type);
    if (!known) throw cause;
    const { code, message } = cause as Error & { readonly code: string };
    throw new KvmError(ERRNO[code] ?? 'EINVAL', message, { cause });
  }
}

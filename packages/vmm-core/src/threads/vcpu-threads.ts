import type { CoalescedMmio } from '@tsvisor/io-bus';
import type { IrqChip } from '@tsvisor/irqchip';
import type { GuestMemory } from '@tsvisor/mmu-ept-npt';
import type { Arena } from '../arena.ts';
import type { MachineClock } from '../clock.ts';
import { CodeMapUnion } from '../code-map-union.ts';
import type { MachineDoorbells } from '../doorbells.ts';
import { KvmError } from '../errors.ts';
import type { SystemEvent } from '../exits.ts';
import type { Host } from '../host.ts';
import { VCPU_LAYOUT } from '../mp-state.ts';
import type { IoLen, ProcessorBus, ProcessorHypercalls, ProcessorMmioBus, VcpuThreadPort } from '../ports.ts';
import type { RunEnd } from '../run-loop.ts';
import { sharedBufferOf } from '../shared-buffer.ts';
import { type MailboxPayload, MailboxServer, mailboxBytes } from './exit-mailbox.ts';
import type { IrqSenderSpec } from './irq-sender.ts';
import { PARKING } from './parking.ts';
import { RemoteVcpu } from './remote-vcpu.ts';
import { Call, CONTROL_LAYOUT, type ThreadExit, type VcpuSpec } from './spec.ts';
import { StopTheWorld, worldBytes } from './stop-the-world.ts';
import { VcpuSignals } from './vcpu-signals.ts';

/** Starts a thread for a vCPU, which is to call `serveVcpu` with the specification. */
export type StartVcpuThread = (spec: VcpuSpec) => VcpuThreadPort;

export type VcpuThreadsParts = {
  readonly arena: Arena;
  readonly cpus: number;
  readonly clock: MachineClock;
  readonly host: Host;
  readonly start: StartVcpuThread;
  /** Threads that the host can run at a time. */
  readonly parallelism: number;
  readonly codeBytes: number;
  /** Bytes of each vCPU beside its translations. */
  readonly cpuBytes: number;
  readonly memory: GuestMemory;
  readonly pio: ProcessorBus;
  readonly mmio: ProcessorMmioBus;
  readonly hypercalls: ProcessorHypercalls;
  readonly doorbells: MachineDoorbells;
  readonly coalesced: { readonly bus: CoalescedMmio; readonly state: number };
  /** Where their state is. */
  readonly tscs: number;
  readonly kvmClock: number;
  readonly irqchip: () => { readonly chip: IrqChip; readonly state: number } | undefined;
};

const PAGE = 4096;
/** For the next call, where that keeps no vCPU from running. */
const CALL_POLL_US = 50;
const MS = 1e6;

/** The vCPUs of a machine that each have a thread, and what they ask of the one that embeds the machine: devices, chips, timers. */
export class VcpuThreads {
  readonly #parts: VcpuThreadsParts;
  readonly #spec: Omit<VcpuSpec, 'id' | 'claimStart' | 'claimEnd' | 'irqchip' | 'doorbells'>;
  readonly #words: Int32Array;
  readonly #stop: number;
  readonly #a20Closed: number;
  readonly #signals: readonly VcpuSignals[];
  readonly #server: MailboxServer;
  readonly #world: StopTheWorld;
  readonly #remotes = new Map<number, RemoteVcpu>();
  /** Rejects when a device throws. */
  readonly #served: Promise<void>;
  #onEnd: ((end: RunEnd) => void) | undefined;
  #onCall: (() => void) | undefined;
  /** Settles, never rejects, when `run` does. */
  #running: Promise<unknown> | undefined;
  #disposed = false;

  constructor(parts: VcpuThreadsParts) {
    const { arena, cpus, memory, clock } = parts;
    this.#parts = parts;
    const place = (bytes: number): number => arena.alloc(bytes, 64);
    const each = (bytes: number): number[] => Array.from({ length: cpus }, () => place(bytes));
    this.#spec = {
      cpus,
      memory: arena.memory,
      physRoot: memory.physRoot,
      slotTable: memory.slotTable,
      tscs: parts.tscs,
      kvmClock: parts.kvmClock,
      coalesced: parts.coalesced.state,
      vcpus: each(VCPU_LAYOUT.size),
      parkings: each(PARKING.size),
      mailboxes: place(mailboxBytes(cpus)),
      world: place(worldBytes(cpus)),
      control: place(CONTROL_LAYOUT.size),
      codeMap: place(CodeMapUnion.bytes(arena.memory)),
      codeBytes: parts.codeBytes,
      originNs: clock.originNs,
      parallelism: parts.parallelism,
    };
    const { mailboxes, world, control } = this.#spec;
    const buffer = sharedBufferOf(arena.memory);
    this.#words = new Int32Array(buffer);
    this.#stop = (control + CONTROL_LAYOUT.offset.stop) / 4;
    this.#a20Closed = (control + CONTROL_LAYOUT.offset.a20Closed) / 4;
    this.#signals = this.#spec.vcpus.map((vcpu, id) => new VcpuSignals(arena.memory, { vcpu, parking: this.#spec.parkings[id] }));
    const spinUs = cpus < parts.parallelism ? CALL_POLL_US : 0;
    this.#server = new MailboxServer({ buffer, byteOffset: mailboxes }, cpus, { spinUs });
    this.#world = new StopTheWorld({
      place: { buffer, byteOffset: world },
      vcpus: cpus,
      me: 'outsider',
      kick: (cpu) => this.#signals[cpu].standAside(),
      apply: () => undefined,
    });
    this.#served = this.#server.serve((_, payload) => {
      this.#handle(payload);
      this.#onCall?.();
    });
    // Whoever runs the machine hears of it; until then nobody may be listening.
    this.#served.catch(() => undefined);
  }

  /** @throws KvmError ENODEV when the threads have been ended, ENOMEM */
  create(id: number): RemoteVcpu {
    this.#checkAlive();
    const { arena, codeBytes, cpuBytes, start, irqchip, doorbells, coalesced } = this.#parts;
    const claimStart = arena.alloc(codeBytes + cpuBytes, PAGE);
    const spec = {
      ...this.#spec,
      id,
      claimStart,
      claimEnd: claimStart + codeBytes + cpuBytes,
      irqchip: irqchip()?.state,
      doorbells: doorbells.forCpu(id),
    };
    const remote = new RemoteVcpu(
      id,
      start(spec),
      { memory: this.#spec.memory, vcpu: this.#spec.vcpus[id], parking: this.#spec.parkings[id] },
      (ended) => {
        this.#world.retire(ended);
        doorbells.table.forget(ended);
        coalesced.bus.forget(ended);
      },
    );
    this.#remotes.set(id, remote);
    return remote;
  }

  /** For an irqfd whose route is at that address; undefined without an irqchip. */
  irqSender(route: number): IrqSenderSpec | undefined {
    const chip = this.#parts.irqchip();
    const { memory, vcpus, parkings } = this.#spec;
    return chip && { memory, route, irqchip: chip.state, vcpus, parkings };
  }

  has(id: number): boolean {
    return this.#remotes.has(id);
  }

  /** An interrupt is there for a vCPU. */
  interrupt(id: number): void {
    this.#signals[id].interrupt();
  }

  codeWritten(hostAddress: number, length: number): void {
    this.#world.post('codeWritten', hostAddress, length);
  }

  mapChanged(): void {
    this.#world.post('mapChanged', 0, 0);
  }

  setA20(open: boolean): void {
    Atomics.store(this.#words, this.#a20Closed, open ? 0 : 1);
    this.mapChanged();
  }

  /** A device has ended the machine. */
  end(event: SystemEvent): void {
    // The vCPU that asked for it must not go on.
    this.#stopAll();
    this.#onEnd?.({ reason: 'system-event', event });
  }

  /** Makes `run` resolve with `stopped`; the next one, if there is none now. */
  stop(): void {
    this.#stopAll();
    this.#onEnd?.({ reason: 'stopped' });
  }

  #stopAll(): void {
    Atomics.store(this.#words, this.#stop, 1);
    for (const id of this.#remotes.keys()) this.#signals[id].kick();
  }

  #checkAlive(): void {
    if (this.#disposed) throw new KvmError('ENODEV', 'the virtual machine is gone');
  }

  /**
   * Runs all vCPUs until the guest ends or `stop` or `dispose` is called. `flush` hands on what devices have collected. Must not be called while it
   * runs.
   * @throws what a device throws, VmmError `VMM_THREAD_ENDED`, KvmError ENODEV
   */
  async run(flush: () => void): Promise<RunEnd> {
    this.#checkAlive();
    if (this.#running) throw new RangeError('the machine runs already');
    const run = this.#run(flush);
    this.#running = Promise.allSettled([run]);
    try {
      return await run;
    } finally {
      this.#running = undefined;
    }
  }

  async #run(flush: () => void): Promise<RunEnd> {
    const { clock } = this.#parts;
    const timers = this.#startTimers();
    let flushing = false;
    this.#onCall = () => {
      if (flushing) return;
      flushing = true;
      void this.#parts.host.yieldToEvents().then(() => {
        flushing = false;
        this.#attempt(flush);
      });
    };
    const wanted = new Promise<RunEnd>((resolve) => {
      this.#onEnd = resolve;
    });
    let runs: ReturnType<typeof runOn>[] = [];
    try {
      const remotes = [...this.#remotes.values()];
      await Promise.race([Promise.all(remotes.map(({ ready }) => ready)), wanted]);
      runs = remotes.map(runOn);
      return await Promise.race([wanted, ...runs, this.#served.then((): RunEnd => ({ reason: 'stopped' }))]);
    } finally {
      this.#stopAll();
      await Promise.allSettled(runs);
      Atomics.store(this.#words, this.#stop, 0);
      timers[Symbol.dispose]();
      clock.onEarlier = undefined;
      this.#onCall = this.#onEnd = undefined;
      this.#parts.coalesced.bus.flush();
      flush();
    }
  }

  /** Does what would have nobody to tell that it threw: `run` does. */
  #attempt(action: () => unknown): void {
    try {
      action();
    } catch (error) {
      this.#server.close(error);
    }
  }

  #startTimers(): Disposable {
    const { clock, host } = this.#parts;
    let cancel: (() => void) | undefined;
    const arm = (): void => {
      cancel?.();
      cancel = undefined;
      const wait = clock.nextDeadlineNs() - clock.monotonicNs();
      if (wait < Infinity) cancel = host.setTimeout(fire, Math.max(0, Math.min(wait / MS, LONGEST_MS)));
    };
    const fire = (): void => {
      this.#attempt(() => clock.runDue());
      this.#onCall?.();
      arm();
    };
    clock.onEarlier = arm;
    arm();
    return { [Symbol.dispose]: () => cancel?.() };
  }

  #handle(call: MailboxPayload): void {
    const { pio, mmio, irqchip, hypercalls, coalesced } = this.#parts;
    const { address, valueLo: value } = call;
    const length = call.length as IoLen;
    switch (call.kind) {
      case Call.PioRead:
        call.resultLo = pio.read(address, length);
        return;
      case Call.PioWrite:
        pio.write(address, length, value);
        return;
      case Call.MmioRead:
        call.resultLo = mmio.read(address, length);
        return;
      case Call.MmioWrite:
        mmio.write(address, length, value);
        return;
      case Call.MmioWrite64:
        mmio.write64(address, value, call.valueHi);
        return;
    }
    // The buses do this by themselves.
    coalesced.bus.flush();
    switch (call.kind) {
      case Call.AcknowledgePic:
        call.resultLo = irqchip()?.chip.pic.acknowledge() ?? 0;
        return;
      case Call.EndOfInterrupt:
        irqchip()?.chip.ioapic.eoi(address, value !== 0);
        return;
      case Call.Hypercall:
        call.resultLo = hypercalls.ring(address, value, call.valueHi) ? 1 : 0;
    }
  }

  /** Ends all threads, whatever they are at; whoever waits for one hears of it. Resolves when they are gone. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    this.stop();
    this.#server.close();
    await Promise.all([...this.#remotes.values()].map((remote) => remote.dispose()));
    this.#remotes.clear();
    await this.#running;
  }
}

/** A vCPU that somebody kicked goes on. */
async function runOn(remote: RemoteVcpu): Promise<Exclude<ThreadExit, { readonly reason: 'intr' }>> {
  for (;;) {
    const exit = await remote.run();
    if (exit.reason !== 'intr') return exit;
  }
}

/** Timers of JavaScript end at 2^31 ms. */
const LONGEST_MS = 2 ** 31 - 1;

/**
 * A vCPU on a thread of its own. What KVM has in the kernel runs here: guest code, the local APIC and its timer, kvm-clock and TSC. Everything else
 * is on the embedding thread, which is asked through a mailbox and answers while this thread waits.
 */
import { CoalescedRing, hideDoorbells } from '@tsvisor/io-bus';
import { createProcessorNode } from '@tsvisor/irqchip';
import { createKvmClock, createTscBank } from '@tsvisor/kvmclock';
import { GuestMemory } from '@tsvisor/mmu-ept-npt';
import { createMachineClock } from '../clock.ts';
import { cpuTime } from '../cpu-time.ts';
import { KvmError } from '../errors.ts';
import type { Host } from '../host.ts';
import { VCPU_LAYOUT } from '../mp-state.ts';
import type { CpuidSource, IoLen, ProcessorBus, ProcessorFactory, ProcessorMmioBus } from '../ports.ts';
import { createProcessorMmu } from '../processor-mmu.ts';
import { RunLoop, type RunnableVcpu, type RunnableVm } from '../run-loop.ts';
import { sharedBufferOf } from '../shared-buffer.ts';
import { Vcpu } from '../vcpu.ts';
import { MailboxClient } from './exit-mailbox.ts';
import { Parking } from './parking.ts';
import { Call, CONTROL_LAYOUT, type ThreadExit, type VcpuSpec } from './spec.ts';
import { Spin } from './spin.ts';
import { StopTheWorld } from './stop-the-world.ts';
import { ThreadCode } from './thread-code.ts';
import { VcpuSignals } from './vcpu-signals.ts';

export type VcpuThreadParts = {
  readonly createProcessor: ProcessorFactory;
  readonly cpuid: CpuidSource;
  readonly host: Host;
};

/**
 * PAUSE so often, and whoever is waited for is probably not running: other threads get this one's processor for a moment. That comes sooner where there
 * are more vCPUs than the host has processors.
 */
const PAUSE_WINDOW = { own: 8192, shared: 256 } as const;
const PAUSE_NAP_MS = 0.05;
/**
 * For an answer of the embedding thread: if there is a processor for it, so long that it can wake meanwhile. Once both are awake they stay so, at less than a
 * microsecond a call; if both gave up sooner than the other wakes, each call would cost two wake-ups.
 */
const ANSWER_POLL_US = { alone: 100, shared: 20 } as const;
/** As KVM's halt_poll_ns: to wake a thread takes some tens of microseconds, which is long for who waits for a device. */
const HALT_POLL_US = 200;
/** Some microseconds; to leave generated code takes as long. */
const LOOKS_FOR_OTHERS = 10_000;
const A20 = 1n << 20n;
const ALL = 0xffff_ffff_ffff_ffffn;
const MS = 1e6;

export class VcpuThread {
  readonly vcpu: Vcpu;
  readonly #spec: VcpuSpec;
  readonly #host: Host;
  readonly #words: Int32Array;
  readonly #vcpus: readonly ReturnType<typeof VCPU_LAYOUT.view>[];
  readonly #signals: readonly VcpuSignals[];
  readonly #parking: Parking;
  readonly #mailbox: MailboxClient;
  readonly #coalesced: CoalescedRing;
  readonly #haltPoll: Spin;
  readonly #world: StopTheWorld;
  readonly #code: ThreadCode;
  readonly #mmu: ReturnType<typeof createProcessorMmu>;
  readonly #vm: RunnableVm;
  /** Index of the word that says to stop. */
  readonly #stop: number;
  readonly #a20Closed: number;
  readonly #immediateExit: number;

  constructor(spec: VcpuSpec, { createProcessor, cpuid, host }: VcpuThreadParts) {
    const { memory, id, cpus } = spec;
    const shared = sharedBufferOf(memory);
    const place = (byteOffset: number) => ({ buffer: shared, byteOffset });
    this.#spec = spec;
    this.#host = host;
    this.#words = new Int32Array(shared);
    this.#stop = (spec.control + CONTROL_LAYOUT.offset.stop) / 4;
    this.#immediateExit = (spec.vcpus[id] + VCPU_LAYOUT.offset.immediateExit) / 4;
    this.#a20Closed = (spec.control + CONTROL_LAYOUT.offset.a20Closed) / 4;
    this.#vcpus = spec.vcpus.map((at) => VCPU_LAYOUT.view(shared, at));
    this.#signals = spec.vcpus.map((vcpu, cpu) => new VcpuSignals(memory, { vcpu, parking: spec.parkings[cpu] }));
    this.#parking = new Parking(place(spec.parkings[id]));
    // More threads than processors: whoever waits awake keeps from running whom it waits for.
    const spinUs = this.#overcommitted ? 0 : cpus < spec.parallelism ? ANSWER_POLL_US.alone : ANSWER_POLL_US.shared;
    this.#mailbox = new MailboxClient(place(spec.mailboxes), id, { spinUs });

    this.#coalesced = new CoalescedRing(place(spec.coalesced), id);
    // Nor may a vCPU that halts keep the embedding thread from answering the others.
    this.#haltPoll = new Spin(cpus < spec.parallelism ? HALT_POLL_US : 0);

    const clock = createMachineClock(host, spec.originNs);
    const tscs = createTscBank({ state: place(spec.tscs), cpus, clock, onChange: () => this.#tscMoved() });
    const alloc = claimer(spec);
    const guest = new GuestMemory({
      memory,
      alloc,
      attach: { physRoot: spec.physRoot, slotTable: spec.slotTable },
      onCodeWrite: (hostAddress, length) => this.#code.noted(hostAddress, length),
    });
    const kvmClock = createKvmClock({ state: place(spec.kvmClock), cpus, clock, memory: guest, tsc: tscs });
    this.#tscMoved = () => {
      this.#interrupts?.lapic.timer.retime();
      kvmClock.refresh();
    };
    this.#interrupts =
      spec.irqchip === undefined
        ? undefined
        : createProcessorNode({
            state: place(spec.irqchip),
            cpus,
            cpu: id,
            clock,
            tsc: (cpu) => tscs.deadlinePort(cpu),
            onEvent: (cpu) => this.#interrupt(cpu),
            acknowledgePic: () => this.#call(Call.AcknowledgePic, 0, 0, 0, 0),
            endOfInterrupt: (vector, level) => void this.#call(Call.EndOfInterrupt, vector, 0, level ? 1 : 0, 0),
          });
    this.#world = new StopTheWorld({
      place: place(spec.world),
      vcpus: cpus,
      me: id,
      kick: (cpu) => this.#signals[cpu].standAside(),
      apply: (kind, hostAddress, length) => this.#apply(kind, hostAddress, length),
      ...(this.#overcommitted ? { spinUs: 0 } : {}),
    });
    this.#code = new ThreadCode({
      memory,
      mapAddress: spec.codeMap,
      vcpus: this.#vcpus,
      me: id,
      world: this.#world,
      forget: (hostAddress, length) => this.vcpu.processor.codeWritten(hostAddress, length),
    });
    this.#mmu = createProcessorMmu({ memory, alloc }, guest, {
      shootdown: (hostPage) => {
        this.#counts.shootdowns++;
        this.#world.broadcast('dropWrites', hostPage, 0);
      },
      ifFree: (hostPage, free) => this.#code.ifFree(hostPage, free),
    });
    this.vcpu = new Vcpu({
      id,
      createProcessor,
      shared: {
        memory,
        alloc,
        pio: this.#pio(),
        mmio: this.#mmio(),
        hypercalls: { ring: (number, lo, hi) => this.#call(Call.Hypercall, number, 0, lo, hi) !== 0 },
        codeSharing: this.#code,
        exclusive: {
          enter: () => this.#world.enter(),
          leave: () => this.#world.leave(),
          serve: () => void this.#world.serve(),
          words: { ...this.#world.words, looks: this.#overcommitted ? 0 : LOOKS_FOR_OTHERS },
        },
        codeBytes: spec.codeBytes,
        pauseWindow: PAUSE_WINDOW[this.#overcommitted ? 'shared' : 'own'],
        hostFull: cpus >= spec.parallelism,
      },
      doorbells: spec.doorbells,
      onApicPage: (gpa) => hideDoorbells(shared, spec.doorbells.reader, gpa),
      mmu: this.#mmu,
      ...cpuTime(tscs, kvmClock, id),
      cpus,
      model: cpuid,
      interrupts: this.#interrupts,
      state: place(spec.vcpus[id]),
      flushCoalescedMmio: () => {
        if (this.#coalesced.waits) this.#call(Call.FlushCoalescedMmio, 0, 0, 0, 0);
      },
      takeSystemEvent: () => undefined,
    });
    const { exitRequest, ...words } = this.vcpu.processor.addresses;
    // Who finds this one finds the others.
    Object.assign(this.#vcpus[id], words);
    this.#vcpus[id].exitRequest = exitRequest;
    this.#world.announce(exitRequest);
    this.#applyA20();
    this.#vm = { clock, onWake: undefined };
  }

  readonly #counts = { calls: 0, shootdowns: 0, parked: 0, kicks: 0 };
  readonly #interrupts: ReturnType<typeof createProcessorNode> | undefined;
  readonly #tscMoved: () => void = () => undefined;

  get #overcommitted(): boolean {
    return this.#spec.cpus > this.#spec.parallelism;
  }

  get #stopped(): boolean {
    return Atomics.load(this.#words, this.#stop) !== 0;
  }

  get #kicked(): boolean {
    return Atomics.load(this.#words, this.#immediateExit) !== 0;
  }
  #takeKick(): boolean {
    return Atomics.exchange(this.#words, this.#immediateExit, 0) !== 0;
  }

  /** Runs the guest until it ends or the embedding thread says to stop. */
  async run(): Promise<ThreadExit> {
    const { vcpu } = this;
    const staying: RunnableVcpu = {
      run: (budget) => this.#stay(budget),
      kick: () => vcpu.kick(),
      get runnable() {
        return vcpu.runnable;
      },
      processor: vcpu.processor,
    };
    this.#loop = new RunLoop({
      vm: this.#vm,
      vcpus: [staying],
      host: this.#host,
      flush: () => undefined,
      park: (ns) => this.#park(ns / MS),
    });
    const exit = await this.#loop.run();
    return this.#takeKick() && exit.reason === 'stopped' ? { reason: 'intr' } : exit;
  }

  #loop: RunLoop | undefined;

  /** Counts and times (ns) of the run loop. */
  get counters(): Readonly<Record<string, number>> {
    return { ...this.#loop?.counters, ...this.#counts, ...this.#code.counts };
  }

  /** One stay in the guest. */
  #stay(budget: number): ReturnType<Vcpu['run']> {
    if (this.#stopped || this.#kicked) {
      this.#loop?.stop();
      return { reason: 'intr' };
    }
    this.#code.settle((hostPage) => this.#mmu.unprotectNow(hostPage));
    this.#world.enterGuest();
    try {
      const exit = this.vcpu.run(budget);
      if (exit.reason !== 'pause') return exit;
    } finally {
      this.#world.leaveGuest();
    }
    this.#park(PAUSE_NAP_MS);
    return { reason: 'pause' };
  }

  #park(ms: number): void {
    this.#counts.parked++;
    const isReady = (): boolean => this.#stopped || this.#kicked || this.vcpu.runnable;
    const end = this.#host.monotonicNs() + ms * MS;
    if (!this.#haltPoll.until(() => isReady() || this.#host.monotonicNs() >= end))
      this.#parking.park(isReady, (end - this.#host.monotonicNs()) / MS);
  }

  /** An interrupt is there for a processor. */
  #interrupt(cpu: number): void {
    if (cpu !== this.#spec.id) this.#counts.kicks++;
    this.#signals[cpu].interrupt();
  }

  #apply(kind: 'dropWrites' | 'codeWritten' | 'mapChanged' | 'everything', hostAddress: number, length: number): void {
    switch (kind) {
      case 'dropWrites':
        this.#mmu.dropWrites(hostAddress);
        return;
      case 'codeWritten':
        this.#code.forgetQuietly(hostAddress, length);
        return;
      case 'mapChanged':
        this.#applyA20();
        return;
      case 'everything':
        this.#applyA20();
        this.#code.forgetQuietly(0, this.#words.byteLength);
    }
  }

  /** Slots or address line 20 have changed: no translation of an address holds any more. */
  #applyA20(): void {
    this.#mmu.state.a20Mask = Atomics.load(this.#words, this.#a20Closed) ? ALL & ~A20 : ALL;
    this.#mmu.flushAll();
  }

  #call(kind: number, address: number, length: number, lo: number, hi: number): number {
    const { payload } = this.#mailbox;
    payload.kind = kind;
    payload.address = address;
    payload.length = length;
    payload.valueLo = lo;
    payload.valueHi = hi;
    this.#counts.calls++;
    this.#mailbox.call();
    return payload.resultLo;
  }

  #pio(): ProcessorBus {
    return {
      read: (port, length) => this.#call(Call.PioRead, port, length, 0, 0),
      write: (port, length, value) => {
        if (!this.#coalesced.put('pio', port, length, value, 0)) this.#call(Call.PioWrite, port, length, value, 0);
      },
    };
  }

  #mmio(): ProcessorMmioBus {
    return {
      read: (gpa, length) => this.#call(Call.MmioRead, gpa, length, 0, 0),
      write: (gpa: number, length: IoLen, value: number) => {
        if (!this.#coalesced.put('mmio', gpa, length, value, 0)) this.#call(Call.MmioWrite, gpa, length, value, 0);
      },
      write64: (gpa, lo, hi) => {
        if (!this.#coalesced.put('mmio', gpa, 8, lo, hi)) this.#call(Call.MmioWrite64, gpa, 8, lo, hi);
      },
    };
  }
}

/** Hands out what the embedding thread set aside for this vCPU. */
function claimer({ claimStart, claimEnd }: VcpuSpec): (bytes: number, align: number) => number {
  let next = claimStart;
  return (bytes, align) => {
    const at = Math.ceil(next / align) * align;
    if (at + bytes > claimEnd)
      throw new KvmError('ENOMEM', `a vCPU's thread needs ${bytes} bytes more than were set aside for it`);
    next = at + bytes;
    return at;
  };
}

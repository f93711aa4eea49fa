/**
 * The interrupt hardware of a PC in one piece, as KVM places it in the kernel: 8259A pair, 8254, IOAPIC, one local APIC for each
 * processor, and the wires between them.
 */
import { ApicBus } from './apic-bus.ts';
import type { ByteDevice } from './byte-device.ts';
import { IrqChipError } from './errors.ts';
import type { GsiLine, GsiRoute } from './gsi-router.ts';
import { GSI_COUNT, GSI_LAYOUT, GsiRouter } from './gsi-router.ts';
import { joinImages, splitImages } from './image-list.ts';
import { IOAPIC_LAYOUT, IoApic } from './ioapic.ts';
import { LocalApic } from './lapic.ts';
import { DELIVERY_NMI, EVENT_EXTINT, EVENT_INIT, EVENT_NMI, EVENT_SIPI, EVENT_SMI, LAPIC_LAYOUT } from './lapic-registers.ts';
import { PIC_LAYOUT, PicPair } from './pic.ts';
import { PIT_LAYOUT, Pit } from './pit.ts';
import type { Clock, DeliveryCount, IoLen, StatePlace, Subscription, Tsc } from './ports.ts';

const PIT_GSI = 0;
const LINE = 64;
const aligned = (bytes: number): number => Math.ceil(bytes / LINE) * LINE;

/** Where each part of an irqchip for `cpus` processors lies; every part begins on a cache line of its own. */
export function irqChipLayout(cpus: number): {
  readonly size: number;
  readonly align: number;
  readonly pic: number;
  readonly pit: number;
  readonly ioapic: number;
  readonly gsi: number;
  /** Which vectors the IOAPIC wants to hear the end of: 8 words, one bit each. Derived from its state. */
  readonly eoiVectors: number;
  readonly lapic: readonly number[];
} {
  const pit = aligned(PIC_LAYOUT.size);
  const ioapic = pit + aligned(PIT_LAYOUT.size);
  const gsi = ioapic + aligned(IOAPIC_LAYOUT.size);
  const eoiVectors = gsi + aligned(GSI_LAYOUT.size);
  const first = eoiVectors + LINE;
  const step = aligned(LAPIC_LAYOUT.size);
  const lapic = Array.from({ length: cpus }, (_, cpu) => first + cpu * step);
  return { size: first + cpus * step, align: LINE, pic: 0, pit, ioapic, gsi, eoiVectors, lapic };
}

export type IrqChipOptions = {
  /** `irqChipLayout(cpus).size` bytes, zero at first. */
  readonly state: StatePlace;
  readonly clock: Clock;
  /** Processors, 1–254; processor n has APIC ID n. */
  readonly cpus: number;
  readonly tsc: (cpu: number) => Tsc;
  /** The timers of the local APICs run where their processors do, on other threads (`createProcessorNode`), and not here. */
  readonly processorsElsewhere?: boolean;
  /** Processor `cpu` may have something to take: an interrupt, or one of its pending events. */
  readonly onEvent?: (cpu: number) => void;
  readonly ioapicVersion?: 0x11 | 0x20;
  readonly x2apic?: boolean;
  readonly tscDeadline?: boolean;
  readonly physicalAddressBits?: number;
};

/** For a local APIC that is only looked at and sent to. */
export const withoutTimers = ({ monotonicNs }: Clock): Clock => ({
  monotonicNs,
  setTimer: () => ({ [Symbol.dispose]: () => undefined }),
});

/** What one processor asks of the interrupt hardware. */
export class CpuInterrupts {
  readonly lapic: LocalApic;
  private readonly pic: Pick<PicPair, 'pending' | 'acknowledge'>;
  private readonly onEvent: (() => void) | undefined;

  constructor(lapic: LocalApic, pic: Pick<PicPair, 'pending' | 'acknowledge'>, onEvent?: () => void) {
    this.lapic = lapic;
    this.pic = pic;
    this.onEvent = onEvent;
  }

  private extIntPending(): boolean {
    if (!this.pic.pending()) return false;
    return this.lapic.acceptsPicInterrupts() || (this.lapic.pendingEvents() & EVENT_EXTINT) !== 0;
  }

  /** A maskable interrupt waits: taken when RFLAGS.IF allows. */
  interruptPending(): boolean {
    return this.extIntPending() || this.lapic.hasInterrupt();
  }

  /** The acknowledge cycle: the vector to take, or -1 when nothing waits any more. An 8259A's request comes first. */
  acknowledge(): number {
    if (!this.extIntPending()) return this.lapic.acknowledge();
    this.lapic.takeEvent(EVENT_EXTINT);
    const vector = this.pic.acknowledge();
    // Under automatic EOI the next request may keep INTR high: no edge would tell of it.
    if (this.interruptPending()) this.onEvent?.();
    return vector;
  }

  /** Bits of EVENT_NMI, EVENT_SMI, EVENT_INIT, EVENT_SIPI that wait. */
  pendingEvents(): number {
    return this.lapic.pendingEvents() & ~EVENT_EXTINT;
  }

  takeNmi(): boolean {
    return this.lapic.takeEvent(EVENT_NMI);
  }

  takeSmi(): boolean {
    return this.lapic.takeEvent(EVENT_SMI);
  }

  /** Takes an INIT; the local APIC is reset with the processor. */
  takeInit(): boolean {
    if (!this.lapic.takeEvent(EVENT_INIT)) return false;
    this.lapic.init();
    return true;
  }

  /** The start-up IPI's vector (the processor begins at vector × 4096), or -1. A processor that does not wait for it drops it. */
  takeSipi(): number {
    return this.lapic.takeEvent(EVENT_SIPI) ? this.lapic.sipiVector : -1;
  }

  /** The machine's NMI button. */
  raiseNmi(): void {
    this.lapic.accept(DELIVERY_NMI, 0, false);
  }
}

export class IrqChip {
  readonly pic: PicPair;
  readonly pit: Pit;
  readonly ioapic: IoApic;
  readonly bus: ApicBus;
  readonly router: GsiRouter;
  readonly cpus: readonly CpuInterrupts[];
  /** Register blocks, to be put where the machine wants them. The local APIC page is per processor: `cpus[n].lapic.device`. */
  readonly devices: {
    /** 2 bytes, conventionally port 0x20. */
    readonly picMaster: ByteDevice;
    /** 2 bytes, conventionally port 0xa0. */
    readonly picSlave: ByteDevice;
    /** 2 bytes, conventionally port 0x4d0. */
    readonly elcr: ByteDevice;
    /** 4 bytes, conventionally port 0x40. */
    readonly pit: ByteDevice;
    /** 1 byte, conventionally port 0x61. */
    readonly systemControl: ByteDevice;
    /** 4096 bytes, conventionally at 0xfec00000. */
    readonly ioapic: {
      readonly read: (offset: number, len: IoLen) => number;
      readonly write: (offset: number, len: IoLen, value: number) => void;
    };
  };

  private endListeners: readonly { readonly gsi: number; readonly fn: () => void }[] = [];

  constructor(options: IrqChipOptions) {
    const { clock, state } = options;
    if (!Number.isInteger(options.cpus) || options.cpus < 1 || options.cpus > 254)
      throw new IrqChipError('IRQCHIP_BAD_ARGUMENT', `${options.cpus} processors: 1–254 are possible`);
    const layout = irqChipLayout(options.cpus);
    const place = (offset: number): StatePlace => ({ buffer: state.buffer, byteOffset: state.byteOffset + offset });

    this.bus = new ApicBus({ onEoi: (vector, level) => this.ioapic.eoi(vector, level) });
    this.pic = new PicPair({
      state: place(layout.pic),
      onIntr: (level) => this.driveIntr(level, options.onEvent),
      onAck: (pin) => this.ended('pic', pin),
    });
    this.ioapic = new IoApic({
      state: place(layout.ioapic),
      bus: this.bus,
      eoiVectors: new Uint32Array(state.buffer, state.byteOffset + layout.eoiVectors, 8),
      onAck: (pin) => this.ended('ioapic', pin),
      ...(options.ioapicVersion === undefined ? {} : { version: options.ioapicVersion }),
    });
    this.cpus = layout.lapic.map((offset, cpu) => this.createCpu(cpu, place(offset), options));
    this.router = new GsiRouter({ state: place(layout.gsi), pic: this.pic, ioapic: this.ioapic, msi: this.bus });
    this.pit = new Pit({ state: place(layout.pit), clock, output: this.router.line(PIT_GSI), reinject: true });
    this.devices = {
      picMaster: this.pic.master,
      picSlave: this.pic.slave,
      elcr: this.pic.elcr,
      pit: this.pit.device,
      systemControl: this.pit.systemControl,
      ioapic: this.ioapic.device,
    };
  }

  private createCpu(cpu: number, state: StatePlace, options: IrqChipOptions): CpuInterrupts {
    const notify = options.onEvent;
    const onEvent = notify === undefined ? undefined : () => notify(cpu);
    const lapic = new LocalApic({
      state,
      id: cpu,
      clock: options.processorsElsewhere ? withoutTimers(options.clock) : options.clock,
      tsc: options.tsc(cpu),
      bus: this.bus,
      bootstrap: cpu === 0,
      ...(onEvent === undefined ? {} : { onEvent }),
      ...(options.x2apic === undefined ? {} : { x2apic: options.x2apic }),
      ...(options.tscDeadline === undefined ? {} : { tscDeadline: options.tscDeadline }),
      ...(options.physicalAddressBits === undefined ? {} : { physicalAddressBits: options.physicalAddressBits }),
    });
    this.bus.attach(lapic);
    return new CpuInterrupts(lapic, this.pic, onEvent);
  }

  /** INTR is wired to every processor's LINT0 and to the IOAPIC's pin 0 (virtual wire by IOAPIC). MP specification §3.6.2.2 */
  private driveIntr(level: 0 | 1, onEvent: ((cpu: number) => void) | undefined): void {
    for (let cpu = 0; cpu < this.cpus.length; cpu++) {
      const { lapic } = this.cpus[cpu];
      lapic.setLint(0, level);
      if (level && lapic.acceptsPicInterrupts()) onEvent?.(cpu);
    }
    if (level === 0 || this.ioapic.isExtInt(0)) this.ioapic.setIrq(0, level);
  }

  /** The guest ended the interrupt of a chip's pin. */
  private ended(chip: 'pic' | 'ioapic', pin: number): void {
    if (this.router.drives(PIT_GSI, chip, pin)) this.pit.acknowledged();
    for (let i = 0; i < this.endListeners.length; i++) {
      const { gsi, fn } = this.endListeners[i];
      if (this.router.drives(gsi, chip, pin)) fn();
    }
  }

  /**
   * Calls `fn` whenever the guest ends an interrupt of `gsi`, at either controller. This is what a resampling irqfd listens to: it
   * lowers its line and lets the device say whether it still asks.
   */
  onEnd(gsi: number, fn: () => void): Subscription {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= GSI_COUNT)
      throw new IrqChipError('IRQCHIP_BAD_ROUTE', `there is no GSI ${gsi}`);
    const listener = { gsi, fn };
    this.endListeners = [...this.endListeners, listener];
    return {
      [Symbol.dispose]: () => {
        this.endListeners = this.endListeners.filter((other) => other !== listener);
      },
    };
  }

  /** KVM_IRQ_LINE_STATUS: processors reached, 0 coalesced, negative masked or unrouted. */
  setIrq(gsi: number, level: 0 | 1): DeliveryCount {
    return this.router.setIrq(gsi, level);
  }

  /** One more source of `gsi`; sources are ORed. */
  irqLine(gsi: number): GsiLine {
    return this.router.line(gsi);
  }

  setGsiRouting(routes: readonly GsiRoute[]): void {
    this.router.setGsiRouting(routes);
  }

  /** KVM_SIGNAL_MSI. Counts as `setIrq`. */
  signalMsi(addressLo: number, addressHi: number, data: number): DeliveryCount {
    return this.bus.signalMsi(addressLo, addressHi, data);
  }

  /** Power-on reset of every chip. Levels held by sources stay. */
  reset(): void {
    this.pit.reset();
    this.pic.reset();
    this.ioapic.reset();
    for (const cpu of this.cpus) cpu.lapic.reset();
  }

  private parts(): readonly { save: () => Uint8Array; prepareRestore: (image: unknown) => () => void }[] {
    return [this.pic, this.pit, this.ioapic, this.router, ...this.cpus.map((cpu) => cpu.lapic)];
  }

  save(): Uint8Array {
    return joinImages(this.parts().map((part) => part.save()));
  }

  /** @throws IrqChipError IRQCHIP_BAD_STATE, also for another number of processors; then nothing has changed. */
  restore(image: unknown): void {
    const parts = this.parts();
    const images = splitImages(image, parts.length);
    const commits = parts.map((part, i) => part.prepareRestore(images[i]));
    for (const commit of commits) commit();
  }

  /** Stops all timers. */
  [Symbol.dispose](): void {
    this.pit[Symbol.dispose]();
    for (const cpu of this.cpus) cpu.lapic[Symbol.dispose]();
  }
}

/** The interrupt hardware of a PC with `options.cpus` processors. */
export function createIrqChip(options: IrqChipOptions): IrqChip {
  return new IrqChip(options);
}

import { type CpuInterrupts, EVENT_INIT, EVENT_SIPI } from '@tsvisor/irqchip';
import type { View } from '@tsvisor/state-layout';
import { type CpuidEntry, cpuidFromEntries, vcpuCpuid } from './cpuid.ts';
import { KvmError } from './errors.ts';
import type { SystemEvent, VcpuExit } from './exits.ts';
import { noInterrupts, processorInterrupts } from './interrupts.ts';
import { MpState, VCPU_LAYOUT } from './mp-state.ts';
import { composeMsrs, lapicMsrs, type MsrRange } from './msrs.ts';
import type {
  CpuidSource,
  InterruptController,
  MsrDevice,
  Processor,
  ProcessorConfig,
  ProcessorFactory,
  ProcessorMmioBus,
  ProcessorMmu,
  Regs,
  Sregs,
  TimeStampCounter,
} from './ports.ts';

export type VcpuParts = {
  readonly id: number;
  readonly createProcessor: ProcessorFactory;
  /** What every vCPU of the machine shares. */
  readonly shared: Pick<
    ProcessorConfig,
    'memory' | 'alloc' | 'pio' | 'mmio' | 'codeSharing' | 'pauseWindow' | 'hostFull' | 'codeBytes' | 'exclusive' | 'hypercalls'
  >;
  readonly doorbells: ProcessorConfig['doorbells'];
  /** The page where the local APIC's registers are, and no doorbell; undefined if they are nowhere. */
  readonly onApicPage: (gpa: number | undefined) => void;
  readonly mmu: ProcessorMmu;
  readonly tsc: TimeStampCounter;
  readonly cpus: number;
  readonly model: CpuidSource;
  /** Its share of the irqchip, if there is one. */
  readonly interrupts: CpuInterrupts | undefined;
  /** MSRs of the machine around the processor, beside the local APIC's. */
  readonly msrs: readonly MsrRange[];
  /** The processor is reset: what its MSRs had enabled is off. */
  readonly onReset: () => void;
  /** `VCPU_LAYOUT`, zero at first. */
  readonly state: { readonly buffer: ArrayBufferLike; readonly byteOffset: number };
  /** Coalesced writes reach the devices. */
  readonly flushCoalescedMmio: () => void;
  /** A device of the guest's asked for the end, and nobody has been told yet. */
  readonly takeSystemEvent: () => SystemEvent | undefined;
};

const APIC_PAGE = 4096;
const BOOT_PROCESSOR = 0;

/** One virtual processor. Operations are named as KVM's ioctls on a vCPU are. */
export class Vcpu {
  readonly id: number;
  readonly processor: Processor;
  readonly #parts: VcpuParts;
  readonly #interrupts: InterruptController;
  readonly #msrs: MsrDevice;
  readonly #msrValue = new Uint32Array(2);
  readonly #mp: View<typeof VCPU_LAYOUT.schema>;
  #cpuid: CpuidSource;
  #hasRun = false;

  constructor(parts: VcpuParts) {
    this.id = parts.id;
    this.#parts = parts;
    this.#mp = VCPU_LAYOUT.view(parts.state.buffer, parts.state.byteOffset);
    const { interrupts } = parts;
    this.#interrupts = interrupts === undefined ? noInterrupts : processorInterrupts(interrupts);
    this.#cpuid = this.#compose(parts.model);
    // Without an irqchip nobody could send an INIT; the processors are the caller's to start.
    this.#mp.mpState = parts.id === BOOT_PROCESSOR || interrupts === undefined ? MpState.RUNNABLE : MpState.UNINITIALIZED;
    const apicPage = interrupts === undefined ? undefined : createApicPage(parts.shared.mmio, interrupts.lapic, parts.onApicPage);
    const ranges = [...parts.msrs];
    if (interrupts !== undefined && apicPage !== undefined) ranges.push(lapicMsrs(interrupts.lapic, apicPage.moved));
    this.#msrs = composeMsrs(ranges);
    this.processor = parts.createProcessor({
      ...parts.shared,
      mmu: parts.mmu,
      mmio: apicPage?.bus ?? parts.shared.mmio,
      hypercalls: parts.shared.hypercalls,
      doorbells: parts.doorbells,
      interrupts: this.#interrupts,
      msrs: this.#msrs,
      tsc: parts.tsc,
      cpuid: { query: (leaf, subleaf, out) => this.#cpuid.query(leaf, subleaf, out) },
    });
  }

  #compose(model: CpuidSource): CpuidSource {
    const { id, cpus, interrupts } = this.#parts;
    return vcpuCpuid({ model, apicId: id, cpus, apicEnabled: () => interrupts?.lapic.enabled ?? false });
  }

  /** KVM_RUN, for about `budget` instructions at most. */
  run(budget: number): VcpuExit {
    this.#hasRun = true;
    const event = this.#parts.takeSystemEvent();
    if (event !== undefined) return { reason: 'system-event', event };
    if (!this.#started()) return { reason: 'hlt' };
    const exit = this.processor.run(budget);
    this.#parts.flushCoalescedMmio();
    const raised = this.#parts.takeSystemEvent();
    if (raised !== undefined) return { reason: 'system-event', event: raised };
    switch (exit.reason) {
      case 'budget':
        return { reason: 'intr' };
      case 'pause':
        return { reason: 'pause' };
      case 'halt':
        return { reason: 'hlt' };
      case 'shutdown':
        return { reason: 'shutdown' };
      case 'error':
        return { reason: 'internal-error', message: exit.message ?? 'the processor gives no reason' };
    }
  }

  /**
   * Takes INIT and start-up IPIs; whether the processor runs. After INIT the boot processor starts over at the reset vector, the others wait for
   * a start-up IPI, which all drop that do not wait for it. SDM vol. 3 §9.1.3, §9.4.3
   */
  #started(): boolean {
    const { interrupts, onReset } = this.#parts;
    if (interrupts === undefined) return true;
    if (!this.processor.initBlocked && interrupts.takeInit()) {
      this.processor.init();
      onReset();
      this.#mp.mpState = this.id === BOOT_PROCESSOR ? MpState.RUNNABLE : MpState.INIT_RECEIVED;
    }
    const vector = interrupts.takeSipi();
    if (vector >= 0 && this.#mp.mpState === MpState.INIT_RECEIVED) this.#startUp(vector);
    return this.#mp.mpState === MpState.RUNNABLE;
  }

  /** CS:IP is vector << 8 : 0 (SDM vol. 3 §9.4.4). */
  #startUp(vector: number): void {
    const sregs = this.getSregs();
    this.setSregs({ ...sregs, cs: { ...sregs.cs, selector: vector << 8, base: BigInt(vector) << 12n } });
    this.setRegs({ ...this.getRegs(), rip: 0n });
    this.#mp.mpState = MpState.RUNNABLE;
  }

  /** KVM_GET_MP_STATE. */
  getMpState(): MpState {
    return this.#mp.mpState as MpState;
  }

  /** KVM_SET_MP_STATE. @throws KvmError EINVAL for another number, or for one that waits where there is no irqchip to end that */
  setMpState(state: MpState): void {
    const known = Object.values(MpState).includes(state) && (state === MpState.RUNNABLE || this.#parts.interrupts !== undefined);
    if (!known) throw new KvmError('EINVAL', `${state} is no state that vCPU ${this.id} can be in`);
    this.#mp.mpState = state;
  }

  /** Makes `run` return soon. */
  kick(): void {
    this.processor.requestExit();
  }

  /** Something waits that would end a HLT, RFLAGS.IF permitting, or start a processor that waits for that. */
  get runnable(): boolean {
    const events = this.#parts.interrupts?.pendingEvents() ?? 0;
    if (this.#mp.mpState !== MpState.RUNNABLE) return (events & (EVENT_INIT | EVENT_SIPI)) !== 0;
    return events !== 0 || this.#interrupts.pending();
  }

  getRegs(): Regs {
    return this.processor.getRegs();
  }
  setRegs(regs: Regs): void {
    this.processor.setRegs(regs);
  }
  getSregs(): Sregs {
    return this.processor.getSregs();
  }
  setSregs(sregs: Sregs): void {
    this.processor.setSregs(sregs);
  }

  /**
   * Replaces the processor model's CPUID; APIC ID, topology and hypervisor leaves stay this machine's.
   * @throws KvmError EINVAL once the vCPU has run
   */
  setCpuid2(entries: readonly CpuidEntry[]): void {
    if (this.#hasRun) throw new KvmError('EINVAL', `the CPUID of vCPU ${this.id} is fixed: it has run`);
    this.#cpuid = this.#compose(cpuidFromEntries(entries));
  }

  /** Answers as the CPUID instruction does: EAX, EBX, ECX, EDX. */
  cpuid(leaf: number, subleaf = 0): readonly [number, number, number, number] {
    const out = new Uint32Array(4);
    this.#cpuid.query(leaf, subleaf, out);
    return [out[0], out[1], out[2], out[3]];
  }

  /** Reads MSRs that live outside of the processor, up to the first that there is not. */
  getMsrs(indices: readonly number[]): bigint[] {
    const values: bigint[] = [];
    for (const index of indices) {
      if (!this.#msrs.read(index, this.#msrValue)) break;
      values.push((BigInt(this.#msrValue[1]) << 32n) | BigInt(this.#msrValue[0]));
    }
    return values;
  }

  /** Writes such MSRs, up to the first that refuses; returns how many were written. */
  setMsrs(entries: readonly { readonly index: number; readonly data: bigint }[]): number {
    const failed = entries.findIndex(
      ({ index, data }) => !this.#msrs.write(index, Number(data & 0xffff_ffffn), Number((data >> 32n) & 0xffff_ffffn)),
    );
    return failed < 0 ? entries.length : failed;
  }

  /**
   * The local APIC's saved state.
   * @throws KvmError EINVAL without an in-kernel irqchip
   */
  getLapic(): Uint8Array {
    return this.#lapic().save();
  }

  /** @throws KvmError EINVAL without an in-kernel irqchip, or for an image that is none */
  setLapic(image: unknown): void {
    const lapic = this.#lapic();
    try {
      lapic.restore(image);
    } catch (cause) {
      throw new KvmError('EINVAL', 'this is not the state of a local APIC', { cause });
    }
  }

  #lapic() {
    const { interrupts } = this.#parts;
    if (interrupts === undefined) throw new KvmError('EINVAL', 'the virtual machine has no in-kernel local APIC');
    return interrupts.lapic;
  }

  dispose(): void {
    this.processor.dispose();
  }
}

/** The local APIC's registers lie in front of the bus, where IA32_APIC_BASE says, for this processor only. SDM vol. 3 §12.4.5 */
function createApicPage(
  mmio: ProcessorMmioBus,
  lapic: CpuInterrupts['lapic'],
  onPage: VcpuParts['onApicPage'],
): { readonly bus: ProcessorMmioBus; readonly moved: () => void } {
  const { device } = lapic;
  let page = -APIC_PAGE;
  const moved = (): void => {
    page = lapic.pageActive ? lapic.pageAddress : -APIC_PAGE;
    onPage(lapic.pageActive ? page : undefined);
  };
  moved();
  return {
    moved,
    bus: {
      read: (gpa, len) => {
        const offset = gpa - page;
        return offset >= 0 && offset < APIC_PAGE ? device.read(offset, len) : mmio.read(gpa, len);
      },
      write: (gpa, len, value) => {
        const offset = gpa - page;
        if (offset >= 0 && offset < APIC_PAGE) device.write(offset, len, value);
        else mmio.write(gpa, len, value);
      },
      write64: (gpa, lo, hi) => {
        const offset = gpa - page;
        if (offset >= 0 && offset < APIC_PAGE) {
          device.write(offset, 4, lo);
          device.write(offset + 4, 4, hi);
        } else mmio.write64(gpa, lo, hi);
      },
    },
  };
}

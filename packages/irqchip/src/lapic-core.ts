/**
 * A local APIC: xAPIC page, x2APIC MSRs, IA32_APIC_BASE, interrupt acceptance and dispensing. SDM vol. 3 chapter 12.
 *
 * IRR words and the event bits are set with atomic operations, so that a device on another thread may post while the owning vCPU
 * dispenses; everything else is touched by the vCPU's own thread.
 */

import { Lvt } from './lapic-lvt.ts';
import {
  APIC_BASE_BSP,
  APIC_BASE_ENABLE,
  APIC_BASE_EXTD,
  APIC_DEFAULT_BASE,
  APIC_DFR,
  APIC_ID,
  APIC_IRR,
  APIC_ISR,
  APIC_LDR,
  APIC_LVT_ERROR,
  APIC_LVT_LINT0,
  APIC_LVT_TIMER,
  APIC_SVR,
  APIC_TMR,
  APIC_TPR,
  APIC_VERSION,
  APIC_VERSION_VALUE,
  DELIVERY_EXTINT,
  DELIVERY_FIXED,
  DELIVERY_INIT,
  DELIVERY_LOWEST,
  DELIVERY_NMI,
  DELIVERY_SIPI,
  DELIVERY_SMI,
  DFR_FLAT,
  ESR_RECEIVE_ILLEGAL_VECTOR,
  EVENT_EXTINT,
  EVENT_INIT,
  EVENT_NMI,
  EVENT_SIPI,
  EVENT_SMI,
  highestVector,
  LAPIC_LAYOUT,
  LVT_MASKED,
  LVT_WRITABLE,
  SVR_ENABLE,
} from './lapic-registers.ts';
import { LapicTimer } from './lapic-timer.ts';
import type { Clock, DeliveryCount, StatePlace, Tsc } from './ports.ts';
import { bytesAt } from './state-image.ts';

/** What a local APIC sends: its IPIs and, for level-triggered vectors, the end of interrupt. */
export type LapicBus = {
  /** ICR written: `icr` is the low half, `dest` the destination field (8 bits, or 32 in x2APIC mode). */
  readonly sendIpi: (from: LapicCore, icr: number, dest: number) => void;
  /** `vector` ended; `level` tells whether TMR marks it as level-triggered. */
  readonly broadcastEoi: (vector: number, level: boolean) => void;
};

export type LocalApicOptions = {
  readonly state: StatePlace;
  /** Initial APIC ID; x2APIC ID as well. */
  readonly id: number;
  readonly clock: Clock;
  readonly tsc: Tsc;
  readonly bus: LapicBus;
  /** Something that the processor may take has appeared. May be called when nothing new is deliverable. */
  readonly onEvent?: () => void;
  /** Sets IA32_APIC_BASE.BSP and leaves LINT0 as ExtINT, as firmware would. Default: `id` is 0. */
  readonly bootstrap?: boolean;
  /** CPUID.1:ECX[21]. Default true. */
  readonly x2apic?: boolean;
  /** CPUID.1:ECX[24]. Default true. */
  readonly tscDeadline?: boolean;
  /** MAXPHYADDR, 32–52. Default 40. */
  readonly physicalAddressBits?: number;
};

/** Modes, acceptance, dispensing and arbitration: the local APIC as the bus and the processor's event logic see it. */
export class LapicCore {
  readonly initialId: number;
  readonly timer: LapicTimer;
  protected readonly lvt: Lvt;
  protected readonly view: ReturnType<typeof LAPIC_LAYOUT.view>;
  protected readonly regs: Uint32Array;
  protected readonly base: Uint32Array;
  protected readonly esrSeen: Uint32Array;
  protected readonly bytes: Uint8Array;
  protected readonly bus: LapicBus;
  protected readonly onEvent: () => void;
  private readonly events: Uint32Array;
  private readonly sipi: Uint32Array;
  private readonly turns: Uint32Array;
  private readonly bootstrap: boolean;

  constructor(options: LocalApicOptions) {
    const { buffer, byteOffset } = options.state;
    const view = LAPIC_LAYOUT.view(buffer, byteOffset);
    this.view = view;
    this.bytes = bytesAt(buffer, byteOffset, LAPIC_LAYOUT.size);
    this.initialId = options.id;
    this.regs = view.regs;
    this.base = view.apicBase;
    this.esrSeen = view.esrSeen;
    this.events = view.events;
    this.sipi = view.sipiVector;
    this.turns = view.arbitration;
    this.bus = options.bus;
    this.onEvent = options.onEvent ?? (() => undefined);
    this.bootstrap = options.bootstrap ?? options.id === 0;
    this.timer = new LapicTimer({
      state: view,
      clock: options.clock,
      tsc: options.tsc,
      onExpire: () => this.lvt.deliver(APIC_LVT_TIMER),
    });
    this.lvt = new Lvt(view, this);
    if (view.poweredOn[0] === 0) this.reset();
    else this.timer.arm();
  }

  // Modes

  /** Enabled by IA32_APIC_BASE.EN; CPUID.1:EDX[9] shows this. */
  get enabled(): boolean {
    return (this.base[0] & APIC_BASE_ENABLE) !== 0;
  }

  get x2apic(): boolean {
    return (this.base[0] & (APIC_BASE_ENABLE | APIC_BASE_EXTD)) === (APIC_BASE_ENABLE | APIC_BASE_EXTD);
  }

  /** The xAPIC page answers at `pageAddress`. */
  get pageActive(): boolean {
    return this.enabled && !this.x2apic;
  }

  /** Guest-physical address of the register page. */
  get pageAddress(): number {
    return this.base[1] * 0x1_0000_0000 + ((this.base[0] & 0xffff_f000) >>> 0);
  }

  /** SVR bit 8, under IA32_APIC_BASE.EN. */
  get softwareEnabled(): boolean {
    return this.enabled && (this.regs[APIC_SVR >> 4] & SVR_ENABLE) !== 0;
  }

  /** The ID that physical destinations are compared with. */
  get id(): number {
    return this.x2apic ? this.initialId : this.regs[APIC_ID >> 4] >>> 24;
  }

  /** State after power-up. SDM vol. 3 §12.4.7.1 */
  reset(): void {
    this.bytes.fill(0);
    this.view.poweredOn[0] = 1;
    this.base[0] = (APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (this.bootstrap ? APIC_BASE_BSP : 0)) >>> 0;
    this.resetRegisters();
  }

  /** INIT: as power-up, but IA32_APIC_BASE and the ID stay. SDM vol. 3 §12.4.7.3 */
  init(): void {
    const id = this.regs[APIC_ID >> 4];
    this.resetRegisters();
    if (!this.x2apic) this.regs[APIC_ID >> 4] = id;
  }

  protected resetRegisters(): void {
    const { regs } = this;
    regs.fill(0);
    this.esrSeen[0] = 0;
    regs[APIC_ID >> 4] = this.initialId << 24;
    regs[APIC_VERSION >> 4] = APIC_VERSION_VALUE;
    regs[APIC_DFR >> 4] = 0xffff_ffff;
    regs[APIC_SVR >> 4] = 0xff;
    for (const offset of Object.keys(LVT_WRITABLE)) regs[Number(offset) >> 4] = LVT_MASKED;
    // Virtual wire: without firmware to program it, the boot processor listens to the 8259A on LINT0. MP specification §3.6.2.2
    if (this.bootstrap) regs[APIC_LVT_LINT0 >> 4] = DELIVERY_EXTINT << 8;
    if (this.x2apic) this.enterX2apic();
    this.timer.stop();
  }

  protected enterX2apic(): void {
    const id = this.initialId;
    this.regs[APIC_ID >> 4] = id;
    // SDM vol. 3 §12.12.10.2: cluster in the upper half, one bit in the lower.
    this.regs[APIC_LDR >> 4] = (((id >>> 4) << 16) | (1 << (id & 15))) >>> 0;
  }

  // Acceptance

  /**
   * Takes a message of any delivery mode from the bus. `vector` is ignored where the mode has none. `level` is the trigger mode.
   */
  accept(mode: number, vector: number, level: boolean): DeliveryCount {
    switch (mode) {
      case DELIVERY_FIXED:
      case DELIVERY_LOWEST:
        return this.acceptVector(vector, level);
      case DELIVERY_SMI:
        return this.post(EVENT_SMI);
      case DELIVERY_NMI:
        return this.post(EVENT_NMI);
      case DELIVERY_INIT:
        // A start-up IPI that came before the INIT is not kept for after it.
        Atomics.and(this.events, 0, ~EVENT_SIPI);
        return this.post(EVENT_INIT);
      case DELIVERY_SIPI:
        Atomics.store(this.sipi, 0, vector);
        return this.post(EVENT_SIPI);
      case DELIVERY_EXTINT:
        return this.post(EVENT_EXTINT);
      default:
        return -1;
    }
  }

  private acceptVector(vector: number, level: boolean): DeliveryCount {
    if (!this.softwareEnabled) return -1;
    if (vector < 16) {
      this.error(ESR_RECEIVE_ILLEGAL_VECTOR);
      return -1;
    }
    const word = vector >> 5;
    const bit = 1 << (vector & 31);
    const tmr = (APIC_TMR >> 4) + word;
    if (level) Atomics.or(this.regs, tmr, bit);
    else Atomics.and(this.regs, tmr, ~bit);
    const before = Atomics.or(this.regs, (APIC_IRR >> 4) + word, bit);
    if (before & bit) return 0;
    this.onEvent();
    return 1;
  }

  private post(event: number): DeliveryCount {
    const before = Atomics.or(this.events, 0, event);
    this.onEvent();
    return before & event ? 0 : 1;
  }

  /** Bits of EVENT_* that wait. */
  pendingEvents(): number {
    return Atomics.load(this.events, 0);
  }

  /** Takes `event` (one EVENT_* bit) off the queue; false when it was not there. */
  takeEvent(event: number): boolean {
    return (Atomics.and(this.events, 0, ~event) & event) !== 0;
  }

  /** The vector of the start-up IPI last accepted. */
  get sipiVector(): number {
    return Atomics.load(this.sipi, 0);
  }

  /** Sets pin LINT0 or LINT1. */
  setLint(pin: 0 | 1, level: 0 | 1): void {
    this.lvt.setLint(pin, level);
  }

  /** LINT0 hands the 8259A's INTR to the processor; with the APIC disabled its pin is INTR. SDM vol. 3 §12.4.3, §12.5.1 */
  acceptsPicInterrupts(): boolean {
    if (!this.enabled) return this.bootstrap;
    const lint0 = this.regs[APIC_LVT_LINT0 >> 4];
    return (lint0 & LVT_MASKED) === 0 && ((lint0 >> 8) & 7) === DELIVERY_EXTINT;
  }

  /** Delivers the performance-counter or thermal interrupt (APIC_LVT_PERF, APIC_LVT_THERMAL). */
  raiseLocal(lvtRegister: number): void {
    this.lvt.deliver(lvtRegister);
  }

  // Dispensing

  /** Processor priority: the higher of TPR and the class in service. SDM vol. 3 §12.8.3.1 */
  processorPriority(): number {
    const tpr = this.regs[APIC_TPR >> 4];
    const inService = highestVector(this.regs, APIC_ISR);
    const isrClass = inService < 0 ? 0 : inService & 0xf0;
    return (tpr & 0xf0) >= isrClass ? tpr : isrClass;
  }

  /** The vector that the processor would be given now, or -1. */
  deliverable(): number {
    if (!this.enabled) return -1;
    const vector = highestVector(this.regs, APIC_IRR);
    return vector >= 0 && (vector & 0xf0) > (this.processorPriority() & 0xf0) ? vector : -1;
  }

  hasInterrupt(): boolean {
    return this.deliverable() >= 0;
  }

  /** Moves the deliverable vector from IRR to ISR and returns it; -1 when there is none. */
  acknowledge(): number {
    const vector = this.deliverable();
    if (vector < 0) return -1;
    const word = vector >> 5;
    const bit = 1 << (vector & 31);
    Atomics.and(this.regs, (APIC_IRR >> 4) + word, ~bit);
    this.regs[(APIC_ISR >> 4) + word] |= bit;
    return vector;
  }

  /** SDM vol. 3 §12.8.5: ends the highest vector in service; an EOI with none in service has no effect. */
  eoi(): void {
    const vector = highestVector(this.regs, APIC_ISR);
    if (vector < 0) return;
    const word = vector >> 5;
    const bit = 1 << (vector & 31);
    this.regs[(APIC_ISR >> 4) + word] &= ~bit;
    this.lvt.eoi(vector);
    this.bus.broadcastEoi(vector, (this.regs[(APIC_TMR >> 4) + word] & bit) !== 0);
    this.recheck();
  }

  /** MOV to and from CR8: TPR bits 7–4. SDM vol. 3 §12.8.6 */
  get cr8(): number {
    return this.regs[APIC_TPR >> 4] >>> 4;
  }

  set cr8(value: number) {
    this.setTpr((value & 15) << 4);
  }

  protected setTpr(value: number): void {
    this.regs[APIC_TPR >> 4] = value & 0xff;
    this.recheck();
  }

  protected recheck(): void {
    if (this.hasInterrupt()) this.onEvent();
  }

  // Arbitration, as the bus sees it

  /** Takes part in lowest-priority arbitration at this priority, then by turns. SDM vol. 3 §12.6.2.4 */
  arbitrationPriority(): number {
    const requested = highestVector(this.regs, APIC_IRR) & 0xf0;
    const current = this.processorPriority() & 0xf0;
    return requested > current && requested !== 0xf0 ? requested : current;
  }

  get arbitrationTurns(): number {
    return this.turns[0];
  }

  tookTurn(): void {
    this.turns[0]++;
  }

  get logicalId(): number {
    return this.regs[APIC_LDR >> 4];
  }

  /** DFR's model: logical IDs are a flat bit mask, not clusters. */
  get flatModel(): boolean {
    return this.regs[APIC_DFR >> 4] >>> 28 === DFR_FLAT;
  }

  // Errors

  /** Records `bits` for ESR and signals the error interrupt. SDM vol. 3 §12.5.3 */
  error(bits: number): void {
    const before = Atomics.or(this.esrSeen, 0, bits);
    if ((before & bits) !== bits) this.lvt.deliver(APIC_LVT_ERROR);
  }
}

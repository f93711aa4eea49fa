/**
 * A local APIC: xAPIC page, x2APIC MSRs, IA32_APIC_BASE, interrupt acceptance and dispensing. SDM vol. 3 chapter 12.
 *
 * IRR words and the event bits are set with atomic operations, so that a device on another thread may post while the owning vCPU
 * dispenses; everything else is touched by the vCPU's own thread.
 */

import { checkLapicImage, LAPIC_IMAGE } from './lapic-image.ts';
import { Lvt } from './lapic-lvt.ts';
import {
  APIC_APR,
  APIC_BASE_BSP,
  APIC_BASE_ENABLE,
  APIC_BASE_EXTD,
  APIC_DEFAULT_BASE,
  APIC_DFR,
  APIC_EOI,
  APIC_ESR,
  APIC_ICR,
  APIC_ICR2,
  APIC_ID,
  APIC_IRR,
  APIC_ISR,
  APIC_LDR,
  APIC_LVT_ERROR,
  APIC_LVT_LINT0,
  APIC_LVT_LINT1,
  APIC_LVT_PERF,
  APIC_LVT_THERMAL,
  APIC_LVT_TIMER,
  APIC_PPR,
  APIC_RRD,
  APIC_SELF_IPI,
  APIC_SVR,
  APIC_TDCR,
  APIC_TMCCT,
  APIC_TMICT,
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
  ESR_ILLEGAL_REGISTER,
  ESR_RECEIVE_ILLEGAL_VECTOR,
  EVENT_EXTINT,
  EVENT_INIT,
  EVENT_NMI,
  EVENT_SIPI,
  EVENT_SMI,
  highestVector,
  ICR_WRITABLE,
  LAPIC_LAYOUT,
  LVT_MASKED,
  LVT_WRITABLE,
  MSR_APIC_BASE,
  MSR_TSC_DEADLINE,
  MSR_X2APIC_FIRST,
  MSR_X2APIC_LAST,
  SVR_ENABLE,
  SVR_WRITABLE,
  TIMER_TSC_DEADLINE,
} from './lapic-registers.ts';
import { LapicTimer } from './lapic-timer.ts';
import type { Clock, DeliveryCount, IoLen, StatePlace, Tsc } from './ports.ts';
import { bytesAt, saveImage } from './state-image.ts';

/** What a local APIC sends: its IPIs and, for level-triggered vectors, the end of interrupt. */
export type LapicBus = {
  /** ICR written: `icr` is the low half, `dest` the destination field (8 bits, or 32 in x2APIC mode). */
  readonly sendIpi: (from: LocalApic, icr: number, dest: number) => void;
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

/** Receives an MSR's value in two halves. */
export type MsrValue = { lo: number; hi: number };

const ZERO_READS = new Set([APIC_APR, APIC_RRD, APIC_EOI]);
const X2_RESERVED_TPR = 0xffff_ff00;

export class LocalApic {
  readonly initialId: number;
  /** The 4 KiB register page (conventionally at IA32_APIC_BASE). Reads ones and ignores writes outside xAPIC mode. */
  readonly device: {
    readonly read: (offset: number, len: IoLen) => number;
    readonly write: (offset: number, len: IoLen, value: number) => void;
  };
  readonly timer: LapicTimer;
  private readonly lvt: Lvt;
  private readonly regs: Uint32Array;
  private readonly base: Uint32Array;
  private readonly deadline: Uint32Array;
  private readonly esrSeen: Uint32Array;
  private readonly events: Uint32Array;
  private readonly sipi: Uint32Array;
  private readonly turns: Uint32Array;
  private readonly view: ReturnType<typeof LAPIC_LAYOUT.view>;
  private readonly bytes: Uint8Array;
  private readonly clock: Clock;
  private readonly bus: LapicBus;
  private readonly onEvent: () => void;
  private readonly bootstrap: boolean;
  private readonly hasX2apic: boolean;
  private readonly hasTscDeadline: boolean;
  private readonly baseHighMask: number;

  constructor(options: LocalApicOptions) {
    const { buffer, byteOffset } = options.state;
    const view = LAPIC_LAYOUT.view(buffer, byteOffset);
    this.view = view;
    this.bytes = bytesAt(buffer, byteOffset, LAPIC_LAYOUT.size);
    this.initialId = options.id;
    this.regs = view.regs;
    this.base = view.apicBase;
    this.deadline = view.tscDeadline;
    this.esrSeen = view.esrSeen;
    this.events = view.events;
    this.sipi = view.sipiVector;
    this.turns = view.arbitration;
    this.clock = options.clock;
    this.bus = options.bus;
    this.onEvent = options.onEvent ?? (() => undefined);
    this.bootstrap = options.bootstrap ?? options.id === 0;
    this.hasX2apic = options.x2apic ?? true;
    this.hasTscDeadline = options.tscDeadline ?? true;
    this.baseHighMask = 2 ** ((options.physicalAddressBits ?? 40) - 32) - 1;
    this.device = {
      read: (offset, len) => this.readPage(offset, len),
      write: (offset, len, value) => this.writePage(offset, len, value),
    };
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

  private resetRegisters(): void {
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

  private enterX2apic(): void {
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

  private setTpr(value: number): void {
    this.regs[APIC_TPR >> 4] = value & 0xff;
    this.recheck();
  }

  private recheck(): void {
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

  // Register page

  private readPage(offset: number, len: IoLen): number {
    if (!this.pageActive) return 0xffff_ffff >>> (32 - 8 * len);
    const byte = offset & 15;
    if (byte + len > 4) return 0;
    const register = offset & 0xff0;
    if (!this.exists(register)) {
      this.error(ESR_ILLEGAL_REGISTER);
      return 0;
    }
    const value = this.readRegister(register) >>> (8 * byte);
    return len === 4 ? value : value & (2 ** (8 * len) - 1);
  }

  /** SDM vol. 3 §12.4.1: registers are written with aligned 32-bit stores; anything else is undefined and ignored here. */
  private writePage(offset: number, len: IoLen, value: number): void {
    if (!this.pageActive || len !== 4 || (offset & 15) !== 0) return;
    const register = offset & 0xff0;
    if (!this.exists(register)) {
      this.error(ESR_ILLEGAL_REGISTER);
      return;
    }
    switch (register) {
      case APIC_ID:
        this.regs[APIC_ID >> 4] = value & 0xff00_0000;
        return;
      case APIC_LDR:
        this.regs[APIC_LDR >> 4] = value & 0xff00_0000;
        return;
      case APIC_DFR:
        this.regs[APIC_DFR >> 4] = value | 0x0fff_ffff;
        return;
      case APIC_ICR2:
        this.regs[APIC_ICR2 >> 4] = value & 0xff00_0000;
        return;
      case APIC_ICR:
        this.writeIcr(value, this.regs[APIC_ICR2 >> 4] >>> 24);
        return;
      default:
        this.writeCommon(register, value);
    }
  }

  /** The registers of table 12-1 in xAPIC mode. */
  private exists(register: number): boolean {
    if (register >= APIC_ISR && register <= APIC_ESR) return true;
    if (register >= APIC_ICR && register <= APIC_TMCCT) return true;
    if (register >= APIC_TPR && register <= APIC_SVR) return true;
    return register === APIC_ID || register === APIC_VERSION || register === APIC_TDCR;
  }

  private readRegister(register: number): number {
    if (ZERO_READS.has(register)) return 0;
    if (register === APIC_PPR) return this.processorPriority();
    if (register === APIC_TMCCT) return this.timer.currentCount();
    return this.regs[register >> 4];
  }

  /** Registers that are written alike in both modes. Read-only ones ignore the write. */
  private writeCommon(register: number, value: number): void {
    switch (register) {
      case APIC_TPR:
        this.setTpr(value);
        return;
      case APIC_EOI:
        this.eoi();
        return;
      case APIC_SVR:
        this.writeSvr(value);
        return;
      case APIC_ESR:
        // SDM vol. 3 §12.5.3: a write makes what was recorded since the last one readable.
        this.regs[APIC_ESR >> 4] = Atomics.exchange(this.esrSeen, 0, 0);
        return;
      case APIC_LVT_TIMER:
      case APIC_LVT_THERMAL:
      case APIC_LVT_PERF:
      case APIC_LVT_LINT0:
      case APIC_LVT_LINT1:
      case APIC_LVT_ERROR:
        this.writeLvt(register, value);
        return;
      case APIC_TMICT:
        this.timer.setInitialCount(value);
        return;
      case APIC_TDCR:
        this.timer.setDivide(value);
        return;
      default:
    }
  }

  /** SDM vol. 3 §12.4.7.2: while disabled by software every LVT entry stays masked; IRR and ISR keep what they hold. */
  private writeSvr(value: number): void {
    this.regs[APIC_SVR >> 4] = value & SVR_WRITABLE;
    if (value & SVR_ENABLE) return;
    for (let register = APIC_LVT_TIMER; register <= APIC_LVT_ERROR; register += 16) this.regs[register >> 4] |= LVT_MASKED;
  }

  private writeLvt(register: number, value: number): void {
    const index = register >> 4;
    const before = this.timer.mode();
    let next = value & LVT_WRITABLE[register];
    if (register === APIC_LVT_TIMER && !this.hasTscDeadline) next &= ~(TIMER_TSC_DEADLINE << 17);
    if (!this.softwareEnabled) next |= LVT_MASKED;
    this.lvt.write(index, next);
    if (register === APIC_LVT_TIMER) this.timer.modeChanged(before);
    // INTR may have been waiting for this entry to open.
    if (register === APIC_LVT_LINT0) this.onEvent();
  }

  private writeIcr(icr: number, dest: number): void {
    this.regs[APIC_ICR >> 4] = icr & ICR_WRITABLE;
    this.bus.sendIpi(this, icr & ICR_WRITABLE, dest);
  }

  // MSRs

  /** Reads IA32_APIC_BASE, IA32_TSC_DEADLINE or an x2APIC register. False: #GP(0). */
  readMsr(index: number, into: MsrValue): boolean {
    into.hi = 0;
    if (index === MSR_APIC_BASE) {
      into.lo = this.base[0];
      into.hi = this.base[1];
      return true;
    }
    if (index === MSR_TSC_DEADLINE) {
      if (!this.hasTscDeadline) return false;
      into.lo = this.deadline[0];
      into.hi = this.deadline[1];
      return true;
    }
    const register = this.x2apicRegister(index);
    if (register < 0 || register === APIC_EOI || register === APIC_SELF_IPI) return false;
    into.lo = this.readRegister(register);
    if (register === APIC_ICR) into.hi = this.regs[APIC_ICR2 >> 4];
    return true;
  }

  /** Writes the same MSRs. False: #GP(0), nothing changed. */
  writeMsr(index: number, lo: number, hi: number): boolean {
    if (index === MSR_APIC_BASE) return this.writeApicBase(lo, hi);
    if (index === MSR_TSC_DEADLINE) {
      if (this.hasTscDeadline) this.timer.setDeadline(lo, hi);
      return this.hasTscDeadline;
    }
    const register = this.x2apicRegister(index);
    if (register < 0 || (register !== APIC_ICR && hi !== 0)) return false;
    return this.writeX2apic(register, lo, hi);
  }

  /** The register behind an MSR of table 12-6, or -1 where it gives #GP(0). */
  private x2apicRegister(index: number): number {
    if (!this.x2apic || index < MSR_X2APIC_FIRST || index > MSR_X2APIC_LAST) return -1;
    const register = (index - MSR_X2APIC_FIRST) << 4;
    if (register === APIC_SELF_IPI) return register;
    const absent = register === APIC_APR || register === APIC_RRD || register === APIC_DFR || register === APIC_ICR2;
    return this.exists(register) && !absent ? register : -1;
  }

  private writeX2apic(register: number, lo: number, hi: number): boolean {
    switch (register) {
      case APIC_ICR:
        if (lo & ~ICR_WRITABLE) return false;
        this.regs[APIC_ICR2 >> 4] = hi;
        this.writeIcr(lo, hi);
        return true;
      case APIC_SELF_IPI:
        if (lo > 0xff) return false;
        this.bus.sendIpi(this, lo | (1 << 18), 0);
        return true;
      case APIC_EOI:
      case APIC_ESR:
        // SDM vol. 3 §12.12.1.2, table 12-6: only zero may be written.
        if (lo !== 0) return false;
        break;
      case APIC_TPR:
        if (lo & X2_RESERVED_TPR) return false;
        break;
      case APIC_SVR:
        if (lo & ~SVR_WRITABLE) return false;
        break;
      case APIC_TMICT:
        break;
      case APIC_TDCR:
        if (lo & ~0xb) return false;
        break;
      default:
        if (!this.lvtWritable(register, lo)) return false;
    }
    this.writeCommon(register, lo);
    return true;
  }

  /** Read-only registers refuse every write, LVT entries their reserved bits. Delivery status and remote IRR are ignored. */
  private lvtWritable(register: number, value: number): boolean {
    const writable = LVT_WRITABLE[register];
    return writable !== undefined && (value & ~(writable | 0x5000)) === 0;
  }

  /** SDM vol. 3 §12.12.5, figure 12-27: which changes of EN and EXTD are allowed. */
  private writeApicBase(lo: number, hi: number): boolean {
    const modes = APIC_BASE_ENABLE | APIC_BASE_EXTD;
    const reserved = lo & 0x2ff;
    if (reserved !== 0 || hi > this.baseHighMask) return false;
    const from = this.base[0] & modes;
    const to = lo & modes;
    if (to === APIC_BASE_EXTD) return false;
    if (to & APIC_BASE_EXTD && (!this.hasX2apic || from === 0)) return false;
    if (from === modes && to === APIC_BASE_ENABLE) return false;
    this.base[0] = lo;
    this.base[1] = hi;
    // Disabling loses the APIC's state. SDM vol. 3 §12.4.3
    if (to === 0 && from !== 0) this.resetRegisters();
    if (to === modes && from !== modes) this.enterX2apic();
    return true;
  }

  // State

  [Symbol.dispose](): void {
    this.timer.disarm();
  }

  save(): Uint8Array {
    return saveImage(LAPIC_IMAGE, this.clock.monotonicNs(), this.bytes);
  }

  /** @throws IrqChipError IRQCHIP_BAD_STATE, and then nothing has changed. */
  restore(image: unknown): void {
    this.prepareRestore(image)();
  }

  /** Checks an image; the returned function takes it over. A TSC deadline is timed anew against this machine's TSC. */
  prepareRestore(image: unknown): () => void {
    const { bytes, savedNs } = checkLapicImage(image);
    return () => {
      this.bytes.set(bytes);
      this.view.timerTargetNs[0] += this.clock.monotonicNs() - savedNs;
      this.timer.arm();
      this.timer.retime();
      this.onEvent();
    };
  }
}

/** A local APIC over `options.state`; all-zero bytes are taken as power-on. */
export function createLocalApic(options: LocalApicOptions): LocalApic {
  return new LocalApic(options);
}

/** The local APIC's registers as software reaches them: the xAPIC page, the x2APIC MSRs, IA32_APIC_BASE. SDM vol. 3 §12.4, §12.12 */

import type { LocalApicOptions } from './lapic-core.ts';
import { LapicCore } from './lapic-core.ts';
import { checkLapicImage, LAPIC_IMAGE } from './lapic-image.ts';
import {
  APIC_APR,
  APIC_BASE_ENABLE,
  APIC_BASE_EXTD,
  APIC_DFR,
  APIC_EOI,
  APIC_ESR,
  APIC_ICR,
  APIC_ICR2,
  APIC_ID,
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
  APIC_TPR,
  APIC_VERSION,
  ESR_ILLEGAL_REGISTER,
  ICR_WRITABLE,
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
import type { Clock, IoLen } from './ports.ts';
import { saveImage } from './state-image.ts';

/** Receives an MSR's value in two halves. */
export type MsrValue = { lo: number; hi: number };

const ZERO_READS = new Set([APIC_APR, APIC_RRD, APIC_EOI]);
const X2_RESERVED_TPR = 0xffff_ff00;

export class LocalApic extends LapicCore {
  /** The 4 KiB register page (conventionally at IA32_APIC_BASE). Reads ones and ignores writes outside xAPIC mode. */
  readonly device: {
    readonly read: (offset: number, len: IoLen) => number;
    readonly write: (offset: number, len: IoLen, value: number) => void;
  };
  private readonly deadline: Uint32Array;
  private readonly clock: Clock;
  private readonly hasX2apic: boolean;
  private readonly hasTscDeadline: boolean;
  private readonly baseHighMask: number;

  constructor(options: LocalApicOptions) {
    super(options);
    this.deadline = this.view.tscDeadline;
    this.clock = options.clock;
    this.hasX2apic = options.x2apic ?? true;
    this.hasTscDeadline = options.tscDeadline ?? true;
    this.baseHighMask = 2 ** ((options.physicalAddressBits ?? 40) - 32) - 1;
    this.device = {
      read: (offset, len) => this.readPage(offset, len),
      write: (offset, len, value) => this.writePage(offset, len, value),
    };
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

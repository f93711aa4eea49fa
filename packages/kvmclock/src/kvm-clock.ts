/**
 * kvm-clock: a guest's nanosecond clock, read from a shared page and the TSC without leaving the guest, and the wall clock that
 * belongs to it. Linux: Documentation/virt/kvm/x86/msr.rst
 *
 * All processors' pages describe the same clock at the same moment (KVM's master clock). As TSC and clock are both linear in the
 * monotonic clock, a page stays right until a TSC or the clock is set.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import { KvmClockError } from './errors.ts';
import type { Clock, GuestMemory, GuestTscs, Pair, StatePlace } from './ports.ts';
import type { Scale } from './pvclock.ts';
import { encodeTimeInfo, PVCLOCK_GUEST_STOPPED, PVCLOCK_TSC_STABLE, TIME_INFO_SIZE, tscScale } from './pvclock.ts';
import { badState, openImage, saveImage } from './state-image.ts';

export const MSR_KVM_WALL_CLOCK = 0x11;
export const MSR_KVM_SYSTEM_TIME = 0x12;
export const MSR_KVM_WALL_CLOCK_NEW = 0x4b56_4d00;
export const MSR_KVM_SYSTEM_TIME_NEW = 0x4b56_4d01;
export const MSR_KVM_ASYNC_PF_EN = 0x4b56_4d02;
export const MSR_KVM_STEAL_TIME = 0x4b56_4d03;
export const MSR_KVM_PV_EOI_EN = 0x4b56_4d04;

/** For KVM_GET_MSR_INDEX_LIST. */
export const KVM_CLOCK_MSRS: readonly number[] = [
  MSR_KVM_WALL_CLOCK,
  MSR_KVM_SYSTEM_TIME,
  MSR_KVM_WALL_CLOCK_NEW,
  MSR_KVM_SYSTEM_TIME_NEW,
  MSR_KVM_ASYNC_PF_EN,
  MSR_KVM_STEAL_TIME,
  MSR_KVM_PV_EOI_EN,
];

const vmLayout = defineLayout('kvmclock', {
  /** kvm-clock minus monotonic clock (ns). */
  offsetNs: array('f64', 1),
  wallClock: array('u32', 2),
  started: array('u32', 1),
});

const cpuLayout = defineLayout('kvmclock-cpu', {
  /** MSRs as written, low word first. Bit 0 enables. */
  systemTime: array('u32', 2),
  asyncPf: array('u32', 2),
  stealTime: array('u32', 2),
  pvEoi: array('u32', 2),
  /** Version of the page: even outside updates. */
  version: array('u32', 1),
  /** PVCLOCK_GUEST_STOPPED until the guest has been told. */
  stopped: array('u32', 1),
});

const VM_SIZE = Math.ceil(vmLayout.size / 8) * 8;
const CPU_SIZE = Math.ceil(cpuLayout.size / 8) * 8;
const PART = 2;
const ENABLE = 1;

/** Bytes of state for `cpus` processors, 8-byte aligned. */
export function kvmClockLayout(cpus: number): { readonly size: number; readonly align: number } {
  return { size: VM_SIZE + cpus * CPU_SIZE, align: 8 };
}

export type KvmClockOptions = {
  /** `kvmClockLayout(cpus).size` bytes, zero at first. */
  readonly state: StatePlace;
  readonly cpus: number;
  readonly clock: Clock;
  readonly memory: GuestMemory;
  readonly tsc: GuestTscs;
};

/** KVM_GET_CLOCK. */
export type ClockReading = {
  /** The kvm-clock in ns. */
  readonly clockNs: number;
  /** Wall clock at the same moment, ns since 1970 UTC. */
  readonly realtimeNs: bigint;
  /** All processors read one clock, straight from the TSC. */
  readonly tscStable: boolean;
};

type CpuState = ReturnType<typeof cpuLayout.view>;

export class KvmClock {
  private readonly vm: ReturnType<typeof vmLayout.view>;
  private readonly cpus: CpuState[];
  private readonly bytes: Uint8Array;
  private readonly clock: Clock;
  private readonly memory: GuestMemory;
  private readonly tsc: GuestTscs;
  private readonly page = new Uint8Array(TIME_INFO_SIZE);
  private readonly pageView = new DataView(this.page.buffer);
  private readonly scratch: Pair = { lo: 0, hi: 0 };
  private readonly scales = new Map<number, Scale>();

  constructor(options: KvmClockOptions) {
    const { buffer, byteOffset } = options.state;
    if (!Number.isInteger(options.cpus) || options.cpus < 1)
      throw new KvmClockError('KVMCLOCK_BAD_ARGUMENT', `${options.cpus} processors`);
    this.vm = vmLayout.view(buffer, byteOffset);
    this.cpus = Array.from({ length: options.cpus }, (_, cpu) => cpuLayout.view(buffer, byteOffset + VM_SIZE + cpu * CPU_SIZE));
    this.bytes = new Uint8Array(buffer, byteOffset, kvmClockLayout(options.cpus).size);
    this.clock = options.clock;
    this.memory = options.memory;
    this.tsc = options.tsc;
    if (this.vm.started[0] === 0) {
      this.vm.started[0] = 1;
      this.vm.offsetNs[0] = -Math.floor(this.clock.monotonicNs());
    }
  }

  /** This package implements MSR `index`. */
  handles(index: number): boolean {
    return KVM_CLOCK_MSRS.includes(index);
  }

  /** False: #GP(0), as for an MSR that is not of this package. */
  readMsr(cpu: number, index: number, into: Pair): boolean {
    const value = this.msr(cpu, index);
    if (value === undefined) return false;
    [into.lo, into.hi] = value;
    return true;
  }

  /** False: #GP(0), nothing changed. A page address without memory is accepted and has no effect, as under KVM. */
  writeMsr(cpu: number, index: number, lo: number, hi: number): boolean {
    const value = this.msr(cpu, index);
    if (value === undefined) return false;
    // Asynchronous page faults are not announced: a guest can leave them off, nothing else.
    if (index === MSR_KVM_ASYNC_PF_EN && lo & ENABLE) return false;
    value[0] = lo;
    value[1] = hi;
    if (index === MSR_KVM_SYSTEM_TIME || index === MSR_KVM_SYSTEM_TIME_NEW) this.publish(cpu, this.clock.monotonicNs());
    else if (index === MSR_KVM_WALL_CLOCK || index === MSR_KVM_WALL_CLOCK_NEW) this.writeWallClock(address(value));
    return true;
  }

  private msr(cpu: number, index: number): Uint32Array | undefined {
    switch (index) {
      case MSR_KVM_WALL_CLOCK:
      case MSR_KVM_WALL_CLOCK_NEW:
        return this.vm.wallClock;
      case MSR_KVM_SYSTEM_TIME:
      case MSR_KVM_SYSTEM_TIME_NEW:
        return this.cpus[cpu].systemTime;
      case MSR_KVM_ASYNC_PF_EN:
        return this.cpus[cpu].asyncPf;
      // Not announced, so no guest relies on them; the value is kept and nothing is written to memory.
      case MSR_KVM_STEAL_TIME:
        return this.cpus[cpu].stealTime;
      case MSR_KVM_PV_EOI_EN:
        return this.cpus[cpu].pvEoi;
      default:
        return undefined;
    }
  }

  /** Writes every enabled page anew: after a TSC or guest memory was changed from outside. */
  refresh(): void {
    const now = this.clock.monotonicNs();
    for (let cpu = 0; cpu < this.cpus.length; cpu++) this.publish(cpu, now);
  }

  /** The page's version is odd while its content changes: a reader on another processor tries again. */
  private publish(cpu: number, now: number): void {
    const state = this.cpus[cpu];
    if ((state.systemTime[0] & ENABLE) === 0) return;
    const gpa = address(state.systemTime);
    const flags = (this.tsc.uniform() ? PVCLOCK_TSC_STABLE : 0) | state.stopped[0];
    this.tsc.readAt(cpu, now, this.scratch);
    encodeTimeInfo(this.pageView, this.scratch, Math.max(0, Math.floor(now + this.vm.offsetNs[0])), this.scale(cpu), flags);
    state.version[0] = (state.version[0] | 1) >>> 0;
    this.pageView.setUint32(0, state.version[0], true);
    if (!this.store(gpa, this.page.subarray(0, 4)) || !this.store(gpa, this.page)) return;
    state.version[0]++;
    this.pageView.setUint32(0, state.version[0], true);
    this.store(gpa, this.page.subarray(0, 4));
    state.stopped[0] = 0;
  }

  private scale(cpu: number): Scale {
    const khz = this.tsc.khz(cpu);
    let scale = this.scales.get(khz);
    if (scale === undefined) this.scales.set(khz, (scale = tscScale(khz)));
    return scale;
  }

  /** struct pvclock_wall_clock: the wall time at which the kvm-clock was zero; the guest adds the clock to it. */
  private writeWallClock(gpa: number): void {
    const wall = new Uint8Array(12);
    const view = new DataView(wall.buffer);
    if (!this.load(gpa, wall.subarray(0, 4))) return;
    const version = (view.getUint32(0, true) | 1) >>> 0;
    const boot = this.clock.realtimeNs() - BigInt(Math.floor(this.clockNs()));
    view.setUint32(0, version, true);
    view.setUint32(4, Number(BigInt.asUintN(32, boot / 1_000_000_000n)), true);
    view.setUint32(8, Number(boot % 1_000_000_000n), true);
    this.store(gpa, wall.subarray(0, 4));
    this.store(gpa, wall);
    view.setUint32(0, version + 1, true);
    this.store(gpa, wall.subarray(0, 4));
  }

  /** The guest chose the address: one without memory behind it must not stop the machine. */
  private store(gpa: number, bytes: Uint8Array): boolean {
    try {
      this.memory.write(gpa, bytes);
      return true;
    } catch {
      return false;
    }
  }

  private load(gpa: number, into: Uint8Array): boolean {
    try {
      this.memory.read(gpa, into);
      return true;
    } catch {
      return false;
    }
  }

  private clockNs(): number {
    return this.clock.monotonicNs() + this.vm.offsetNs[0];
  }

  /** KVM_GET_CLOCK. */
  getClock(): ClockReading {
    return { clockNs: Math.floor(this.clockNs()), realtimeNs: this.clock.realtimeNs(), tscStable: this.tsc.uniform() };
  }

  /**
   * KVM_SET_CLOCK: the clock shows `clockNs` from now on, never less. `flags` must be 0.
   * @throws KvmClockError KVMCLOCK_BAD_FLAGS, KVMCLOCK_BAD_ARGUMENT
   */
  setClock(clockNs: number, flags = 0): void {
    if (flags !== 0) throw new KvmClockError('KVMCLOCK_BAD_FLAGS', `clock flags ${flags}: none are known`);
    if (!Number.isSafeInteger(clockNs) || clockNs < 0)
      throw new KvmClockError('KVMCLOCK_BAD_ARGUMENT', `clock of ${clockNs} ns: whole numbers below 2^53`);
    this.vm.offsetNs[0] = clockNs - Math.floor(this.clock.monotonicNs());
    this.refresh();
  }

  /** KVM_KVMCLOCK_CTRL: the guest was stopped on purpose; its watchdogs look at this flag before they complain. */
  notifyStopped(): void {
    for (const cpu of this.cpus) cpu.stopped[0] = PVCLOCK_GUEST_STOPPED;
    this.refresh();
  }

  /** Processor reset: its page is no longer written. The clock goes on. */
  resetCpu(cpu: number): void {
    const state = this.cpus[cpu];
    for (const msr of [state.systemTime, state.asyncPf, state.stealTime, state.pvEoi]) msr.fill(0);
  }

  save(): Uint8Array {
    return saveImage(PART, this.clock.monotonicNs(), this.bytes);
  }

  /**
   * Goes on from the saved time and writes the pages anew: guest memory and TSCs are to be restored before.
   * @throws KvmClockError KVMCLOCK_BAD_STATE, and then nothing has changed.
   */
  restore(image: unknown): void {
    const { bytes, savedNs } = openImage(PART, this.bytes.length, image);
    const vm = vmLayout.view(bytes.buffer);
    if (vm.started[0] !== 1 || !(Math.abs(vm.offsetNs[0]) <= Number.MAX_SAFE_INTEGER)) throw badState('has no valid clock');
    for (let cpu = 0; cpu < this.cpus.length; cpu++) {
      const state = cpuLayout.view(bytes.buffer, VM_SIZE + cpu * CPU_SIZE);
      if (state.stopped[0] & ~PVCLOCK_GUEST_STOPPED || state.asyncPf[0] & ENABLE) throw badState('sets reserved bits');
    }
    vm.offsetNs[0] += Math.ceil(savedNs) - Math.floor(this.clock.monotonicNs());
    this.bytes.set(bytes);
    this.refresh();
  }
}

/** Guest-physical address in an MSR whose bit 0 is a flag. */
const address = (msr: Uint32Array): number => msr[1] * 0x1_0000_0000 + ((msr[0] & ~ENABLE) >>> 0);

/** A kvm-clock that begins at zero now, unless the bytes of `options.state` hold one already. */
export function createKvmClock(options: KvmClockOptions): KvmClock {
  return new KvmClock(options);
}

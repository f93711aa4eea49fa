/**
 * Time stamp counters of the guest: one for each processor, a multiple of the monotonic clock plus an offset. SDM vol. 3 §19.17
 *
 * A counter is `floor(ns × kHz / 10^6) + offset`, modulo 2^64. At the default of 1 GHz a tick is a nanosecond.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import { KvmClockError } from './errors.ts';
import type { Clock, Pair, StatePlace } from './ports.ts';
import { badState, openImage, saveImage } from './state-image.ts';

/** One processor's counter. Offset and IA32_TSC_ADJUST are 64-bit, low word first. */
export const TSC_LAYOUT = defineLayout('tsc', {
  /** Zero in bytes that no counter has used yet. */
  khz: array('f64', 1),
  offset: array('u32', 2),
  adjust: array('u32', 2),
});

export const MSR_IA32_TSC = 0x10;
export const MSR_IA32_TSC_ADJUST = 0x3b;
export const DEFAULT_TSC_KHZ = 1_000_000;

const TWO32 = 0x1_0000_0000;
const PART = 1;

export type TscBankOptions = {
  /** `cpus` × TSC_LAYOUT.size bytes. */
  readonly state: StatePlace;
  readonly cpus: number;
  readonly clock: Pick<Clock, 'monotonicNs'>;
  /** Frequency of all counters in kHz, 1 to 2^32 − 1. Default 1,000,000: a tick is a nanosecond. */
  readonly khz?: number;
  /** A counter moved against the clock: its deadlines and pvclock page are to be computed anew. */
  readonly onChange?: (cpu: number) => void;
};

type Counter = { readonly khz: Float64Array; readonly offset: Uint32Array; readonly adjust: Uint32Array };

export class TscBank {
  private readonly counters: Counter[];
  private readonly bytes: Uint8Array;
  private readonly clock: Pick<Clock, 'monotonicNs'>;
  private readonly onChange: (cpu: number) => void;
  private readonly scratch: Pair = { lo: 0, hi: 0 };

  constructor(options: TscBankOptions) {
    const { buffer, byteOffset } = options.state;
    if (!Number.isInteger(options.cpus) || options.cpus < 1)
      throw new KvmClockError('KVMCLOCK_BAD_ARGUMENT', `${options.cpus} processors`);
    const khz = checkKhz(options.khz ?? DEFAULT_TSC_KHZ);
    this.clock = options.clock;
    this.onChange = options.onChange ?? (() => undefined);
    this.bytes = new Uint8Array(buffer, byteOffset, options.cpus * TSC_LAYOUT.size);
    this.counters = Array.from({ length: options.cpus }, (_, cpu) => TSC_LAYOUT.view(buffer, byteOffset + cpu * TSC_LAYOUT.size));
    // All counters begin at zero together, so that the guest finds them synchronised.
    const now = this.clock.monotonicNs();
    for (const counter of this.counters) {
      if (counter.khz[0] !== 0) continue;
      counter.khz[0] = khz;
      setOffset(counter.offset, -BigInt(ticks(khz, now)));
    }
  }

  /** The counter of `cpu` now. */
  read(cpu: number, into: Pair): void {
    this.readAt(cpu, this.clock.monotonicNs(), into);
  }

  /** The counter of `cpu` at time `ns` of the clock. */
  readAt(cpu: number, ns: number, into: Pair): void {
    const { khz, offset } = this.counters[cpu];
    const host = ticks(khz[0], ns);
    const lo = (host % TWO32) + offset[0];
    into.lo = lo >>> 0;
    into.hi = (Math.floor(host / TWO32) + offset[1] + (lo >= TWO32 ? 1 : 0)) >>> 0;
  }

  /** When (ns of the clock) the counter of `cpu` reaches `hi:lo`; now or earlier if it has. */
  deadlineNs(cpu: number, lo: number, hi: number): number {
    const now = this.clock.monotonicNs();
    const khz = this.counters[cpu].khz[0];
    this.readAt(cpu, now, this.scratch);
    const ahead = (hi - this.scratch.hi) * TWO32 + (lo - this.scratch.lo);
    if (ahead <= 0) return now;
    return Math.ceil(((ticks(khz, now) + ahead) * 1e6) / khz);
  }

  /** The view of one processor's counter that its local APIC timer takes. */
  deadlinePort(cpu: number): { readonly deadlineNs: (lo: number, hi: number) => number } {
    return { deadlineNs: (lo, hi) => this.deadlineNs(cpu, lo, hi) };
  }

  khz(cpu: number): number {
    return this.counters[cpu].khz[0];
  }

  /** KVM_SET_TSC_KHZ: the counter goes on from its present value at another rate. */
  setKhz(cpu: number, khz: number): void {
    checkKhz(khz);
    const now = this.clock.monotonicNs();
    const value = this.valueAt(cpu, now);
    const counter = this.counters[cpu];
    counter.khz[0] = khz;
    setOffset(counter.offset, value - BigInt(ticks(khz, now)));
    this.onChange(cpu);
  }

  uniform(): boolean {
    const [first] = this.counters;
    return this.counters.every(
      ({ khz, offset }) => khz[0] === first.khz[0] && offset[0] === first.offset[0] && offset[1] === first.offset[1],
    );
  }

  private valueAt(cpu: number, ns: number): bigint {
    this.readAt(cpu, ns, this.scratch);
    return (BigInt(this.scratch.hi) << 32n) | BigInt(this.scratch.lo);
  }

  /** Reads IA32_TSC or IA32_TSC_ADJUST; false for any other index. */
  readMsr(cpu: number, index: number, into: Pair): boolean {
    if (index === MSR_IA32_TSC) {
      this.read(cpu, into);
      return true;
    }
    if (index !== MSR_IA32_TSC_ADJUST) return false;
    [into.lo, into.hi] = this.counters[cpu].adjust;
    return true;
  }

  /** Writes them. Each write moves both the counter and IA32_TSC_ADJUST by the same amount. SDM vol. 3 §19.17.3 */
  writeMsr(cpu: number, index: number, lo: number, hi: number): boolean {
    if (index !== MSR_IA32_TSC && index !== MSR_IA32_TSC_ADJUST) return false;
    const { offset, adjust } = this.counters[cpu];
    const value = (BigInt(hi) << 32n) | BigInt(lo);
    const before = index === MSR_IA32_TSC ? this.valueAt(cpu, this.clock.monotonicNs()) : toBig(adjust);
    const delta = value - before;
    setOffset(offset, toBig(offset) + delta);
    setOffset(adjust, toBig(adjust) + delta);
    this.onChange(cpu);
    return true;
  }

  save(): Uint8Array {
    return saveImage(PART, this.clock.monotonicNs(), this.bytes);
  }

  /** Goes on from the saved values. @throws KvmClockError KVMCLOCK_BAD_STATE, and then nothing has changed. */
  restore(image: unknown): void {
    const { bytes, savedNs } = openImage(PART, this.bytes.length, image);
    const views = this.counters.map((_, cpu) => TSC_LAYOUT.view(bytes.buffer, cpu * TSC_LAYOUT.size));
    for (const { khz } of views) if (!validKhz(khz[0])) throw badState('has an impossible TSC frequency');
    const now = this.clock.monotonicNs();
    for (const { khz, offset } of views) setOffset(offset, toBig(offset) + BigInt(ticks(khz[0], savedNs) - ticks(khz[0], now)));
    this.bytes.set(bytes);
    for (let cpu = 0; cpu < this.counters.length; cpu++) this.onChange(cpu);
  }
}

const ticks = (khz: number, ns: number): number => Math.floor(ns * (khz / 1e6));
const validKhz = (khz: number): boolean => Number.isInteger(khz) && khz >= 1 && khz < TWO32;
const toBig = (pair: Uint32Array): bigint => (BigInt(pair[1]) << 32n) | BigInt(pair[0]);

function setOffset(pair: Uint32Array, value: bigint): void {
  pair[0] = Number(BigInt.asUintN(32, value));
  pair[1] = Number(BigInt.asUintN(32, value >> 32n));
}

function checkKhz(khz: number): number {
  if (!validKhz(khz))
    throw new KvmClockError('KVMCLOCK_BAD_ARGUMENT', `TSC frequency ${khz} kHz: whole numbers from 1 to 2^32 - 1`);
  return khz;
}

/** Counters that begin at zero now, unless the bytes of `options.state` hold counters already. */
export function createTscBank(options: TscBankOptions): TscBank {
  return new TscBank(options);
}

import { type LocalApic, MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_FIRST, MSR_X2APIC_LAST } from '@tsvisor/irqchip';
import { type KvmClock, MSR_IA32_TSC, MSR_IA32_TSC_ADJUST, type TscBank } from '@tsvisor/kvmclock';
import type { MsrDevice } from './ports.ts';

/** A device that answers for some MSRs; `has` says for which. */
export type MsrRange = MsrDevice & { readonly has: (index: number) => boolean };

/** One device out of several, each for its own MSRs; the first that has an index answers for it. */
export function composeMsrs(ranges: readonly MsrRange[]): MsrDevice {
  const find = (index: number): MsrRange | undefined => ranges.find((range) => range.has(index));
  return {
    read: (index, out) => find(index)?.read(index, out) ?? false,
    write: (index, lo, hi) => find(index)?.write(index, lo, hi) ?? false,
  };
}

/** A provider that hands over a value as an object of two halves. */
type PairMsrs = {
  readonly readMsr: (index: number, into: { lo: number; hi: number }) => boolean;
  readonly writeMsr: (index: number, lo: number, hi: number) => boolean;
};

function fromPairs(has: (index: number) => boolean, msrs: PairMsrs): MsrRange {
  const value = { lo: 0, hi: 0 };
  return {
    has,
    read: (index, out) => {
      if (!msrs.readMsr(index, value)) return false;
      out[0] = value.lo;
      out[1] = value.hi;
      return true;
    },
    write: (index, lo, hi) => msrs.writeMsr(index, lo >>> 0, hi >>> 0),
  };
}

const isLapicMsr = (index: number): boolean =>
  index === MSR_APIC_BASE || index === MSR_TSC_DEADLINE || (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST);

/** IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC registers. */
export function lapicMsrs(lapic: LocalApic, onBaseChange: () => void): MsrRange {
  return fromPairs(isLapicMsr, {
    readMsr: (index, into) => lapic.readMsr(index, into),
    writeMsr: (index, lo, hi) => {
      const written = lapic.writeMsr(index, lo, hi);
      if (index === MSR_APIC_BASE) onBaseChange();
      return written;
    },
  });
}

/** IA32_TSC and IA32_TSC_ADJUST. */
export function tscMsrs(tscs: TscBank, cpu: number): MsrRange {
  return fromPairs((index) => index === MSR_IA32_TSC || index === MSR_IA32_TSC_ADJUST, {
    readMsr: (index, into) => tscs.readMsr(cpu, index, into),
    writeMsr: (index, lo, hi) => tscs.writeMsr(cpu, index, lo, hi),
  });
}

/** The paravirtual clock's MSRs. */
export function clockMsrs(clock: KvmClock, cpu: number): MsrRange {
  return fromPairs((index) => clock.handles(index), {
    readMsr: (index, into) => clock.readMsr(cpu, index, into),
    writeMsr: (index, lo, hi) => clock.writeMsr(cpu, index, lo, hi),
  });
}

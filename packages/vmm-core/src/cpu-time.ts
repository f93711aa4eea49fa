import { type KvmClock, MSR_IA32_TSC, type TscBank } from '@tsvisor/kvmclock';
import { clockMsrs, tscMsrs } from './msrs.ts';
import type { VcpuParts } from './vcpu.ts';

/** What one processor has of a machine's TSCs and of its paravirtual clock. */
export function cpuTime(tscs: TscBank, clock: KvmClock, cpu: number): Pick<VcpuParts, 'tsc' | 'msrs' | 'onReset'> {
  const pair = { lo: 0, hi: 0 };
  return {
    tsc: {
      read: (out) => {
        tscs.read(cpu, pair);
        out[0] = pair.lo;
        out[1] = pair.hi;
      },
      write: (lo, hi) => void tscs.writeMsr(cpu, MSR_IA32_TSC, lo >>> 0, hi >>> 0),
    },
    msrs: [tscMsrs(tscs, cpu), clockMsrs(clock, cpu)],
    onReset: () => clock.resetCpu(cpu),
  };
}

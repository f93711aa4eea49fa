import type { LinuxBootPlan } from '@tsvisor/boot';
import type { CpuidSource } from '@tsvisor/vmm-core';
import { MachineError } from './errors.ts';

type Feature = { readonly name: string; readonly leaf: number; readonly register: 3; readonly bit: number };

const BASIC = 1;
const EXTENDED = 0x8000_0001;
const EDX = 3;

/** What every 64-bit Linux takes for granted and, entered past its own check, would die without (arch/x86 verify_cpu). */
const LINUX64: readonly Feature[] = [
  { name: 'long mode', leaf: EXTENDED, register: EDX, bit: 29 },
  { name: 'the FPU', leaf: BASIC, register: EDX, bit: 0 },
  { name: 'PSE', leaf: BASIC, register: EDX, bit: 3 },
  { name: 'MSRs', leaf: BASIC, register: EDX, bit: 5 },
  { name: 'PAE', leaf: BASIC, register: EDX, bit: 6 },
  { name: 'CMPXCHG8B', leaf: BASIC, register: EDX, bit: 8 },
  { name: 'PGE', leaf: BASIC, register: EDX, bit: 13 },
  { name: 'CMOV', leaf: BASIC, register: EDX, bit: 15 },
  { name: 'FXSAVE', leaf: BASIC, register: EDX, bit: 24 },
  { name: 'SSE', leaf: BASIC, register: EDX, bit: 25 },
  { name: 'SSE2', leaf: BASIC, register: EDX, bit: 26 },
];

/**
 * Refuses a kernel that the processor model cannot run, before it dies without a word.
 * @throws MachineError MACHINES_CPU_FEATURE
 */
export function checkKernelFits(plan: Pick<LinuxBootPlan, 'width'>, modelName: string, model: CpuidSource): void {
  if (plan.width !== 64) return;
  const out = new Uint32Array(4);
  for (const { name, leaf, register, bit } of LINUX64) {
    model.query(leaf & 0x8000_0000 ? 0x8000_0000 : 0, 0, out);
    const there = out[0] >= leaf;
    model.query(leaf, 0, out);
    if (there && (out[register] >>> bit) & 1) continue;
    throw new MachineError(
      'MACHINES_CPU_FEATURE',
      `a 64-bit kernel needs ${name}, which the processor model '${modelName}' lacks`,
    );
  }
}

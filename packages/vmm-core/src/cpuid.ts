import { kvmCpuid } from '@tsvisor/kvmclock';
import type { CpuidSource } from './ports.ts';

/** `struct kvm_cpuid_entry2`. `index` only where the leaf has subleaves. */
export type CpuidEntry = {
  readonly function: number;
  readonly index?: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
};

/** Leaves given one by one; what is not given reads as zero, except above the highest basic leaf, which then answers. */
export function cpuidFromEntries(entries: readonly CpuidEntry[]): CpuidSource {
  const key = (leaf: number, index: number): string => `${leaf >>> 0}.${index}`;
  const plain = new Map(entries.filter((e) => e.index === undefined).map((e) => [e.function >>> 0, e]));
  const indexed = new Map(entries.filter((e) => e.index !== undefined).map((e) => [key(e.function, e.index ?? 0), e]));
  const highestBasic = Math.max(0, ...entries.map((e) => e.function >>> 0).filter((leaf) => leaf < 0x4000_0000));
  const find = (leaf: number, subleaf: number): CpuidEntry | undefined => plain.get(leaf) ?? indexed.get(key(leaf, subleaf));
  const known = (leaf: number): boolean => plain.has(leaf) || indexed.has(key(leaf, 0));
  return {
    query: (leaf, subleaf, out) => {
      const asked = leaf >>> 0;
      // SDM vol. 2, CPUID: "If a value entered for CPUID.EAX is higher than the maximum … the data for the highest basic leaf".
      const instead = asked < 0x4000_0000 && asked > highestBasic && !known(asked) ? highestBasic : asked;
      const entry = find(instead, subleaf >>> 0);
      out[0] = entry?.eax ?? 0;
      out[1] = entry?.ebx ?? 0;
      out[2] = entry?.ecx ?? 0;
      out[3] = entry?.edx ?? 0;
    },
  };
}

/** What a virtual machine changes in a processor model's CPUID. */
export type VcpuCpuid = {
  readonly model: CpuidSource;
  readonly apicId: number;
  /** Logical processors in the package. */
  readonly cpus: number;
  /** CPUID.01H:EDX.APIC follows IA32_APIC_BASE.EN (SDM vol. 3 §12.4.3). */
  readonly apicEnabled: () => boolean;
};

const EDX_APIC = 1 << 9;
const ECX_HYPERVISOR = 1 << 31;
const LEVEL_SMT = 1 << 8;
const LEVEL_CORE = 2 << 8;

/** A model's CPUID as one vCPU shows it: with its APIC ID, its topology and KVM's leaves, by which a guest knows it. */
export function vcpuCpuid({ model, apicId, cpus, apicEnabled }: VcpuCpuid): CpuidSource {
  const idBits = Math.ceil(Math.log2(Math.max(cpus, 1)));
  const hypervisorLeaf = (leaf: number, out: Uint32Array): void => {
    const entry = kvmCpuid(leaf);
    out[0] = entry?.eax ?? 0;
    out[1] = entry?.ebx ?? 0;
    out[2] = entry?.ecx ?? 0;
    out[3] = entry?.edx ?? 0;
  };
  const query = (leaf: number, subleaf: number, out: Uint32Array): void => {
    const asked = leaf >>> 0;
    if (asked >= 0x4000_0000 && asked < 0x5000_0000) {
      hypervisorLeaf(asked, out);
      return;
    }
    model.query(asked, subleaf, out);
    if (asked === 1) {
      out[1] = (out[1] & 0xffff) | (apicId << 24) | (Math.min(cpus, 255) << 16);
      out[2] |= ECX_HYPERVISOR;
      if (!apicEnabled()) out[3] &= ~EDX_APIC;
    } else if (asked === 0xb) {
      // Extended topology: no SMT, then the cores (SDM vol. 2, CPUID leaf 0BH).
      const level = subleaf >>> 0;
      out[0] = level === 1 ? idBits : 0;
      out[1] = level === 0 ? 1 : level === 1 ? cpus : 0;
      out[2] = (level & 0xff) | (level === 0 ? LEVEL_SMT : level === 1 ? LEVEL_CORE : 0);
      out[3] = apicId;
    }
  };
  return { query };
}

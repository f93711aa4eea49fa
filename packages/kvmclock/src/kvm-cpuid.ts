/** CPUID leaves by which a guest recognises KVM. Linux: Documentation/virt/kvm/x86/cpuid.rst */

export const KVM_CPUID_SIGNATURE = 0x4000_0000;
export const KVM_CPUID_FEATURES = 0x4000_0001;

export const KVM_FEATURE_CLOCKSOURCE = 1 << 0;
/** The guest need not wait after port I/O. */
export const KVM_FEATURE_NOP_IO_DELAY = 1 << 1;
export const KVM_FEATURE_CLOCKSOURCE2 = 1 << 3;
/** PVCLOCK_TSC_STABLE is meaningful. */
export const KVM_FEATURE_CLOCKSOURCE_STABLE = 1 << 24;
/** EDX: vCPUs are never preempted for long. */
export const KVM_HINTS_REALTIME = 1 << 0;

/** What this package implements. Async page faults, steal time, PV EOI and PV IPIs are not announced. */
export const KVM_FEATURES =
  KVM_FEATURE_CLOCKSOURCE | KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 | KVM_FEATURE_CLOCKSOURCE_STABLE;

export type CpuidRegisters = { readonly eax: number; readonly ebx: number; readonly ecx: number; readonly edx: number };

const word = (text: string): number => [...text].reduceRight((value, char) => (value << 8) | char.charCodeAt(0), 0) >>> 0;

/**
 * Content of a hypervisor leaf; undefined for leaves other than 0x40000000 and 0x40000001.
 * @param features EAX of leaf 0x40000001; default `KVM_FEATURES`.
 */
export function kvmCpuid(leaf: number, features = KVM_FEATURES, hints = 0): CpuidRegisters | undefined {
  switch (leaf >>> 0) {
    case KVM_CPUID_SIGNATURE:
      return { eax: KVM_CPUID_FEATURES, ebx: word('KVMK'), ecx: word('VMKV'), edx: word('M') };
    case KVM_CPUID_FEATURES:
      return { eax: features >>> 0, ebx: 0, ecx: 0, edx: hints >>> 0 };
    default:
      return undefined;
  }
}

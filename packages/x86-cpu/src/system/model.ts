/** Processor models: what CPUID says, and what the translator lets through, from one list of features. */
import { Cr4, Efer, Xcr0 } from './context.ts';

type FeatureBit = { readonly leaf: number; readonly subleaf: number; readonly register: 0 | 1 | 2 | 3; readonly bit: number };
const EAX = 0;
const EBX = 1;
const ECX = 2;
const EDX = 3;

const at = (leaf: number, register: 0 | 1 | 2 | 3, bit: number, subleaf = 0): FeatureBit => ({ leaf, subleaf, register, bit });

/** CPUID position of each feature, by the opcode table's and Linux's names (SDM vol. 2A, CPUID; APM vol. 3 appendix E). */
// biome-ignore format: table
const FEATURES: Readonly<Record<string, FeatureBit>> = {
  fpu: at(1, EDX, 0), vme: at(1, EDX, 1), de: at(1, EDX, 2), pse: at(1, EDX, 3), tsc: at(1, EDX, 4), msr: at(1, EDX, 5), pae: at(1, EDX, 6),
  mce: at(1, EDX, 7), cx8: at(1, EDX, 8), apic: at(1, EDX, 9), sep: at(1, EDX, 11), mtrr: at(1, EDX, 12), pge: at(1, EDX, 13),
  mca: at(1, EDX, 14), cmov: at(1, EDX, 15), pat: at(1, EDX, 16), pse36: at(1, EDX, 17), clfsh: at(1, EDX, 19), mmx: at(1, EDX, 23),
  fxsr: at(1, EDX, 24), sse: at(1, EDX, 25), sse2: at(1, EDX, 26),
  sse3: at(1, ECX, 0), pclmulqdq: at(1, ECX, 1), monitor: at(1, ECX, 3), ssse3: at(1, ECX, 9), fma: at(1, ECX, 12), cx16: at(1, ECX, 13),
  pcid: at(1, ECX, 17), sse4_1: at(1, ECX, 19), sse4_2: at(1, ECX, 20), x2apic: at(1, ECX, 21), movbe: at(1, ECX, 22), popcnt: at(1, ECX, 23),
  tsc_deadline: at(1, ECX, 24), aes: at(1, ECX, 25), xsave: at(1, ECX, 26), avx: at(1, ECX, 28), f16c: at(1, ECX, 29), rdrand: at(1, ECX, 30),
  hypervisor: at(1, ECX, 31),
  arat: at(6, EAX, 2),
  fsgsbase: at(7, EBX, 0), tsc_adjust: at(7, EBX, 1), bmi1: at(7, EBX, 3), avx2: at(7, EBX, 5), smep: at(7, EBX, 7), bmi2: at(7, EBX, 8),
  erms: at(7, EBX, 9), invpcid: at(7, EBX, 10), rdseed: at(7, EBX, 18), adx: at(7, EBX, 19), smap: at(7, EBX, 20), clflushopt: at(7, EBX, 23),
  sha: at(7, EBX, 29), umip: at(7, ECX, 2), pku: at(7, ECX, 3), la57: at(7, ECX, 16), rdpid: at(7, ECX, 22), fsrm: at(7, EDX, 4),
  xsaveopt: at(0xd, EAX, 0, 1), xsavec: at(0xd, EAX, 1, 1), xgetbv1: at(0xd, EAX, 2, 1), xsaves: at(0xd, EAX, 3, 1),
  lahf: at(0x8000_0001, ECX, 0), cr8_legacy: at(0x8000_0001, ECX, 4), lzcnt: at(0x8000_0001, ECX, 5),
  syscall: at(0x8000_0001, EDX, 11), nx: at(0x8000_0001, EDX, 20), pdpe1gb: at(0x8000_0001, EDX, 26), rdtscp: at(0x8000_0001, EDX, 27),
  x64: at(0x8000_0001, EDX, 29), invtsc: at(0x8000_0007, EDX, 8),
};

/** Features of the opcode table that no CPUID bit reports: part of every x86-64 processor. */
const IMPLIED = new Set(['base', 'i186', 'i286', 'i386', 'i486', 'cpuid', 'x87', 'cmov', 'prefetchw']);

const words = (text: string): string[] => text.split(' ');

/** What each feature is nothing without: it goes when they go (SDM vol. 1 §14.3, §14.5.3, §14.7.1). */
// biome-ignore format: table
const PREREQUISITES: Readonly<Record<string, string>> = {
  sse: 'fxsr', sse2: 'sse', sse3: 'sse2', ssse3: 'sse3', sse4_1: 'ssse3', sse4_2: 'sse4_1', aes: 'sse2', pclmulqdq: 'sse2', sha: 'ssse3',
  xsaveopt: 'xsave', xsavec: 'xsave', xgetbv1: 'xsave', xsaves: 'xsavec', pku: 'xsave', invpcid: 'pcid', avx: 'xsave', avx2: 'avx', fma: 'avx', f16c: 'avx',
};

const BASE =
  'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clfsh mmx fxsr sse sse2 x2apic tsc_deadline hypervisor cx16 arat ' +
  'tsc_adjust lahf syscall nx pdpe1gb rdtscp x64 popcnt erms fsrm smep umip fsgsbase';
/** What x86-64-v2 and -v3 add (System V ABI, AMD64 supplement, §3.1.1). */
const V2 = 'sse3 ssse3 sse4_1 sse4_2';
const V3 = `${V2} xsave avx avx2 bmi1 bmi2 f16c fma lzcnt movbe`;

export type CpuVendor = 'AuthenticAMD' | 'GenuineIntel';

export type CpuModel = {
  readonly name: string;
  readonly vendor: CpuVendor;
  readonly brand: string;
  readonly features: ReadonlySet<string>;
  readonly physicalBits: number;
};

/** What else the engine has. */
const MORE = `${V3} vme aes pclmulqdq sha adx clflushopt xsaveopt xsavec xgetbv1 xsaves rdrand rdseed rdpid`;
/** What it has only if it is asked for: it makes every guest slower, is of no use to one, or (invtsc) has Linux read the TSC instead of kvm-clock. */
const OPTIONAL = 'smap la57 pcid invpcid pku monitor invtsc';

const MODELS: Readonly<Record<string, { features: string; brand: string }>> = {
  qemu64: { features: BASE, brand: 'tsvisor Virtual CPU' },
  kvm64: { features: BASE, brand: 'tsvisor Common Virtual CPU' },
  'x86-64-v2': { features: `${BASE} ${V2}`, brand: 'tsvisor x86-64-v2 Virtual CPU' },
  'x86-64-v3': { features: `${BASE} ${V3}`, brand: 'tsvisor x86-64-v3 Virtual CPU' },
  max: { features: `${BASE} ${MORE}`, brand: 'tsvisor Maximum Virtual CPU' },
};
const ALL = new Set([...words(MODELS.max.features), ...words(OPTIONAL)]);

const VENDORS: Readonly<Record<string, CpuVendor>> = {
  amd: 'AuthenticAMD',
  intel: 'GenuineIntel',
  AuthenticAMD: 'AuthenticAMD',
  GenuineIntel: 'GenuineIntel',
};

/** Names `--cpu` accepts. */
export const CPU_MODELS: readonly string[] = Object.keys(MODELS);

export class CpuModelError extends Error {
  readonly code = 'X86_CPU_MODEL';
}

/** Takes away what lacks a prerequisite; those are never in a circle. */
function prune(features: Set<string>): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const feature of features) {
      const needed = PREREQUISITES[feature];
      if (needed !== undefined && !features.has(needed)) changed = features.delete(feature);
    }
  }
}

/**
 * A model from its specification: `name[,+feature|,-feature|,vendor=amd|intel…]`. Features go with what they need: without XSAVE there is no
 * AVX.
 * @throws CpuModelError naming the model, feature or vendor that does not exist.
 */
export function cpuModel(specification: string): CpuModel {
  const [name, ...changes] = specification.split(',');
  const model = Object.hasOwn(MODELS, name) ? MODELS[name] : undefined;
  if (!model) throw new CpuModelError(`no CPU model '${name}' (there are ${CPU_MODELS.join(', ')})`);
  const features = new Set(words(model.features));
  let vendor: CpuVendor = 'AuthenticAMD';
  for (const change of changes) {
    if (change.startsWith('vendor=')) {
      const wanted = change.slice('vendor='.length);
      if (!Object.hasOwn(VENDORS, wanted)) throw new CpuModelError(`no CPU vendor '${wanted}' (there are amd and intel)`);
      vendor = VENDORS[wanted];
      continue;
    }
    const feature = change.slice(1);
    if (!/^[+-]/.test(change) || !Object.hasOwn(FEATURES, feature))
      throw new CpuModelError(`no CPU feature '${change}' (write +name or -name)`);
    if (change.startsWith('-')) features.delete(feature);
    else if (ALL.has(feature)) features.add(feature);
    else throw new CpuModelError(`the engine does not have CPU feature '${feature}'`);
  }
  prune(features);
  return { name, vendor, brand: model.brand, features, physicalBits: 40 };
}

export const hasFeature = (model: CpuModel, feature: string): boolean => IMPLIED.has(feature) || model.features.has(feature);

/** CR4 bits the model has. */
export function cr4Bits(model: CpuModel): number {
  const of = (feature: string, bits: number): number => (model.features.has(feature) ? bits : 0);
  return (
    of('vme', Cr4.VME | Cr4.PVI) |
    of('tsc', Cr4.TSD) |
    of('de', Cr4.DE) |
    of('pse', Cr4.PSE) |
    of('pae', Cr4.PAE) |
    of('mce', Cr4.MCE) |
    of('pge', Cr4.PGE) |
    Cr4.PCE |
    of('fxsr', Cr4.OSFXSR) |
    of('sse', Cr4.OSXMMEXCPT) |
    of('umip', Cr4.UMIP) |
    of('la57', Cr4.LA57) |
    of('fsgsbase', Cr4.FSGSBASE) |
    of('pcid', Cr4.PCIDE) |
    of('xsave', Cr4.OSXSAVE) |
    of('smep', Cr4.SMEP) |
    of('smap', Cr4.SMAP) |
    of('pku', Cr4.PKE)
  );
}

export const eferBits = (model: CpuModel): number =>
  (model.features.has('syscall') ? Efer.SCE : 0) |
  (model.features.has('x64') ? Efer.LME : 0) |
  (model.features.has('nx') ? Efer.NXE : 0);

/** Bits of XCR0 that the model has (SDM vol. 1 §13.3): x87 and SSE, and with AVX the upper halves. */
export const xcr0Bits = (model: CpuModel): number =>
  model.features.has('xsave')
    ? Xcr0.X87 | Xcr0.SSE | (model.features.has('avx') ? Xcr0.AVX : 0) | (model.features.has('pku') ? Xcr0.PKRU : 0)
    : 0;

/** Legacy region and header, the upper halves behind them, and PKRU (SDM vol. 1 §13.4). */
const XSAVE_LEGACY = 576;
const XSAVE_AVX = 256;
const XSAVE_PKRU = 8;
const PKRU_OFFSET = XSAVE_LEGACY + XSAVE_AVX;
const PKRU_COMPONENT = 9;
/** Bytes of an XSAVE area with the components of `xcr0`: in the standard format each has a place of its own. */
export function xsaveBytes(xcr0: number, compacted = false): number {
  const avx = xcr0 & Xcr0.AVX ? XSAVE_AVX : 0;
  if (!(xcr0 & Xcr0.PKRU)) return XSAVE_LEGACY + avx;
  return XSAVE_PKRU + (compacted ? XSAVE_LEGACY + avx : PKRU_OFFSET);
}

/** Leaf 0DH (SDM vol. 2A, CPUID). EBX of subleaves 0 and 1 is for XCR0 after reset; the instruction puts the present size there. */
function queryExtendedState(model: CpuModel, subleaf: number, out: Uint32Array): void {
  const bits = xcr0Bits(model);
  if (bits === 0) return;
  if (subleaf === 0) out.set([bits, xsaveBytes(Xcr0.X87), xsaveBytes(bits), 0]);
  else if (subleaf === 1 && model.features.has('xsavec')) out[1] = xsaveBytes(Xcr0.X87);
  else if (subleaf === 2 && bits & Xcr0.AVX) out.set([XSAVE_AVX, XSAVE_LEGACY, 0, 0]);
  else if (subleaf === PKRU_COMPONENT && bits & Xcr0.PKRU) out.set([XSAVE_PKRU, PKRU_OFFSET, 0, 0]);
}

/** Family, model and stepping: AMD's 15, 107, 1, which are qemu64's; Intel's 6, 15, 1, the first with all of x86-64. */
const SIGNATURES: Readonly<Record<CpuVendor, number>> = { AuthenticAMD: 0x60fb1, GenuineIntel: 0x6f1 };

/** What leaf 1 answers in EAX, and RDX holds after reset. */
export const signatureOf = (model: CpuModel): number => SIGNATURES[model.vendor];

function text(leaf: string, offset: number): number {
  let value = 0;
  for (let n = 3; n >= 0; n--) value = (value << 8) | (leaf.charCodeAt(offset + n) || 0);
  return value >>> 0;
}

/** Fills `out` with EAX, EBX, ECX, EDX of a leaf. Leaves beyond the last answer zeros (AMD; Intel repeats its last basic leaf). */
export function queryCpuid(model: CpuModel, leaf: number, subleaf: number, apicId: number, out: Uint32Array): void {
  out.fill(0);
  for (const feature of model.features) {
    const position = FEATURES[feature];
    if (position.leaf === leaf && (leaf < 7 || leaf >= 0x8000_0000 || position.subleaf === subleaf))
      out[position.register] = (out[position.register] | (1 << position.bit)) >>> 0;
  }
  switch (leaf) {
    case 0:
      out.set([0xd, text(model.vendor, 0), text(model.vendor, 8), text(model.vendor, 4)]);
      break;
    case 1:
      out[0] = signatureOf(model);
      out[1] = (apicId << 24) | (1 << 16) | (8 << 8); // APIC id, one logical processor, CLFLUSH of 64 bytes
      break;
    case 5:
      // MONITOR watches lines of 64 bytes; MWAIT takes interrupts as break events.
      if (model.features.has('monitor')) out.set([64, 64, 3, 0]);
      break;
    case 0xd:
      queryExtendedState(model, subleaf, out);
      break;
    case 0x8000_0000:
      out.set([0x8000_0008, text(model.vendor, 0), text(model.vendor, 8), text(model.vendor, 4)]);
      break;
    case 0x8000_0001:
      out[0] = signatureOf(model);
      // AMD repeats the basic EDX features here; of 1's bits those that existed then.
      if (model.vendor !== 'AuthenticAMD') break;
      for (const [name, position] of Object.entries(FEATURES))
        if (position.leaf === 1 && position.register === EDX && 0x0183f3ff & (1 << position.bit) && model.features.has(name))
          out[3] = (out[3] | (1 << position.bit)) >>> 0;
      break;
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004:
      for (let n = 0; n < 4; n++) out[n] = text(model.brand, (leaf - 0x8000_0002) * 16 + 4 * n);
      break;
    case 0x8000_0008:
      out[0] = model.physicalBits | ((model.features.has('la57') ? 57 : 48) << 8);
      break;
    default:
  }
}

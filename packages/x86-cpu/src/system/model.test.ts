import { describe, expect, it } from 'vitest';
import { Cr4, Efer } from './context.ts';
import { CPU_MODELS, CpuModelError, cpuModel, cr4Bits, eferBits, hasFeature, queryCpuid } from './model.ts';

type Leaf = { readonly eax: number; readonly ebx: number; readonly ecx: number; readonly edx: number };

function cpuid(specification: string, leaf: number, subleaf = 0, apicId = 0): Leaf {
  const out = new Uint32Array(4);
  queryCpuid(cpuModel(specification), leaf, subleaf, apicId, out);
  return { eax: out[0], ebx: out[1], ecx: out[2], edx: out[3] };
}

const letters = (...words: number[]): string => Buffer.from(Uint32Array.from(words).buffer).toString('latin1');
const bit = (word: number, n: number): number => (word >>> n) & 1;

describe('CPU models', () => {
  it('each name is a model', () => {
    for (const name of CPU_MODELS) expect(cpuModel(name)).toMatchObject({ name });
  });

  it('an unknown name is refused with the names there are', () => {
    expect(() => cpuModel('pentium')).toThrow(CpuModelError);
    expect(() => cpuModel('pentium')).toThrow(/no CPU model 'pentium' \(there are .*max.*\)/);
    expect(() => cpuModel('')).toThrow(CpuModelError);
    expect(() => cpuModel('toString')).toThrow(CpuModelError);
  });

  it('features are removed with - and stated with +; anything else is refused by name', () => {
    expect(cpuModel('max,-sse2,-sse').features.has('sse2')).toBe(false);
    expect(cpuModel('max,+sse2').features.has('sse2')).toBe(true);
    expect(() => cpuModel('max,-sse9')).toThrow(/no CPU feature '-sse9'/);
    expect(() => cpuModel('max,sse2')).toThrow(/no CPU feature 'sse2'/);
    expect(() => cpuModel('max,')).toThrow(CpuModelError);
    expect(() => cpuModel('max,-toString')).toThrow(CpuModelError);
    expect(new CpuModelError('x').code).toBe('X86_CPU_MODEL');
  });

  it('a feature the engine lacks cannot be added', () => {
    expect(() => cpuModel('max,+cr8_legacy')).toThrow(/the engine does not have CPU feature 'cr8_legacy'/);
  });

  it('some are only there when they are asked for', () => {
    for (const feature of ['smap', 'la57', 'pcid', 'pku', 'monitor']) {
      expect(cpuModel('max').features.has(feature), feature).toBe(false);
      expect(cpuModel(`max,+${feature}`).features.has(feature), feature).toBe(true);
    }
    expect(cpuid('max,+la57', 0x8000_0008).eax & 0xffff).toBe(40 | (57 << 8));
    expect(cpuid('max,+monitor', 5)).toEqual({ eax: 64, ebx: 64, ecx: 3, edx: 0 });
  });

  it('one that the engine has can be added to a smaller model', () => {
    expect(cpuModel('qemu64').features.has('aes')).toBe(false);
    expect(cpuModel('qemu64,+aes,+sse3').features.has('sse3')).toBe(true);
  });

  it('what a feature needs takes it along', () => {
    const { features } = cpuModel('max,-xsave');
    for (const feature of ['xsavec', 'xgetbv1', 'avx', 'avx2', 'fma', 'f16c']) expect(features.has(feature), feature).toBe(false);
    expect(cpuModel('qemu64,+aes').features.has('sse2')).toBe(true);
    expect(cpuModel('qemu64,+avx2').features.has('avx2'), 'without AVX').toBe(false);
  });

  it('x86-64-v2 and -v3 have what the ABI lists for them (System V ABI, AMD64 supplement, §3.1.1)', () => {
    const v2 = 'cx16 lahf popcnt sse3 sse4_1 sse4_2 ssse3'.split(' ');
    const v3 = 'avx avx2 bmi1 bmi2 f16c fma lzcnt movbe xsave'.split(' ');
    for (const feature of v2) expect(cpuModel('x86-64-v2').features.has(feature), feature).toBe(true);
    for (const feature of v3) expect(cpuModel('x86-64-v2').features.has(feature), feature).toBe(false);
    for (const feature of [...v2, ...v3]) expect(cpuModel('x86-64-v3').features.has(feature), feature).toBe(true);
  });

  it('the vendor is AMD or Intel', () => {
    expect(cpuModel('max').vendor).toBe('AuthenticAMD');
    expect(cpuModel('max,vendor=intel').vendor).toBe('GenuineIntel');
    expect(cpuModel('max,vendor=GenuineIntel,-avx').vendor).toBe('GenuineIntel');
    expect(() => cpuModel('max,vendor=via')).toThrow(/no CPU vendor 'via' \(there are amd and intel\)/);
    const intel = cpuid('max,vendor=intel', 0);
    expect(letters(intel.ebx, intel.edx, intel.ecx)).toBe('GenuineIntel');
    expect(cpuid('max,vendor=intel', 0x8000_0001).edx & 0x0183_f3ff, 'only AMD repeats leaf 1').toBe(0);
  });

  it('what every x86-64 processor has needs no feature bit', () => {
    const model = cpuModel('max,-sse2');
    expect(hasFeature(model, 'base')).toBe(true);
    expect(hasFeature(model, 'x87')).toBe(true);
    expect(hasFeature(model, 'sse2')).toBe(false);
  });
});

describe('CPUID (SDM vol. 2A, CPUID; APM vol. 3 appendix E)', () => {
  it('leaf 0 and 80000000h: the highest leaves and the vendor', () => {
    const basic = cpuid('max', 0);
    expect(basic.eax).toBeGreaterThanOrEqual(7);
    expect(letters(basic.ebx, basic.edx, basic.ecx)).toBe('AuthenticAMD');
    const extended = cpuid('max', 0x8000_0000);
    expect(extended.eax).toBeGreaterThanOrEqual(0x8000_0008);
    expect(letters(extended.ebx, extended.edx, extended.ecx)).toBe('AuthenticAMD');
  });

  it('leaf 1: feature bits at their places, and the initial APIC id', () => {
    const { ebx, ecx, edx } = cpuid('max', 1, 0, 3);
    for (const n of [0, 3, 4, 5, 6, 8, 9, 13, 15, 16, 23, 24, 25, 26]) expect(bit(edx, n), `EDX bit ${n}`).toBe(1);
    expect(bit(ecx, 13), 'CMPXCHG16B').toBe(1);
    expect(bit(ecx, 31), 'hypervisor').toBe(1);
    expect(bit(ecx, 28), 'AVX').toBe(1);
    expect(bit(cpuid('qemu64', 1).ecx, 28), 'AVX').toBe(0);
    expect(ebx >>> 24).toBe(3);
    expect(((ebx >>> 8) & 0xff) * 8).toBe(64);
  });

  it('removing a feature clears its bit and no other', () => {
    const before = cpuid('max', 1);
    const after = cpuid('max,-clfsh', 1);
    expect(before.edx ^ after.edx).toBe(1 << 19);
    expect(after.ecx).toBe(before.ecx);
  });

  it('80000001h: long mode, NX, SYSCALL, and the copies of leaf 1 that AMD keeps', () => {
    const { ecx, edx } = cpuid('max', 0x8000_0001);
    for (const n of [11, 20, 29]) expect(bit(edx, n), `EDX bit ${n}`).toBe(1);
    expect(edx & 0x0183_f3ff).toBe(cpuid('max', 1).edx & 0x0183_f3ff);
    expect(bit(ecx, 0), 'LAHF in 64-bit mode').toBe(1);
    expect(bit(cpuid('max,-nx', 0x8000_0001).edx, 20)).toBe(0);
  });

  it('leaf 0DH: the components of XCR0, their sizes and places (SDM vol. 1 §13.2)', () => {
    expect(cpuid('max', 0xd, 0)).toMatchObject({ eax: 7, ecx: 832, edx: 0 });
    expect(cpuid('max', 0xd, 1)).toMatchObject({ eax: 15, ecx: 0 });
    expect(cpuid('max,+pku', 0xd, 0)).toMatchObject({ eax: 0x207, ecx: 840 });
    expect(cpuid('max,+pku', 0xd, 9)).toEqual({ eax: 8, ebx: 832, ecx: 0, edx: 0 });
    expect(cpuid('max', 0xd, 2)).toEqual({ eax: 256, ebx: 576, ecx: 0, edx: 0 });
    expect(cpuid('max,-avx', 0xd, 0)).toMatchObject({ eax: 3, ecx: 576 });
    expect(cpuid('max,-avx', 0xd, 2)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    expect(cpuid('max,-xsavec', 0xd, 1).eax).toBe(5);
    expect(cpuid('qemu64', 0xd, 0)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });

  it('leaf 7 has features in subleaf 0 only', () => {
    expect(bit(cpuid('max', 7).ebx, 0), 'FSGSBASE').toBe(+cpuModel('max').features.has('fsgsbase'));
    expect(cpuid('max', 7, 1)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });

  it('80000002h to 80000004h: the brand, ended by zeros; 80000008h: address widths', () => {
    const words = [2, 3, 4].flatMap((n) => Object.values(cpuid('max', 0x8000_0000 + n)) as number[]);
    expect(letters(...words).replace(/\0+$/, '')).toBe(cpuModel('max').brand);
    expect(cpuid('max', 0x8000_0008).eax & 0xffff).toBe(40 | (48 << 8));
  });

  it('leaves beyond the last are zeros', () => {
    for (const leaf of [0x20, 0x4000_1000, 0x8000_0100, 0xc000_0000, 0xffff_ffff])
      expect(cpuid('max', leaf)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });
});

describe('control registers follow the model', () => {
  it('CR4 bits exist with their feature', () => {
    expect(cr4Bits(cpuModel('max')) & (Cr4.PAE | Cr4.OSFXSR | Cr4.PGE)).toBe(Cr4.PAE | Cr4.OSFXSR | Cr4.PGE);
    expect(cr4Bits(cpuModel('max,-pge')) & Cr4.PGE).toBe(0);
    expect(cr4Bits(cpuModel('max')) & Cr4.OSXSAVE).toBe(Cr4.OSXSAVE);
    expect(cr4Bits(cpuModel('qemu64')) & Cr4.OSXSAVE).toBe(0);
  });

  it('EFER bits too', () => {
    expect(eferBits(cpuModel('max'))).toBe(Efer.SCE | Efer.LME | Efer.NXE);
    expect(eferBits(cpuModel('max,-nx')) & Efer.NXE).toBe(0);
  });
});

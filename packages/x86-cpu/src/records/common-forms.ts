/**
 * Which further forms the core has as functions: what a booting Linux kernel of either width and the programs of its first seconds use beside the hot ones. Of
 * any other form a module is made when it is first met, which takes as long as a thousand instructions' translation.
 */
import type { Form } from '../form.ts';
import { listForms } from './form-list.ts';

/** Semantics, and the operands that they have with these; "-" for none. */
const COMMON: readonly (readonly [string, string])[] = [
  [
    'cld cli cpuid emms fnclex fninit fwait hlt int3 iret lfence mfence pause popf pushf rdmsr rdtsc rdtscp ret_far sfence sti swapgs syscall sysenter sysexit sysret v0.vzeroupper wbinvd wrmsr xgetbv xsetbv',
    '-',
  ],
  ['ret', '- i2'],
  ['mov_to_cr', 'c4,r4 c8,r8'],
  ['mov_to_dr', 'd4,r4 d8,r8'],
  ['fsubrp', 'f10,f10'],
  ['fdiv fmul', 'f10,m8'],
  ['int', 'i1'],
  ['out', 'i1,r1 r2,r1 r2,r2 r2,r4'],
  ['push', 'i2 r4'],
  ['jmp', 'j1'],
  ['jcc', 'j1 j2'],
  ['call', 'j2'],
  ['fxsave invlpg xrstor xrstors xsave xsaves', 'm0'],
  ['setcc', 'm1'],
  ['or', 'm1,i1 m2,i2 m2,r2 m4,i4 m8,i8 r2,m2'],
  ['and', 'm1,i1 m2,i2 m2,r2 m8,i8 r2,m2'],
  ['adc', 'm1,i1 m4,i4 m4,r4 r4,m4'],
  ['cmps', 'm1,m1'],
  ['movs', 'm1,m1 m2,m2 m4,m4 m8,m8'],
  ['stos', 'm1,r1 m2,r2 m4,r4 m8,r8'],
  ['cmpxchg', 'm1,r1 m4,r4 m8,r8'],
  ['sgdt', 'm10'],
  ['lgdt lidt', 'm10 m6'],
  ['cmpxchg8b', 'm16 m8'],
  ['movdqu movups v0.vmovdqu', 'm16,x16 x16,m16'],
  ['movaps movdqa', 'm16,x16 x16,m16 x16,x16'],
  ['fnstcw', 'm2'],
  ['inc', 'm2 m4 m8 r2'],
  ['sar', 'm2,i1'],
  ['test', 'm2,i2'],
  ['add', 'm2,i2 m2,r2 m4,i4 m4,r4 m8,i8 m8,r8 r2,m2'],
  ['sub', 'm2,i2 m4,i4 m4,r4 m8,i8 m8,r8 r2,i2 r2,m2'],
  ['v1.vmovdqa v1.vmovdqu', 'm32,y32 y32,m32'],
  ['fild fistp ldmxcsr mul', 'm4'],
  ['dec', 'm4 m8'],
  ['div', 'm4 m8 r4 r8'],
  ['idiv imul1', 'm4 r4 r8'],
  ['bts', 'm4,i1 m4,r4 m8,i1 m8,r8 r4,i1 r4,r4 r8,i1 r8,r8'],
  ['btr', 'm4,i1 m4,r4 m8,i1 m8,r8 r4,r4 r8,i1 r8,r8'],
  ['bt', 'm4,i1 m4,r4 m8,r8'],
  ['sbb', 'm4,i4 m4,r4 r2,i2 r2,r2 r4,m4'],
  ['xadd xchg', 'm4,r4 m8,r8'],
  ['fld', 'm8'],
  ['movlpd movq_xmm movsd', 'm8,x8 x8,m8'],
  ['jmp_far', 'p4 p6'],
  ['in', 'r1,i1 r1,r2 r2,r2 r4,r2'],
  ['lods scas', 'r1,m1'],
  ['lldt ltr', 'r2'],
  ['rol shr', 'r2,i1'],
  ['movsx', 'r2,m1'],
  ['xor', 'r2,m2 r2,r2'],
  ['mov_from_sreg', 'r2,s2 r4,s2'],
  ['pop', 'r4'],
  ['rdrand rdseed', 'r4 r8'],
  ['mov_from_cr', 'r4,c4 r8,c8'],
  ['bsr', 'r4,m4 r4,r4 r8,m8 r8,r8'],
  ['mov', 'r4,m4 r8,m8'],
  ['cmovcc', 'r4,m4 r8,m8 r2,m2'],
  ['imul3', 'r4,m4,i4 r8,m8,i8'],
  ['bsf btc v0.blsmsk', 'r4,r4'],
  ['tzcnt', 'r4,r4 r8,m8 r8,r8'],
  ['popcnt', 'r4,r4 r8,r8'],
  ['shrd', 'r4,r4,i1 r4,r4,r1 r8,r8,i1 r8,r8,r1'],
  ['shld', 'r4,r4,i1 r4,r4,r1 r8,r8,r1'],
  ['v0.bzhi v0.sarx', 'r4,r4,r4'],
  ['pmovmskb', 'r4,x16'],
  ['movd', 'r4,x16 r8,x16 x16,m4 x16,r4 x16,r8'],
  ['v1.vpmovmskb', 'r4,y32'],
  ['rdfsbase rdgsbase wrfsbase wrgsbase', 'r8'],
  ['cvttsd2si', 'r8,x8'],
  ['pop_sreg push_sreg', 's2'],
  ['mov_to_sreg', 's2,m2 s2,r2'],
  ['pslld psrld', 'x16,i1'],
  ['andpd', 'x16,m16'],
  ['pand pcmpeqb pcmpgtb por pxor', 'x16,m16 x16,x16'],
  ['pcmpistri', 'x16,m16,i1 x16,x16,i1'],
  ['v0.vmovd', 'x16,r4'],
  ['movapd paddd paddq pcmpeqd pshufb ptest punpckhdq punpcklbw punpckldq punpcklqdq xorps', 'x16,x16'],
  ['pshufd', 'x16,x16,i1'],
  ['v0.vpcmpeqb', 'x16,x16,m16 x16,x16,x16'],
  ['v0.vpaddb v0.vpandn v0.vpcmpgtb v0.vpxor', 'x16,x16,x16'],
  ['movhps mulsd subsd v0.vmovq', 'x8,m8'],
  ['cvtsi2sd', 'x8,m8 x8,r8'],
  ['addsd ucomisd', 'x8,m8 x8,x8'],
  ['comisd', 'x8,x8'],
  ['v1.vpbroadcastb', 'y32,x1'],
  ['v1.vpcmpeqb v1.vpminub', 'y32,y32,m32 y32,y32,y32'],
  ['v1.vpaddb v1.vpandn v1.vpcmpgtb v1.vpor', 'y32,y32,y32'],
];

/** Without the vector length that stands before some. */
const SEMANTICS = new Set(COMMON.flatMap(([semantics]) => semantics.replaceAll(/\bv\d\./g, '').split(' ')));
const NAMES = new Set(
  COMMON.flatMap(([semantics, operands]) =>
    semantics.split(' ').flatMap((sem) => operands.split(' ').map((those) => `${sem}:${those}`)),
  ),
);

function isCommon({ sem, vex, vexL, classes, sizes }: Form): boolean {
  const operands = classes.map((cls, n) => `${cls}${sizes[n]}`).join(',');
  return NAMES.has(`${vex ? `v${vexL}.` : ''}${sem}:${operands || '-'}`);
}

/** In a fixed order; without those that are hot. */
export function commonForms(hot: readonly Form[]): Form[] {
  const known = new Set(hot.map(({ key }) => key));
  return listForms(({ sem }) => SEMANTICS.has(sem)).filter((form) => isCommon(form) && !known.has(form.key));
}

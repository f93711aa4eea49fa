/** What cannot be compared with the host, and why. */
import type { Insn } from '../../src/decode/instruction.ts';
import type { OpcodeRow } from '../../src/decode/opcodes.ts';

const groups: readonly (readonly [reason: string, sems: string])[] = [
  ['the values are the machine’s own', 'cpuid rdtsc rdtscp rdpmc rdrand rdseed rdpid xgetbv'],
  ['Linux emulates it under CR4.UMIP', 'sgdt sidt sldt str smsw'],
  ['it enters the host kernel or its hypervisor', 'int int1 int3 into syscall sysenter hypercall vmfunc'],
  ['the bases are what the host runs on', 'rdfsbase rdgsbase wrfsbase wrgsbase'],
  [
    'virtualisation is not ours to use here',
    'vmrun vmload vmsave stgi clgi skinit invlpga vmlaunch vmresume vmxoff vmread vmwrite vmptrld vmclear vmxon vmptrst invept invvpid',
  ],
  ['the area’s size and contents follow the host’s XCR0', 'xsave xrstor xsaveopt xsavec xsaves xrstors'],
  ['it is undefined outside system management mode', 'rsm'],
  ['whether it is allowed follows the host’s MSRs', 'monitor mwait'],
];
const REASONS = new Map(groups.flatMap(([reason, sems]) => sems.split(' ').map((sem) => [sem, reason] as const)));

/** Results that manuals bound and do not fix: RCPPS and relatives (SDM vol. 1 §10.4.1), x87 transcendentals (vol. 1 §8.3.10). */
const APPROXIMATE = new Set(
  'rcpps rcpss rsqrtps rsqrtss vrcpps vrcpss vrsqrtps vrsqrtss fsin fcos fsincos fptan fpatan f2xm1 fyl2x fyl2xp1'.split(' '),
);
/** FXSAVE stores the processor's MXCSR_MASK, and leaves reserved bytes as it likes (SDM vol. 1 §10.5.1). */
export const storesModel = (row: OpcodeRow): boolean => row.sem === 'fxsave';
export const isApproximate = (row: OpcodeRow): boolean => APPROXIMATE.has(row.sem);

/**
 * Where vendors differ the engine does as AMD's processors do, so only those can judge: when x87 instruction and data pointers are kept
 * (APM vol. 2 §11.5.2), masked stores to pages that cannot be written (APM vol. 3, MASKMOVDQU), the upper bytes of a pushed selector
 * (SDM vol. 2B, PUSH).
 */
const AMD_ONLY = new Set('fnstenv fnsave fxsave maskmovq maskmovdqu vmaskmovdqu push_sreg'.split(' '));

/** Why a row is left out, or undefined. */
export function exclusionOf(row: OpcodeRow, amd: boolean): string | undefined {
  return REASONS.get(row.sem) ?? (!amd && AMD_ONLY.has(row.sem) ? 'the host is not AMD’s' : undefined);
}

const BRANCHES = new Set(['jcc', 'jmp', 'call', 'jmpi', 'calli', 'ret', 'far', 'iret']);

/** Encodings that Intel's and AMD's processors take for different instructions. */
export function vendorsDiffer(insn: Insn): boolean {
  const { sem } = insn.row;
  // Near branches with 66 in 64-bit mode: 16-bit for AMD, ignored by Intel (APM vol. 3, CALL; SDM vol. 2A, CALL).
  if (BRANCHES.has(insn.row.flow) && insn.mode === 64 && insn.prefix66) return true;
  // MOVSXD with a 16-bit operand: AMD reads 32 bits of memory, Intel 16 (APM vol. 3, MOVSXD; SDM vol. 2B, MOVSX/MOVSXD).
  if (sem === 'movsxd' && insn.opSize === 2) return true;
  // 0F 0D with a register: #UD for AMD, NOP for Intel (APM vol. 3, PREFETCH; SDM vol. 2, table A-3).
  if (insn.map === 1 && insn.op === 0x0d && insn.modrm >= 0xc0) return true;
  // VPEXTRQ and VPINSRQ outside 64-bit mode: #UD for AMD, Intel ignores VEX.W (SDM vol. 2B, PEXTRB/PEXTRD/PEXTRQ, note 1).
  if (insn.mode !== 64 && insn.vexW === 1 && (sem === 'vpextrd' || sem === 'vpinsrd')) return true;
  // Far pointers of 64 bits: Intel's; AMD ignores REX.W (APM vol. 3, JMP (Far)).
  return insn.opSize === 8 && (/^l[defgs]s$/.test(sem) || (insn.row.flow === 'far' && insn.row.modrm));
}

/** /proc/cpuinfo's names of features where they are not ours. */
const HOST_NAMES: Readonly<Record<string, string>> = {
  lzcnt: 'abm',
  sse3: 'pni',
  clfsh: 'clflush',
  cet_ibt: '',
  x64: 'lm',
  x87: 'fpu',
  syscall: 'syscall',
};
const ALWAYS = new Set(['base', 'i186', 'i486']);

/** Whether the host has a row's feature; without it the bytes mean something else. */
export function hostHas(row: OpcodeRow, features: ReadonlySet<string>): boolean {
  if (ALWAYS.has(row.feature) || row.sem === 'nop') return true;
  return features.has(HOST_NAMES[row.feature] ?? row.feature);
}

const INTEGER = new Set(
  'base i186 i486 cmov popcnt bmi1 bmi2 lzcnt cx8 movbe adx x64 smap clfsh clwb clflushopt cet_ibt msr'.split(' '),
);

/** General-register instructions: everything but x87, MMX and vectors. */
export function isInteger(row: OpcodeRow): boolean {
  if (row.specs.some((spec) => 'VWUHPQNL'.includes(row.operands[row.specs.indexOf(spec)]?.charAt(0) ?? ''))) return false;
  if (row.feature === 'cmov') return row.sem === 'cmovcc';
  return INTEGER.has(row.feature) || row.sem === 'crc32' || row.sem === 'nop' || row.sem === 'movnti';
}

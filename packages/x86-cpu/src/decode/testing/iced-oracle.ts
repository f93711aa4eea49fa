/** iced-x86 as the oracle of the decoder tests: what it decodes, in the terms of {@link Insn}, and where the two differ. */
import { Code, CpuidFeature, Decoder, Instruction, MemorySizeExt, Mnemonic, OpKind, Register } from 'iced-x86';
import { decode, type Insn, OperandKind } from '../insn.ts';
import { XCHG_90 } from '../lookup.ts';

/**
 * Features whose instructions the table has; whatever iced attributes to any other is invalid here: AVX-512, VAES, VPCLMULQDQ, GFNI,
 * XOP, TBM, FMA4, LWP, SSE4A, 3DNow!, MPX, CET shadow stacks, AMX, Key Locker, PKU, RTM, SGX, TDX, SMX, MONITORX, CLZERO, RDPRU,
 * WAITPKG, MOVDIR, PTWRITE, SERIALIZE, UINTR, FRED, VIA Padlock, Cyrix and the removed 8086–486 and 287XL forms.
 */
export const FEATURES: readonly string[] = (
  'INTEL8086 INTEL8086_ONLY INTEL186 INTEL286 INTEL286_ONLY INTEL386 INTEL386_ONLY INTEL486 X64 ADX AES AVX AVX2 BMI1 BMI2 CET_IBT ' +
  'CLFLUSHOPT CLFSH CLWB CMOV CMPXCHG16B CPUID CX8 F16C FMA FPU FPU287 FPU387 FSGSBASE FXSR INVEPT INVPCID INVVPID LZCNT MMX MONITOR ' +
  'MOVBE MSR MULTIBYTENOP PAUSE PCLMULQDQ PKU POPCNT PREFETCHW RDPID RDPMC RDRAND RDSEED RDTSCP SEP SHA SKINIT SKINIT_or_SVM SMAP SMM SSE ' +
  'SSE2 SSE3 SSE4_1 SSE4_2 SSSE3 SVM SYSCALL TSC VMX XSAVE XSAVEC XSAVEOPT XSAVES'
).split(' ');

/**
 * Instructions of absent features that are another, valid instruction on a processor without the feature: iced's code, what it is there.
 * Hints: SDM vol. 2B, NOP (0F 18–1F); PREFETCHWT1 vol. 2B. WBNOINVD: APM vol. 3 ("F3 is ignored" without it). VMGEXIT: APM vol. 3,
 * VMMCALL. RDSSP: SDM vol. 2B ("executes as a NOP when CET shadow stacks are not enabled"). BND moves: vol. 1 §17.4.5.
 */
export const FALLBACKS: ReadonlyMap<string, string> = new Map([
  ['Prefetchwt1_m8', 'prefetchw'],
  ['Prefetchit0_m8', 'nop'],
  ['Prefetchit1_m8', 'nop'],
  ['Cldemote_m8', 'nop'],
  ['Rdsspd_r32', 'nop'],
  ['Rdsspq_r64', 'nop'],
  ['Wbnoinvd', 'wbinvd'],
  ['Vmgexit', 'vmmcall'],
  ['Vmgexit_F2', 'vmmcall'],
]);

/**
 * Where iced and we differ in what a valid instruction is, beyond features. Coded in `compareSegment` and `compareOperands`.
 *
 * | bytes | iced | here | because |
 * |---|---|---|---|
 * | ES, CS, SS, DS prefix in 64-bit mode | the prefix's segment | the default segment | SDM vol. 1 §3.3.7.1: ignored |
 * | Ew register operands of LLDT, LAR, ARPL, PINSRW, … | r32, r64 | size 2 | SDM vol. 2: the low word is the operand |
 * | F3 REX.B 90 | PAUSE | XCHG r8, rAX | SDM vol. 2B, XCHG, 90+r with REX.B; an EPYC exchanges |
 */
type Mode = 16 | 32 | 64;

const instruction = new Instruction();
const features = new Set(FEATURES.map((name) => CpuidFeature[name as keyof typeof CpuidFeature]));
const codes = new Map<Code, { valid: boolean; fallback: string }>();

/** Fills the shared iced instruction from up to 15 bytes. */
function icedDecode(bytes: Uint8Array, mode: Mode): Instruction {
  const decoder = new Decoder(mode, bytes, 0);
  decoder.decodeOut(instruction);
  decoder.free();
  return instruction;
}

function judge(code: Code): { valid: boolean; fallback: string } {
  let known = codes.get(code);
  if (!known) {
    const probe = new Instruction();
    probe.code = code;
    const valid = code !== Code.INVALID && [...probe.cpuidFeatures()].every((f) => features.has(f));
    probe.free();
    known = { valid, fallback: valid ? '' : (FALLBACKS.get(Code[code] ?? '') ?? '') };
    codes.set(code, known);
  }
  return known;
}

interface RegisterInfo {
  readonly kind: number;
  readonly reg: number;
  /** General registers only. */
  readonly bytes?: number;
}
const registers = new Map<number, RegisterInfo>();
const NAMED = ['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI'];
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

function classify(name: string): RegisterInfo | undefined {
  const high = ['AH', 'CH', 'DH', 'BH'].indexOf(name);
  if (high >= 0) return { kind: OperandKind.GprHigh, reg: high };
  const low = ['AL', 'CL', 'DL', 'BL', 'SPL', 'BPL', 'SIL', 'DIL'].indexOf(name);
  if (low >= 0) return { kind: OperandKind.Gpr, reg: low, bytes: 1 };
  const named = NAMED.indexOf(name.replace(/^[ER](?=..$)/, ''));
  if (named >= 0) return { kind: OperandKind.Gpr, reg: named, bytes: name.length === 2 ? 2 : name.startsWith('E') ? 4 : 8 };
  const segment = SEGMENTS.indexOf(name);
  if (segment >= 0) return { kind: OperandKind.Seg, reg: segment };
  const extended = /^R(\d+)([LWD]?)$/.exec(name);
  if (extended) return { kind: OperandKind.Gpr, reg: Number(extended[1]), bytes: { L: 1, W: 2, D: 4 }[extended[2] ?? ''] ?? 8 };
  const numbered = /^(XMM|YMM|MM|CR|DR|ST)(\d+)$/.exec(name);
  const kinds: Readonly<Record<string, number>> = {
    XMM: OperandKind.Xmm,
    YMM: OperandKind.Ymm,
    MM: OperandKind.Mmx,
    CR: OperandKind.Cr,
    DR: OperandKind.Dr,
    ST: OperandKind.St,
  };
  const kind = kinds[numbered?.[1] ?? ''];
  return kind === undefined ? undefined : { kind, reg: Number(numbered?.[2]) };
}
for (const [name, value] of Object.entries(Register)) {
  const info = typeof value === 'number' ? classify(name) : undefined;
  if (info && typeof value === 'number') registers.set(value, info);
}

function registerNumber(register: number): number {
  if (register === Register.None) return -1;
  if (register === Register.RIP || register === Register.EIP) return 16;
  return registers.get(register)?.reg ?? -2;
}

const STRING_SOURCES = new Set<number>([OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI]);
const STRING_TARGETS = new Set<number>([OpKind.MemoryESDI, OpKind.MemoryESEDI, OpKind.MemoryESRDI]);
const MASK_TARGETS = new Set<number>([OpKind.MemorySegDI, OpKind.MemorySegEDI, OpKind.MemorySegRDI]);
const BRANCHES = new Set<number>([OpKind.NearBranch16, OpKind.NearBranch32, OpKind.NearBranch64]);
const FARS = new Set<number>([OpKind.FarBranch16, OpKind.FarBranch32]);

/** Mnemonics iced spells otherwise: its own lower-case name → the table's. */
const SPELLINGS: ReadonlyMap<string, string> = new Map(
  (
    'sal=shl movsb=movs movsw=movs movsq=movs cmpsb=cmps cmpsw=cmps cmpsq=cmps stosb=stos stosw=stos stosd=stos stosq=stos ' +
    'lodsb=lods lodsw=lods lodsd=lods lodsq=lods scasb=scas scasw=scas scasd=scas scasq=scas insb=ins insw=ins insd=ins ' +
    'outsb=outs outsw=outs outsd=outs pushaw=pusha pushad=pusha popaw=popa popad=popa pushfd=pushf pushfq=pushf popfd=popf popfq=popf ' +
    'cwde=cbw cdqe=cbw cdq=cwd cqo=cwd iretd=iret iretq=iret retf=ret xlatb=xlat wait=fwait jne=jnz je=jz sete=setz setne=setnz ' +
    'cmove=cmovz cmovne=cmovnz jecxz=jcxz jrcxz=jcxz cmpxchg16b=cmpxchg8b fxsave64=fxsave fxrstor64=fxrstor xsave64=xsave ' +
    'xrstor64=xrstor xsaveopt64=xsaveopt xsaves64=xsaves xrstors64=xrstors xsavec64=xsavec sysretq=sysret sysexitq=sysexit ' +
    'pextrq=pextrd pinsrq=pinsrd vpextrq=vpextrd vpinsrq=vpinsrd fstpnce=fstp fneni=fneni fndisi=fndisi prefetch=prefetchw ' +
    'reservednop=nop pcmpestri64=pcmpestri pcmpestrm64=pcmpestrm vpcmpestri64=vpcmpestri vpcmpestrm64=vpcmpestrm'
  )
    .split(' ')
    .map((pair) => pair.split('=') as [string, string]),
);

function difference(what: string, ours: unknown, theirs: unknown): string {
  return ours === theirs ? '' : `${what}: ${String(ours)}, iced ${String(theirs)}`;
}

function immediateOf(insn: Insn, i: number): bigint {
  if (insn.reg[i] === 1) return BigInt(insn.imm2);
  return (BigInt(insn.immHi) << 32n) | BigInt(insn.immLo >>> 0);
}

/** iced reports ES, CS, SS and DS prefixes in 64-bit mode, where they are ignored (SDM vol. 1, §3.3.7.1): there the default stands. */
function compareSegment(insn: Insn, iced: Instruction): string {
  const theirs = registerNumber(iced.memorySegment);
  if (insn.mode !== 64 || theirs >= 4) return difference('seg', insn.seg, theirs);
  return difference('seg', insn.seg, insn.base === 4 || insn.base === 5 ? 2 : 3);
}

function compareMemory(insn: Insn, i: number, iced: Instruction): string {
  const bits = insn.addrSize * 8;
  let theirs = BigInt.asIntN(Math.min(bits, 32), iced.memoryDisplacement);
  // iced reports the target of RIP-relative operands; the run is at address 0.
  if (iced.isIpRelMemoryOperand) theirs = BigInt.asIntN(32, iced.memoryDisplacement - BigInt(iced.length));
  const size = MemorySizeExt.size(iced.memorySize);
  return (
    difference('base', insn.base, registerNumber(iced.memoryBase)) ||
    difference('index', insn.index, registerNumber(iced.memoryIndex)) ||
    difference('scale', insn.index < 0 ? 1 : 1 << insn.scale, insn.index < 0 ? 1 : iced.memoryIndexScale) ||
    difference('disp', BigInt(insn.disp), theirs) ||
    compareSegment(insn, iced) ||
    (insn.size[i] === 0 ? '' : difference('memory size', insn.size[i], size))
  );
}

/** Read only the low word (or byte) of a register that iced names whole. */
const LOW_PART = new Set('mov_to_sreg arpl lldt ltr verr verw lmsw lar lsl pinsrb pinsrw vpinsrb vpinsrw'.split(' '));

/** Operand `i` of ours against operand `j` of iced's. */
function compareOperand(insn: Insn, i: number, j: number, iced: Instruction): string {
  const theirs = iced.opKind(j);
  const kind = insn.kind[i];
  if (theirs === OpKind.Register) {
    const info = registers.get(iced.opRegister(j));
    return (
      difference('kind', kind, info?.kind) ||
      difference('register', insn.reg[i], info?.reg) ||
      (info?.bytes === undefined || LOW_PART.has(insn.row.sem) ? '' : difference('register size', insn.size[i], info.bytes))
    );
  }
  if (theirs === OpKind.Memory) {
    if (kind === OperandKind.Moffs) {
      const ours = (BigInt(insn.moffsHi >>> 0) << 32n) | BigInt(insn.moffsLo >>> 0);
      return difference('moffs', ours, BigInt.asUintN(64, iced.memoryDisplacement)) || compareSegment(insn, iced);
    }
    if (insn.row.sem === 'xlat') return difference('base', insn.base, registerNumber(iced.memoryBase));
    return difference('kind', kind, OperandKind.Mem) || compareMemory(insn, i, iced);
  }
  if (STRING_SOURCES.has(theirs)) return difference('rSI', insn.reg[i], 6) || compareSegment(insn, iced);
  if (STRING_TARGETS.has(theirs)) return difference('rDI', insn.reg[i], 7);
  if (MASK_TARGETS.has(theirs)) return difference('rDI', insn.reg[i], 7) || compareSegment(insn, iced);
  if (BRANCHES.has(theirs)) {
    const bits = theirs === OpKind.NearBranch16 ? 16 : theirs === OpKind.NearBranch32 ? 32 : 64;
    const ours = BigInt.asUintN(bits, BigInt(insn.length) + BigInt(insn.rel));
    return difference('kind', kind, OperandKind.Rel) || difference('target', ours, iced.nearBranchTarget);
  }
  if (FARS.has(theirs)) {
    const offset = theirs === OpKind.FarBranch16 ? iced.farBranch16 : iced.farBranch32;
    return (
      difference('kind', kind, OperandKind.Far) ||
      difference('offset', insn.immLo >>> 0, offset) ||
      difference('selector', insn.imm2, iced.farBranchSelector)
    );
  }
  const bits = Math.max(8, Math.min(64, (insn.size[i] ?? 8) * 8));
  return (
    difference('kind', kind, OperandKind.Imm) ||
    difference('immediate', BigInt.asUintN(bits, immediateOf(insn, i)), BigInt.asUintN(bits, iced.immediate(j)))
  );
}

/** Operands iced does not list, or lists though they are no operands: compared by count only. */
const SHAPES = new Set(['monitor', 'mwait', 'vmrun', 'vmload', 'vmsave', 'invlpga', 'skinit', 'int1', 'int3', 'into', 'nop']);

function compareOperands(insn: Insn, iced: Instruction): string {
  const name = (Mnemonic[iced.mnemonic] ?? '').toLowerCase();
  const expected = insn.row.mnemonic;
  const spelled = SPELLINGS.get(name) ?? name;
  // `movsd` and `cmpsd` are SSE instructions and string instructions; `movq` is also MOVD with REX.W.
  const same =
    spelled === expected ||
    (expected === 'movs' && name === 'movsd') ||
    (expected === 'cmps' && name === 'cmpsd') ||
    (expected === 'movd' && name === 'movq') ||
    (expected === 'vmovd' && name === 'vmovq') ||
    (insn.row === XCHG_90 && name === 'pause');
  if (!same) return difference('mnemonic', expected, name);
  if (insn.row.sem === 'nop' || SHAPES.has(insn.row.sem) || insn.row === XCHG_90) return '';
  // iced leaves out the implicit ST(0) of memory forms and the implicit XMM0.
  const listed = insn.operandCount - iced.opCount;
  const first = listed === 1 && insn.kind[0] === OperandKind.St ? 1 : 0;
  const last = listed === 1 && insn.row.operands.includes('XMM0') ? insn.operandCount - 1 : insn.operandCount;
  if (last - first !== iced.opCount) return difference('operands', insn.operandCount, iced.opCount);
  for (let i = first; i < last; i++) {
    const d = compareOperand(insn, i, i - first, iced);
    if (d !== '') return `operand ${i}: ${d}`;
  }
  return difference('lock', insn.lock, iced.hasLockPrefix);
}

/** Decodes `bytes[at…]` (15 bytes at most) both ways. '' when they agree, else what differs. */
export function compareWithIced(bytes: Uint8Array, at: number, mode: Mode, insn: Insn, operands: boolean): string {
  const status = decode(bytes, at, at + 15, mode, insn);
  const iced = icedDecode(bytes.subarray(at, at + 15), mode);
  const code = iced.code;
  const verdict = judge(code);
  if (verdict.fallback !== '' && status === 0 && insn.row.mnemonic === verdict.fallback) return '';
  if (verdict.valid !== (status === 0)) {
    return `${Code[code] ?? ''} is ${verdict.valid ? '' : 'in'}valid; ours: ${status === 0 ? insn.row.mnemonic : `status ${status}`}`;
  }
  if (!verdict.valid) return '';
  return difference('length', insn.length, iced.length) || (operands ? compareOperands(insn, iced) : '');
}

/**
 * System instructions. The few that kernels run by the million are generated here; the rest call TypeScript (system/), which is as
 * much the only description of them as an emitter is of an ADD: both tiers call the same helper.
 */
import type { I32, Local } from '@tsvisor/wasm-codegen';
import { Mapping } from '../core/mappings.ts';
import type { Emitter } from '../emit/emitter.ts';
import { announceWaiting, CODE64, DATA, DPL3, loadFlagsImage, loadFlat, switchPrivilege } from '../emit/privilege.ts';
import { AddressMode } from '../form.ts';
import { ModeKey } from '../records/mode-key.ts';
import { CPU, Reg, Rflags, Seg, Shadow } from '../state.ts';
import { returnFromInterrupt } from './interrupt-return.ts';
import { returnInProtectedMode } from './interrupt-return-protected.ts';
import { enterSystem, leaveSystem } from './legacy-calls.ts';
import { moveToSegment, popSegment } from './segment-loads.ts';
import { peek, push, setStackPointer } from './stack.ts';
import type { Semantics, SemanticsTable } from './types.ts';
import { restore as restoreState } from './xsave.ts';

/** Instructions whose semantics are TypeScript helpers; the number handed to `system` is the position here. */
// biome-ignore format: table
export const SYSTEM_INSTRUCTIONS = [
  'in', 'ins', 'outs', 'hlt', 'cpuid', 'rdmsr', 'wrmsr', 'rdpmc', 'invlpg', 'invpcid', 'invd', 'wbinvd',
  'mov_to_cr', 'mov_to_dr', 'mov_from_dr', 'clts', 'lmsw', 'smsw', 'lgdt', 'lidt', 'sgdt', 'sidt', 'lldt', 'ltr', 'sldt',
  'str', 'lar', 'lsl', 'verr', 'verw', 'arpl', 'lds', 'les', 'lss', 'lfs', 'lgs', 'call_far', 'jmp_far',
  'call_far_ind', 'jmp_far_ind', 'ret_far', 'int', 'int3', 'int1', 'into', 'bound', 'syscall', 'sysret',
  'clac', 'stac', 'xgetbv', 'xsetbv', 'rdpkru', 'wrpkru', 'pkru_changed', 'monitor', 'mwait', 'rsm', 'rdrand',
  'rdseed', 'rdpid', 'popf_slow', 'interrupt_flag_slow', 'ud2', 'ud1', 'ud0', 'pushf_slow',
  // Where generated code leaves an instruction of that name to the helper.
  'rdtsc_slow', 'rdtscp_slow', 'mov_from_cr_slow', 'rdfsbase_slow', 'rdgsbase_slow', 'wrfsbase_slow', 'wrgsbase_slow',
  'mov_to_sreg_slow', 'pop_sreg_slow', 'sysenter_slow', 'sysexit_slow', 'iret_slow', 'out_slow', 'hypercall_slow',
] as const;

const systemNumber = (name: (typeof SYSTEM_INSTRUCTIONS)[number]): number => SYSTEM_INSTRUCTIONS.indexOf(name);

const IOPL_SHIFT = 12;

/** Goes to the slow path unless CPL ≤ IOPL and not in virtual-8086 mode. */
function unlessPrivileged(e: Emitter, slow: (typeof SYSTEM_INSTRUCTIONS)[number]): void {
  const { f } = e;
  const iopl = (): I32 => f.i32.and(f.i32.shr_u(e.load32('rflags'), f.i32.const(IOPL_SHIFT)), f.i32.const(3));
  const above = f.i32.gt_u(e.load32('cpl'), iopl());
  const virtual = f.i32.and(e.load32('rflags'), f.i32.const(Rflags.VM));
  f.if(f.i32.or(above, virtual), () => e.system(systemNumber(slow)));
}

const clearInterrupts: Semantics = (e) => {
  unlessPrivileged(e, 'interrupt_flag_slow');
  e.store32('rflags', () => e.f.i32.and(e.load32('rflags'), e.f.i32.const(~Rflags.IF)));
};

/** STI: interrupts are recognised after the next instruction if IF was clear (SDM vol. 2B, STI). */
const setInterrupts: Semantics = (e) => {
  const { f } = e;
  unlessPrivileged(e, 'interrupt_flag_slow');
  const wasClear = e.let32(f.i32.eqz(f.i32.and(e.load32('rflags'), f.i32.const(Rflags.IF))));
  e.store32('interruptShadow', () => f.select(f.i32.const(Shadow.STI), f.i32.const(Shadow.NONE), f.get(wasClear)));
  f.if(f.get(wasClear), () => {
    e.store32('rflags', () => f.i32.or(e.load32('rflags'), f.i32.const(Rflags.IF)));
    e.store64('shadowRip', () => e.nextRip());
    announceWaiting(e);
  });
};

const pushFlags: Semantics = (e) => {
  const { f } = e;
  f.if(f.i32.and(e.load32('rflags'), f.i32.const(Rflags.VM)), () => e.system(systemNumber('pushf_slow')));
  // RF and VM read as zero in the pushed image (SDM vol. 2B, PUSHF).
  const kept = f.i32.and(e.load32('rflags'), f.i32.const(~(Rflags.RF | Rflags.VM)));
  const image = f.i32.or(f.i32.or(kept, e.statusFlags()), f.i32.const(Rflags.FIXED));
  const size = e.form.opSize;
  push(e, e.let(e.truncate(f.i64.extend_i32_u(image), size)), size);
};

/** Bits POPF may change without consequences beyond the flags themselves, at CPL 0. */
const PLAIN_FLAGS = Rflags.DF | Rflags.IF | Rflags.NT | Rflags.ID | Rflags.IOPL;

/** POPF. TF, AC and every CPL but 0 go the slow way: they change how following code runs or which bits may change. */
const popFlags: Semantics = (e) => {
  const { f } = e;
  const size = e.form.opSize;
  f.if(f.i32.or(e.load32('cpl'), f.i32.and(e.load32('rflags'), f.i32.const(Rflags.VM))), () =>
    e.system(systemNumber('popf_slow')),
  );
  const { value, after } = peek(e, size);
  const image = e.let32(f.i32.wrap_i64(f.get(value)));
  const special = f.i32.and(
    f.i32.xor(f.get(image), e.load32('rflags')),
    f.i32.const(size === 2 ? Rflags.TF : Rflags.TF | Rflags.AC),
  );
  f.if(special, () => e.system(systemNumber('popf_slow')));
  setStackPointer(e, after);
  const changeable = size === 2 ? PLAIN_FLAGS & 0xffff : PLAIN_FLAGS;
  const kept = (): I32 => f.i32.and(e.load32('rflags'), f.i32.const(~(changeable | Rflags.RF)));
  const changed = (): I32 => f.i32.and(f.get(image), f.i32.const(changeable));
  e.store32('rflags', () => f.i32.or(kept(), changed()));
  e.setStatusFlags(image);
  f.if(f.i32.and(f.get(image), f.i32.const(Rflags.IF)), () => announceWaiting(e));
};

// --- doorbells: writes to ports and hypercalls that are only a signal -------------------------------------------------------------

/** OUT. What no doorbell answers, or is to be permitted, is the helper's. */
const output: Semantics = (e) => {
  const { f } = e;
  const slow = systemNumber('out_slow');
  unlessPrivileged(e, 'out_slow');
  // Breakpoints on ports have instructions run one by one, and want to know.
  if (!e.inRegion) f.if(f.i32.and(e.load32('modeKey'), f.i32.const(ModeKey.STEP)), () => e.system(slow));
  const port = e.form.classes[0] === 'i' ? e.read(0, 1) : e.read(0, 2);
  f.if(f.i32.eqz(f.call(e.helpers.ringPort, port, e.read(1), f.i32.const(e.size(1)))), () => e.system(slow));
};

/** VMCALL, VMMCALL. */
const hypercall: Semantics = (e) => {
  const { f } = e;
  const slow = systemNumber('hypercall_slow');
  const size = e.form.mode === 64 ? 8 : 4;
  f.if(e.load32('cpl'), () => e.system(slow));
  f.if(f.i32.eqz(f.call(e.helpers.ringHypercall, e.gpr(Reg.RAX, size), e.gpr(Reg.RBX, size))), () => e.system(slow));
  e.setGpr(Reg.RAX, size, e.let(f.i64.const(0)));
};

// --- fast system calls -----------------------------------------------------------------------------------------------------------

/** Bits of R11 that SYSRET takes into RFLAGS. */
const SYSRET_FLAGS = 0x3c_7fd7;

/** Bits of IA32_STAR from `shift` on, as a selector. */
const starSelector = (e: Emitter, shift: number): I32 =>
  e.f.i32.wrap_i64(e.f.i64.and(e.f.i64.shr_u(e.load64('star'), e.f.i64.const(shift)), e.f.i64.const(0xfffc)));

/** SYSCALL from 64-bit user code (SDM vol. 2B); other modes are the helper's. */
const syscall: Semantics = (e) => {
  const { f } = e;
  const usual = f.i32.and(f.i32.eq(e.load32('modeKey'), e.load32('userKey')), e.load32('fastCalls'));
  f.if(usual, () => {
    const kept = e.let32(f.i32.and(e.load32('rflags'), f.i32.const(~Rflags.RF)));
    const image = e.let32(f.i32.or(f.i32.or(f.get(kept), e.statusFlags()), f.i32.const(Rflags.FIXED)));
    e.setGpr(Reg.R11, 8, e.let(f.i64.extend_i32_u(f.get(image))));
    e.setGpr(Reg.RCX, 8, e.let(e.nextRip()));
    const mask = (): I32 => f.i32.xor(f.i32.wrap_i64(e.load64('sfmask')), f.i32.const(-1));
    loadFlagsImage(e, e.let32(f.i32.and(f.get(image), mask())));
    loadFlat(e, Seg.CS, starSelector(e, 32), CODE64);
    loadFlat(e, Seg.SS, f.i32.add(starSelector(e, 32), f.i32.const(8)), DATA);
    switchPrivilege(e, false);
    e.jumpTo(e.let(e.load64('lstar')));
  });
  e.system(systemNumber('syscall'));
};

/** SYSRET to 64-bit user code; a return address, TF or AC that needs care goes to the helper. */
const sysret: Semantics = (e) => {
  const { f } = e;
  if (e.form.opSize === 8) {
    const target = e.let(e.gpr(Reg.RCX, 8));
    const image = e.let32(f.i32.and(f.i32.wrap_i64(e.gpr(Reg.R11, 8)), f.i32.const(SYSRET_FLAGS)));
    const lowHalf = f.i64.eqz(f.i64.shr_u(f.get(target), f.i64.const(47)));
    const usual = f.i32.and(f.i32.eq(e.load32('modeKey'), e.load32('kernelKey')), e.load32('fastCalls'));
    const plain = f.i32.eqz(f.i32.and(f.get(image), f.i32.const(Rflags.TF | Rflags.AC)));
    f.if(f.i32.and(lowHalf, f.i32.and(usual, plain)), () => {
      loadFlagsImage(e, image);
      loadFlat(e, Seg.CS, f.i32.or(f.i32.add(starSelector(e, 48), f.i32.const(16)), f.i32.const(3)), CODE64 | DPL3);
      loadFlat(e, Seg.SS, f.i32.or(f.i32.add(starSelector(e, 48), f.i32.const(8)), f.i32.const(3)), DATA | DPL3);
      switchPrivilege(e, true);
      f.if(f.i32.and(f.get(image), f.i32.const(Rflags.IF)), () => announceWaiting(e));
      e.jumpTo(target);
    });
  }
  e.system(systemNumber('sysret'));
};

const swapGs: Semantics = (e) => {
  const { f } = e;
  const base = e.let(f.i64.load(e.cpu(), CPU.offset.segBase + 8 * Seg.GS));
  const kernel = e.let(e.load64('kernelGsBase'));
  f.i64.store(e.cpu(), f.get(kernel), CPU.offset.segBase + 8 * Seg.GS);
  e.store64('kernelGsBase', () => f.get(base));
};

const interruptReturn: Semantics = (e) => {
  if (e.form.opSize === 8) returnFromInterrupt(e);
  if (e.form.opSize === 4 && e.form.mode === 32) returnInProtectedMode(e);
  e.system(systemNumber('iret_slow'));
};

const softwareInterrupt: Semantics = (e) => {
  const { f } = e;
  if (!e.inRegion && e.form.mode !== 16) {
    const vector = e.let32(f.i32.wrap_i64(e.read(0, 1)));
    f.if(f.call(e.helpers.deliverSoftware, f.get(vector), e.nextRip()), () => e.jumpTo(e.let(e.load64('rip'))));
  }
  e.system(systemNumber('int'));
};

/** The instructions whose slow part has the same name. */
const withSlow =
  (name: 'mov_to_sreg' | 'pop_sreg' | 'sysenter' | 'sysexit', emit: (e: Emitter, slow: () => void) => void): Semantics =>
  (e) =>
    emit(e, () => e.system(systemNumber(`${name}_slow`)));

// --- control registers, mappings, time -------------------------------------------------------------------------------------------

const CONTROL = { 0: 'cr0', 2: 'cr2', 3: 'cr3', 4: 'cr4' } as const;
const isPlainControl = (n: number): n is keyof typeof CONTROL => n in CONTROL;

const moveFromControl: Semantics = (e) => {
  const { special } = e.form;
  // CR8 is the interrupt controller's.
  if (!isPlainControl(special)) e.f.if(e.f.i32.const(1), () => e.system(systemNumber('mov_from_cr_slow')));
  else e.write(0, e.let(e.truncate(e.load64(CONTROL[special]), e.size(0))));
};

/** MOV to CR3 from 64-bit or 32-bit code. */
const moveToControl: Semantics = (e) => {
  const { f } = e;
  const id = systemNumber('mov_to_cr');
  if (e.inRegion || e.form.special !== 3 || e.form.mode === 16) {
    e.system(id);
    return;
  }
  const how = e.let32(f.call(e.helpers.writeCr3, e.read(1)));
  mappingChanged(e, how, id);
};

const invalidatePage: Semantics = (e) => {
  const { f } = e;
  const id = systemNumber('invlpg');
  if (e.inRegion || e.form.mode === 16 || e.form.address === AddressMode.Segmented) {
    e.system(id);
    return;
  }
  const how = e.let32(f.call(e.helpers.invalidatePage, f.get(e.address(1, false))));
  mappingChanged(e, how, id);
};

/** Goes on as a change of mappings calls for. */
function mappingChanged(e: Emitter, how: Local<I32>, id: number): void {
  const { f } = e;
  f.if(f.i32.eq(f.get(how), f.i32.const(Mapping.Unusual)), () => e.system(id));
  f.if(f.i32.eq(f.get(how), f.i32.const(Mapping.Changed)), () => e.jumpTo(e.let(e.nextRip())));
}

const CR4_TSD = 4;
const CR4_FSGSBASE = 1 << 16;

const readTsc =
  (name: 'rdtsc' | 'rdtscp'): Semantics =>
  (e) => {
    const { f } = e;
    // CR4.TSD forbids it above CPL 0.
    const disabled = (): I32 => f.i32.wrap_i64(f.i64.and(e.load64('cr4'), f.i64.const(CR4_TSD)));
    f.if(e.load32('cpl'), () => f.if(disabled(), () => e.system(systemNumber(`${name}_slow`))));
    f.call(e.helpers.readTsc);
    e.setGpr(Reg.RAX, 8, e.let(f.i64.load32_u(e.cpu(), CPU.offset.helper)));
    e.setGpr(Reg.RDX, 8, e.let(f.i64.load32_u(e.cpu(), CPU.offset.helper + 4)));
    if (name === 'rdtscp') e.setGpr(Reg.RCX, 8, e.let(e.load64('tscAux')));
  };

/** RDFSBASE, WRFSBASE and so on; without CR4.FSGSBASE, or with an address that is not canonical, the helper raises. */
const segmentBase =
  (name: 'rdfsbase' | 'rdgsbase' | 'wrfsbase' | 'wrgsbase', segment: number): Semantics =>
  (e) => {
    const { f } = e;
    const id = systemNumber(`${name}_slow`);
    const enabled = f.i64.and(e.load64('cr4'), f.i64.const(CR4_FSGSBASE));
    f.if(f.i64.eqz(enabled), () => e.system(id));
    const at = CPU.offset.segBase + 8 * segment;
    if (name.startsWith('rd')) {
      e.write(0, e.let(e.truncate(f.i64.load(e.cpu(), at), e.size(0))));
      return;
    }
    const value = e.let(e.read(0));
    f.if(f.i32.eqz(f.call(e.helpers.canonical, f.get(value))), () => e.system(id));
    f.i64.store(e.cpu(), f.get(value), at);
  };

/** MOV from a segment register: 16 bits to memory, zero-extended to a wider register. */
const moveFromSegment: Semantics = (e) => {
  e.write(0, e.let(e.segmentSelector(e.form.special)));
};

const inTypeScript: Record<string, Semantics> = Object.fromEntries(
  SYSTEM_INSTRUCTIONS.map((name, id) => [name, (e: Emitter) => e.system(id)]),
);

export const systemSemantics: SemanticsTable = {
  ...inTypeScript,
  out: output,
  hypercall,
  cli: clearInterrupts,
  sti: setInterrupts,
  pushf: pushFlags,
  popf: popFlags,
  mov_from_sreg: moveFromSegment,
  syscall,
  sysret,
  swapgs: swapGs,
  iret: interruptReturn,
  int: softwareInterrupt,
  mov_to_sreg: withSlow('mov_to_sreg', moveToSegment),
  pop_sreg: withSlow('pop_sreg', popSegment),
  sysenter: withSlow('sysenter', enterSystem),
  sysexit: withSlow('sysexit', leaveSystem),
  xrstor: restoreState(false, (e) => e.system(systemNumber('pkru_changed'))),
  xrstors: restoreState(true, (e) => e.system(systemNumber('pkru_changed'))),
  mov_from_cr: moveFromControl,
  mov_to_cr: moveToControl,
  invlpg: invalidatePage,
  rdtsc: readTsc('rdtsc'),
  rdtscp: readTsc('rdtscp'),
  rdfsbase: segmentBase('rdfsbase', Seg.FS),
  rdgsbase: segmentBase('rdgsbase', Seg.GS),
  wrfsbase: segmentBase('wrfsbase', Seg.FS),
  wrgsbase: segmentBase('wrgsbase', Seg.GS),
};

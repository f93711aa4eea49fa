/**
 * System instructions. The few that kernels run by the million are generated here; the rest call TypeScript (system/), which is as
 * much the only description of them as an emitter is of an ADD: both tiers call the same helper.
 */
import type { I32 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { Rflags, Shadow } from '../state.ts';
import { peek, push, setStackPointer } from './stack.ts';
import type { Semantics, SemanticsTable } from './types.ts';

/** Instructions whose semantics are TypeScript helpers; the number handed to `system` is the position here. */
// biome-ignore format: table
export const SYSTEM_INSTRUCTIONS = [
  'in', 'out', 'ins', 'outs', 'hlt', 'cpuid', 'rdtsc', 'rdtscp', 'rdmsr', 'wrmsr', 'rdpmc', 'invlpg', 'invpcid', 'invd', 'wbinvd',
  'mov_to_cr', 'mov_from_cr', 'mov_to_dr', 'mov_from_dr', 'clts', 'lmsw', 'smsw', 'lgdt', 'lidt', 'sgdt', 'sidt', 'lldt', 'ltr', 'sldt',
  'str', 'lar', 'lsl', 'verr', 'verw', 'arpl', 'mov_to_sreg', 'pop_sreg', 'lds', 'les', 'lss', 'lfs', 'lgs', 'call_far', 'jmp_far',
  'call_far_ind', 'jmp_far_ind', 'ret_far', 'iret', 'int', 'int3', 'int1', 'into', 'bound', 'syscall', 'sysret', 'sysenter', 'sysexit',
  'swapgs', 'clac', 'stac', 'xgetbv', 'xsetbv', 'monitor', 'mwait', 'rdfsbase', 'rdgsbase', 'wrfsbase', 'wrgsbase', 'rsm', 'rdrand',
  'rdseed', 'rdpid', 'popf_slow', 'interrupt_flag_slow', 'ud2', 'ud1', 'ud0', 'pushf_slow',
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
  f.if(f.i32.eqz(f.i32.and(e.load32('rflags'), f.i32.const(Rflags.IF))), () => {
    e.store32('rflags', () => f.i32.or(e.load32('rflags'), f.i32.const(Rflags.IF)));
    e.store32('interruptShadow', () => f.i32.const(Shadow.STI));
    e.store64('shadowRip', () => e.nextRip());
    e.store32('exitRequest', () => f.i32.or(e.load32('exitRequest'), e.load32('interruptPending')));
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
  f.if(f.i32.and(f.get(image), f.i32.const(Rflags.IF)), () =>
    e.store32('exitRequest', () => f.i32.or(e.load32('exitRequest'), e.load32('interruptPending'))),
  );
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
  cli: clearInterrupts,
  sti: setInterrupts,
  pushf: pushFlags,
  popf: popFlags,
  mov_from_sreg: moveFromSegment,
};

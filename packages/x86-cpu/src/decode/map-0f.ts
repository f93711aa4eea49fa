/** Two-byte map, integer and system part (SDM vol. 2, table A-3; APM vol. 3, appendix A). SIMD rows are in `map-0f-simd.ts`. */
import type { OpcodeRow } from './opcodes.ts';
import { parseRows } from './opcodes.ts';

const SYSTEM = `
  00/0m sldt Mw sys
  00/0r sldt Rv sys
  00/1m str Mw sys
  00/1r str Rv sys
  00/2 lldt Ew cpl0
  00/3 ltr Ew cpl0
  00/4 verr Ew sys
  00/5 verw Ew sys
  01/0m sgdt Ms sys
  01/1m sidt Ms sys
  01/2m lgdt Ms cpl0
  01/3m lidt Ms cpl0
  01/4m smsw Mw sys
  01/4r smsw Rv sys
  01/6 lmsw Ew cpl0 end
  01/7m invlpg M cpl0 end @i486
  np.01/0r:1 vmcall=hypercall - sys @hypervisor
  np.01/0r:2 vmlaunch - sys trans @vmx
  np.01/0r:3 vmresume - sys trans @vmx
  np.01/0r:4 vmxoff - sys trans @vmx
  np.01/1r:0 monitor aAX,ECX,EDX cpl0 @monitor
  np.01/1r:1 mwait EAX,ECX cpl0 hlt @monitor
  np.01/1r:2 clac - cpl0 end @smap
  np.01/1r:3 stac - cpl0 end @smap
  np.01/2r:0 xgetbv - @xsave
  np.01/2r:1 xsetbv - cpl0 end @xsave
  np.01/2r:4 vmfunc - sys trans @vmx
  np.01/5r:6 rdpkru - @pku
  np.01/5r:7 wrpkru - end @pku
  01/3r:0 vmrun aAX sys trans @svm
  01/3r:1 vmmcall=hypercall - sys @hypervisor
  01/3r:2 vmload aAX sys @svm
  01/3r:3 vmsave aAX sys @svm
  01/3r:4 stgi - sys end @svm
  01/3r:5 clgi - sys @svm
  01/3r:6 skinit EAX sys trans @svm
  01/3r:7 invlpga aAX,ECX sys end @svm
  01/7r:0 swapgs - cpl0 o64 @x64
  01/7r:1 rdtscp - @rdtscp
  02 lar Gv,Ew sys
  03 lsl Gv,Ew sys
  05 syscall - trans @syscall
  06 clts - cpl0 end
  07 sysret - cpl0 trans @syscall
  08 invd - cpl0 ser end @i486
  09 wbinvd - cpl0 ser end @i486
  0b ud2 - ud
  20 mov=mov_from_cr Rn,Cn cpl0 anymod f64
  21 mov=mov_from_dr Rn,Dn cpl0 anymod f64
  22 mov=mov_to_cr Cn,Rn cpl0 anymod f64 ser end
  23 mov=mov_to_dr Dn,Rn cpl0 anymod f64 ser end
  30 wrmsr - cpl0 ser end @msr
  31 rdtsc - @tsc
  32 rdmsr - cpl0 @msr
  33 rdpmc - sys
  34 sysenter - trans @sep
  35 sysexit - cpl0 trans @sep
  np.78 vmread En,Gn sys @vmx
  np.79 vmwrite Gn,En sys @vmx
  aa rsm - sys trans
  a2 cpuid - ser @cpuid
  np.c7/6m vmptrld Mq sys @vmx
  66.c7/6m vmclear Mq sys @vmx
  f3.c7/6m vmxon Mq sys @vmx
  np.c7/7m vmptrst Mq sys @vmx
`;

/** Reserved for hints: no operation on processors that give them no meaning (SDM vol. 2B, NOP; vol. 1 §17.4.5 for the MPX encodings). */
const HINTS = `
  0dm prefetchw=nop Mb
  0dr nop Ev
  18/0m prefetchnta=nop Mb @sse
  18/1m prefetcht0=nop Mb @sse
  18/2m prefetcht1=nop Mb @sse
  18/3m prefetcht2=nop Mb @sse
  18 nop Ev modrm
  19 nop Ev modrm
  1a nop Ev modrm
  1b nop Ev modrm
  1c nop Ev modrm
  1d nop Ev modrm
  f3.1e/7r:2 endbr64=nop - @cet_ibt
  f3.1e/7r:3 endbr32=nop - @cet_ibt
  1e nop Ev modrm
  1f nop Ev modrm
`;

const INTEGER = `
  40+cc cmovcc Gv,Ev @cmov
  80+cc jcc Jz f64 jcc
  90+cc setcc Eb modrm
  a0 push=push_sreg FS d64
  a1 pop=pop_sreg FS d64 end
  a3 bt Ev,Gv
  a4 shld Ev,Gv,Iub
  a5 shld Ev,Gv,CL
  a8 push=push_sreg GS d64
  a9 pop=pop_sreg GS d64 end
  ab bts Ev,Gv lock
  ac shrd Ev,Gv,Iub
  ad shrd Ev,Gv,CL
  af imul=imul2 Gv,Ev
  b0 cmpxchg Eb,Gb lock @i486
  b1 cmpxchg Ev,Gv lock @i486
  b2m lss Gv,Mp end
  b3 btr Ev,Gv lock
  b4m lfs Gv,Mp end
  b5m lgs Gv,Mp end
  b6 movzx Gv,Eb
  b7 movzx Gv,Ew
  f3.b8 popcnt Gv,Ev @popcnt
  b9 ud1 Gv,Ev ud
  ba/4 bt Ev,Iub
  ba/5 bts Ev,Iub lock
  ba/6 btr Ev,Iub lock
  ba/7 btc Ev,Iub lock
  bb btc Ev,Gv lock
  bc bsf Gv,Ev
  f3.bc tzcnt Gv,Ev @bmi1 else:bsf
  bd bsr Gv,Ev
  f3.bd lzcnt Gv,Ev @lzcnt else:bsr
  be movsx Gv,Eb
  bf movsx Gv,Ew
  c0 xadd Eb,Gb lock @i486
  c1 xadd Ev,Gv lock @i486
  np.c3m movnti My,Gy @sse2
  c7/1m cmpxchg8b Mqdq lock @cx8
  nf.c7/6r rdrand Rv @rdrand
  nf.c7/7r rdseed Rv @rdseed
  f3.c7/7r rdpid Rn @rdpid
  c8+r bswap Zv @i486
  ff ud0 Gv,Ev ud
`;

/** Group 15 (table A-6). */
const GROUP15 = `
  np.ae/0m fxsave M @fxsr
  np.ae/1m fxrstor M @fxsr
  np.ae/2m ldmxcsr Md @sse
  np.ae/3m stmxcsr Md @sse
  np.ae/4m xsave M @xsave
  np.ae/5m xrstor M @xsave
  np.ae/6m xsaveopt M @xsaveopt
  np.ae/7m clflush Mb @clfsh
  66.ae/6m clwb Mb @clwb
  66.ae/7m clflushopt Mb @clflushopt
  np.ae/5r lfence - @sse2
  np.ae/6r mfence - @sse2
  np.ae/7r sfence - @sse
  f3.ae/0r rdfsbase Ry o64 @fsgsbase
  f3.ae/1r rdgsbase Ry o64 @fsgsbase
  f3.ae/2r wrfsbase Ry o64 @fsgsbase
  f3.ae/3r wrgsbase Ry o64 @fsgsbase
  np.c7/3m xrstors M cpl0 @xsaves
  np.c7/4m xsavec M @xsavec
  np.c7/5m xsaves M cpl0 @xsaves
`;

export function map0fRows(): OpcodeRow[] {
  return parseRows(1, false, 'base', SYSTEM + HINTS + INTEGER + GROUP15);
}

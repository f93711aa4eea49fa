/** System instructions by name: what `Emitter.system` runs. */

import { Vector } from '../core/memory.ts';
import { Status } from '../emit/interpreter.ts';
import type {
  CpuidSource,
  EntropySource,
  HypercallBus,
  InterruptController,
  IoLength,
  MsrDevice,
  PortBus,
  TimeStampCounter,
} from '../ports.ts';
import { is64Bit } from '../records/mode-key.ts';
import { Record, Rflags, Seg, Shadow, STATUS_FLAGS } from '../state.ts';
import type { SystemContext } from './context.ts';
import { Attr, Cr0, Cr4, fault, generalProtection } from './context.ts';
import { debugRegister, readMsr, readXcr, writeCr0, writeCr3, writeCr4, writeDr, writeMsr, writeXcr } from './control.ts';
import { deliver } from './events.ts';
import { xsaveBytes } from './model.ts';
import type { RecordOperands } from './operands.ts';
import { StackCursor, segmentLinear } from './operands.ts';
import { loadSegment, SystemType } from './segments.ts';
import { inSmm, leaveSmm } from './smm.ts';
import {
  farTransfer,
  inspectSelector,
  interruptReturn,
  loadLdt,
  loadTask,
  popFlags,
  returnFar,
  softwareInterrupt,
  syscall,
  sysenter,
  sysexit,
  sysret,
} from './transfer.ts';
import { clearInterruptFlag, pushFlags, setInterruptFlag } from './virtual-8086.ts';

export type SystemPorts = {
  readonly pio: PortBus;
  readonly hypercalls?: HypercallBus;
  readonly interrupts: InterruptController;
  readonly msrs: MsrDevice;
  readonly tsc: TimeStampCounter;
  readonly cpuid: CpuidSource;
  readonly entropy: EntropySource;
  readonly onSmm?: (active: boolean) => void;
};

/** Runs one instruction. `Next`: go on behind it; `Jump`: at `CPU.rip`; `Leave`: there, later. Faults are thrown. */
export type SystemInstruction = (c: SystemContext, o: RecordOperands, ports: SystemPorts) => number;

const { Next, Jump, Leave } = Status;
const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;

/** A handler that changed mode or mappings: the next instruction is looked up afresh. */
const resume = (c: SystemContext, o: RecordOperands): number => {
  c.state.rip = o.nextRip;
  return Jump;
};

const low32 = (value: bigint): number => Number(value & 0xffff_ffffn);

// --- I/O -------------------------------------------------------------------------------------------------------------------------

/** CPL above IOPL needs every port's bit clear in the TSS's I/O map (SDM vol. 1 §19.5.2). */
function checkPorts(c: SystemContext, port: number, size: number): void {
  const { state } = c;
  const iopl = (state.rflags >> 12) & 3;
  if (!c.protectedMode || (state.cpl <= iopl && !c.virtual8086)) return;
  const limit = state.segLimit[Seg.TR];
  const wide = (state.segAttr[Seg.TR] & 8) !== 0;
  if (!wide || limit < 0x67) generalProtection();
  const map = Number(c.asSystem(() => c.read(state.segBase[Seg.TR] + 0x66n, 2)));
  const at = map + (port >> 3);
  if (at + 1 > limit) generalProtection();
  const bits = Number(c.asSystem(() => c.read(state.segBase[Seg.TR] + BigInt(at), 2)));
  if ((bits >> (port & 7)) & ((1 << size) - 1)) generalProtection();
}

const portOf = (o: RecordOperands, n: number): number =>
  o.form.classes[n] === 'i' ? o.immediate(n) & 0xff : Number(o.register(n, 2));

const input: SystemInstruction = (c, o, { pio }) => {
  const size = o.form.sizes[0] as IoLength;
  const port = portOf(o, 1);
  checkPorts(c, port, size);
  o.setRegister(0, size, BigInt(pio.read(port, size)));
  c.breakpoints.note(BigInt(port), size, 'port');
  return Next;
};

const output: SystemInstruction = (c, o, { pio }) => {
  const size = o.form.sizes[1] as IoLength;
  const port = portOf(o, 0);
  checkPorts(c, port, size);
  pio.write(port, size, Number(o.register(1, size)));
  c.breakpoints.note(BigInt(port), size, 'port');
  return Next;
};

/** KVM's answers (Linux, include/uapi/linux/kvm_para.h). */
const KVM_EPERM = 1;
const KVM_ENOSYS = 1000;

/** VMCALL and VMMCALL: a number in RAX, arguments in RBX, RCX, RDX and RSI, the result in RAX (Linux, Documentation/virt/kvm/x86/hypercalls.rst). */
const hypercall: SystemInstruction = (c, _o, { hypercalls }) => {
  const { state } = c;
  const bits = is64Bit(state.modeKey) ? 64 : 32;
  const [number, argument] = [RAX, RBX].map((register) => BigInt.asUintN(bits, state.gpr[register]));
  const call = (): number => {
    if (state.cpl !== 0) return -KVM_EPERM;
    const rung = hypercalls?.ring(Number(number), low32(argument), Number(argument >> 32n));
    return rung ? 0 : -KVM_ENOSYS;
  };
  state.gpr[RAX] = BigInt.asUintN(bits, BigInt(call()));
  return Next;
};

/** INS and OUTS, one element or under REP up to a chunk; registers are right before every access that can fault. */
const stringIo =
  (isInput: boolean): SystemInstruction =>
  (c, o, { pio }) => {
    const { state } = c;
    const size = (o.form.sizes[isInput ? 0 : 1] || 1) as IoLength;
    const bits = o.form.addrSize * 8;
    const port = Number(state.gpr[RDX] & 0xffffn);
    checkPorts(c, port, size);
    const reg = isInput ? 7 : 6;
    const set = (n: number, value: bigint): void => {
      const cut = BigInt.asUintN(bits, value);
      state.gpr[n] = bits === 16 ? (state.gpr[n] & ~0xffffn) | cut : cut;
    };
    const step = state.rflags & Rflags.DF ? -size : size;
    const most = c.stepping ? 1 : 1024;
    for (let n = 0; n < most; n++) {
      const count = BigInt.asUintN(bits, state.gpr[RCX]);
      if (o.form.rep && count === 0n) return Next;
      const offset = BigInt.asUintN(bits, state.gpr[reg]);
      const seg = isInput ? Seg.ES : o.u8(Record.segment);
      const va = segmentLinear(c, seg, offset, size, isInput);
      if (isInput) {
        c.write(va, size, 0n | c.read(va, size)); // faults before the port is read
        c.write(va, size, BigInt(pio.read(port, size)));
      } else pio.write(port, size, Number(c.read(va, size)));
      c.breakpoints.note(BigInt(port), size, 'port');
      set(reg, offset + BigInt(step));
      if (!o.form.rep) return Next;
      set(RCX, count - 1n);
    }
    state.rip = o.thisRip;
    return Jump;
  };

// --- identification and time -----------------------------------------------------------------------------------------------------

const four = new Uint32Array(4);
const two = new Uint32Array(2);

/** CPUID.1:ECX bit 27. */
const OSXSAVE = 1 << 27;
/** CPUID.7:ECX bit 4. */
const OSPKE = 1 << 4;

const cpuid: SystemInstruction = (c, _o, ports) => {
  const { gpr } = c.state;
  const leaf = low32(gpr[RAX]);
  const subleaf = low32(gpr[RCX]);
  ports.cpuid.query(leaf, subleaf, four);
  // What follows from control registers (SDM vol. 2A, CPUID: 01H:ECX.OSXSAVE, 0DH:EBX).
  if (leaf === 1 && c.lo('cr4') & Cr4.OSXSAVE) four[2] |= OSXSAVE;
  if (leaf === 7 && subleaf === 0 && c.lo('cr4') & Cr4.PKE) four[2] |= OSPKE;
  if (leaf === 0xd && subleaf < 2 && four[1] !== 0) four[1] = xsaveBytes(Number(c.state.xcr0), subleaf === 1);
  [RAX, RBX, RCX, RDX].forEach((reg, n) => {
    gpr[reg] = BigInt(four[n]);
  });
  return Next;
};

const readTsc: SystemInstruction = (c, _o, { tsc }) => {
  if (c.lo('cr4') & Cr4.TSD && c.state.cpl !== 0) generalProtection();
  tsc.read(two);
  c.state.gpr[RAX] = BigInt(two[0]);
  c.state.gpr[RDX] = BigInt(two[1]);
  return Next;
};

const setPair = (c: SystemContext, value: bigint): void => {
  c.state.gpr[RAX] = value & 0xffff_ffffn;
  c.state.gpr[RDX] = value >> 32n;
};
const pair = (c: SystemContext): bigint => ((c.state.gpr[RDX] & 0xffff_ffffn) << 32n) | (c.state.gpr[RAX] & 0xffff_ffffn);

// --- descriptor tables -----------------------------------------------------------------------------------------------------------

const loadTable =
  (base: 'gdtrBase' | 'idtrBase', limit: 'gdtrLimit' | 'idtrLimit'): SystemInstruction =>
  (c, o) => {
    const mode64 = is64Bit(c.state.modeKey);
    const size = mode64 ? 8 : 4;
    const newLimit = c.read(o.address(2 + size, false), 2);
    let newBase = c.read(o.address(2 + size, false, 2), size);
    if (mode64 && !c.canonical(newBase)) generalProtection();
    if (!mode64 && o.form.opSize === 2) newBase &= 0xff_ffffn;
    c.state[limit] = Number(newLimit);
    c.state[base] = newBase;
    return Next;
  };

const storeTable =
  (base: 'gdtrBase' | 'idtrBase', limit: 'gdtrLimit' | 'idtrLimit'): SystemInstruction =>
  (c, o) => {
    const size = is64Bit(c.state.modeKey) ? 8 : 4;
    const at = o.address(2 + size, true);
    const rest = o.address(2 + size, true, 2);
    c.write(rest, size, BigInt.asUintN(8 * size, c.state[base]));
    c.write(at, 2, BigInt(c.state[limit]));
    return Next;
  };

/** SLDT, STR, SMSW: 16 bits to memory; a register gets its operand size. */
const storeWord =
  (value: (c: SystemContext) => bigint): SystemInstruction =>
  (c, o) => {
    o.write(0, value(c));
    return Next;
  };

const zeroFlag = (c: SystemContext, on: boolean): void => {
  c.rflags = on ? c.rflags | Rflags.ZF : c.rflags & ~Rflags.ZF;
};

const LAR_TYPES = new Set<number>([
  SystemType.TSS16,
  SystemType.LDT,
  SystemType.BUSY16,
  SystemType.CALL16,
  SystemType.TASK,
  SystemType.TSS,
  SystemType.BUSY,
  SystemType.CALL,
]);
const LAR_TYPES_LONG = new Set<number>([SystemType.LDT, SystemType.TSS, SystemType.BUSY, SystemType.CALL]);
const LSL_TYPES = new Set<number>([SystemType.TSS16, SystemType.LDT, SystemType.BUSY16, SystemType.TSS, SystemType.BUSY]);
const LSL_TYPES_LONG = new Set<number>([SystemType.LDT, SystemType.TSS, SystemType.BUSY]);

const inspect =
  (limit: boolean): SystemInstruction =>
  (c, o) => {
    const d = inspectSelector(c, Number(o.read(1, 2)));
    const types = limit ? (c.longMode ? LSL_TYPES_LONG : LSL_TYPES) : c.longMode ? LAR_TYPES_LONG : LAR_TYPES;
    const visible = d !== undefined && ((d.attr & Attr.S) !== 0 || types.has(d.attr & 0xf));
    if (visible) o.setRegister(0, o.form.sizes[0], BigInt((limit ? d.limit : d.hi & 0x00ff_ff00) >>> 0));
    zeroFlag(c, visible);
    return Next;
  };

const verify =
  (write: boolean): SystemInstruction =>
  (c, o) => {
    const d = inspectSelector(c, Number(o.read(0, 2)));
    const code = d && (d.attr & 8) !== 0;
    const allowed = d && d.attr & Attr.S && (write ? !code && d.attr & 2 : !code || d.attr & 2);
    zeroFlag(c, Boolean(allowed));
    return Next;
  };

// --- segments --------------------------------------------------------------------------------------------------------------------

/** SS loads hold interrupts off for one instruction, so that a stack pointer load can follow (SDM vol. 3 §6.8.3). */
function shadowAfter(c: SystemContext, o: RecordOperands): void {
  c.state.interruptShadow = Shadow.STACK;
  c.state.shadowRip = o.nextRip;
}

const moveToSegment: SystemInstruction = (c, o) => {
  const seg = o.form.special;
  if (seg === Seg.CS) fault(Vector.UD);
  const unchanged = loadSegment(c, seg, Number(o.read(1, 2)));
  if (seg === Seg.SS) shadowAfter(c, o);
  return unchanged ? Next : resume(c, o);
};

const popSegment: SystemInstruction = (c, o) => {
  const stack = new StackCursor(c, o.form.opSize);
  const selector = Number(stack.pop() & 0xffffn);
  const unchanged = loadSegment(c, o.form.special, selector);
  stack.commit();
  if (o.form.special === Seg.SS) shadowAfter(c, o);
  return unchanged ? Next : resume(c, o);
};

/** Offset first, selector behind it; the general register changes only if the segment register could be loaded (SDM vol. 2A, LDS). */
const loadFar =
  (seg: number): SystemInstruction =>
  (c, o) => {
    const size = o.form.opSize;
    const offset = c.read(o.address(size + 2, false), size);
    const selector = Number(c.read(o.address(2, false, size), 2));
    const unchanged = loadSegment(c, seg, selector);
    o.setRegister(0, size, offset);
    if (seg === Seg.SS) shadowAfter(c, o);
    return unchanged ? Next : resume(c, o);
  };

// --- the table -------------------------------------------------------------------------------------------------------------------

const undefinedInstruction: SystemInstruction = () => fault(Vector.UD);
const noOperation: SystemInstruction = () => Next;

const jumped =
  (run: (c: SystemContext, o: RecordOperands) => void): SystemInstruction =>
  (c, o) => {
    run(c, o);
    return Jump;
  };

const farDirect =
  (isCall: boolean): SystemInstruction =>
  (c, o) => {
    farTransfer(c, o, o.u32(Record.imm2) & 0xffff, BigInt(o.u32(Record.imm)), o.form.opSize, isCall);
    return Jump;
  };

const farIndirect =
  (isCall: boolean): SystemInstruction =>
  (c, o) => {
    const size = o.form.opSize;
    const offset = c.read(o.address(size + 2, false), size);
    const selector = Number(c.read(o.address(2, false, size), 2));
    farTransfer(c, o, selector, offset, size, isCall);
    return Jump;
  };

const baseRegister =
  (seg: number, write: boolean): SystemInstruction =>
  (c, o) => {
    if (!(c.lo('cr4') & Cr4.FSGSBASE)) fault(Vector.UD);
    const size = o.form.sizes[0];
    if (!write) {
      o.setRegister(0, size, c.state.segBase[seg]);
      return Next;
    }
    const value = o.register(0, size);
    if (!c.canonical(value)) generalProtection();
    c.state.segBase[seg] = value;
    return Next;
  };

/** RDRAND, RDSEED: CF says that there was a number, which there always is; the other status flags are clear (SDM vol. 2B, RDRAND). */
const random: SystemInstruction = (c, o, { entropy }) => {
  entropy.fill(two);
  o.setRegister(0, o.form.sizes[0], (BigInt(two[1]) << 32n) | BigInt(two[0]));
  c.rflags = (c.rflags & ~STATUS_FLAGS) | Rflags.CF;
  return Next;
};

/** What INVPCID invalidates (SDM vol. 2A, INVPCID). Translations are not kept by PCID, so more goes than asked, but never less. */
const Invalidate = { Address: 0, Context: 1, AllAndGlobal: 2, All: 3 } as const;

function invalidateByPcid(c: SystemContext, o: RecordOperands): void {
  const kind = o.register(0, o.form.sizes[0]);
  const at = o.address(16, false);
  const pcid = c.read(at, 8);
  const va = c.read(at + 8n, 8);
  if (kind > BigInt(Invalidate.All)) generalProtection();
  const named = kind === BigInt(Invalidate.Address) || kind === BigInt(Invalidate.Context);
  const allowed = c.lo('cr4') & Cr4.PCIDE ? 0xfffn : 0n;
  if (named && pcid & ~allowed) generalProtection();
  if (kind === BigInt(Invalidate.Address)) {
    if (!c.canonical(va)) generalProtection();
    c.mmu.flushPage(Number(va & 0xffff_ffffn) | 0, Number(va >> 32n) | 0);
  } else if (kind === BigInt(Invalidate.AllAndGlobal)) c.mmu.flushAll();
  else c.mmu.flushNonGlobal();
  c.flushJumps();
}

export const systemInstructions: Readonly<Record<string, SystemInstruction>> = {
  in: input,
  out_slow: output,
  hypercall_slow: hypercall,
  ins: stringIo(true),
  outs: stringIo(false),
  cpuid,
  rdtsc_slow: readTsc,
  rdtscp_slow: (c, o, ports) => {
    readTsc(c, o, ports);
    c.state.gpr[RCX] = c.state.tscAux;
    return Next;
  },
  rdmsr: (c, _o, { msrs }) => {
    setPair(c, readMsr(c, low32(c.state.gpr[RCX]), msrs));
    return Next;
  },
  wrmsr: (c, o, { msrs }) => {
    writeMsr(c, low32(c.state.gpr[RCX]), pair(c), msrs);
    return resume(c, o);
  },
  rdrand: random,
  rdseed: random,
  rdpid: (c, o) => {
    o.setRegister(0, o.form.sizes[0], c.state.tscAux);
    return Next;
  },
  rdpmc: () => generalProtection(),
  hlt: (c, o) => {
    c.state.halted = 1;
    resume(c, o);
    return Leave;
  },
  invlpg: (c, o) => {
    const va = o.linear(1, false);
    c.mmu.flushPage(Number(va & 0xffff_ffffn) | 0, Number(va >> 32n) | 0);
    c.flushJumps();
    return resume(c, o);
  },
  invpcid: (c, o) => {
    invalidateByPcid(c, o);
    return resume(c, o);
  },
  /** Armed at once: there is nobody else who could write. */
  monitor: (c, o) => {
    if (low32(c.state.gpr[RCX]) !== 0) generalProtection();
    c.read(segmentLinear(c, o.i32(Record.disp), BigInt.asUintN(8 * o.form.addrSize, c.state.gpr[RAX]), 1, false), 1);
    return Next;
  },
  /** As HLT; with ECX bit 0 interrupts end it even if IF is clear, which may come too soon (SDM vol. 2B, MWAIT). */
  mwait: (c, o) => {
    const extensions = low32(c.state.gpr[RCX]);
    if (extensions & ~1) generalProtection();
    resume(c, o);
    if (extensions & 1 && !(c.state.rflags & Rflags.IF)) return Jump;
    c.state.halted = 1;
    return Leave;
  },
  invd: noOperation,
  wbinvd: noOperation,
  mov_from_cr_slow: (c, o, { interrupts }) => {
    const n = o.form.special;
    const value =
      n === 0
        ? c.state.cr0
        : n === 2
          ? c.state.cr2
          : n === 3
            ? c.state.cr3
            : n === 4
              ? c.state.cr4
              : n === 8
                ? BigInt(interrupts.readTpr())
                : fault(Vector.UD);
    o.setRegister(0, o.form.sizes[0], value);
    return Next;
  },
  mov_to_cr: (c, o, { interrupts }) => {
    const value = o.register(1, o.form.sizes[1]);
    const n = o.form.special;
    if (n === 0) writeCr0(c, value);
    else if (n === 2) c.state.cr2 = value;
    else if (n === 3) writeCr3(c, value);
    else if (n === 4) writeCr4(c, value);
    else if (n === 8) {
      if (value > 15n) generalProtection();
      interrupts.writeTpr(Number(value));
    } else fault(Vector.UD);
    return resume(c, o);
  },
  mov_from_dr: (c, o) => {
    if (c.breakpoints.guards()) fault(Vector.DB);
    o.setRegister(0, o.form.sizes[0], c.state.dr[debugRegister(c, o.form.special)]);
    return Next;
  },
  mov_to_dr: (c, o) => {
    if (c.breakpoints.guards()) fault(Vector.DB);
    writeDr(c, o.form.special, o.register(1, o.form.sizes[1]));
    return resume(c, o);
  },
  clts: (c, o) => {
    writeCr0(c, c.state.cr0 & ~BigInt(Cr0.TS));
    return resume(c, o);
  },
  lmsw: (c, o) => {
    // Loads PE, MP, EM, TS; cannot clear PE (SDM vol. 2A).
    const value = o.read(0, 2) & 0xfn;
    writeCr0(c, (c.state.cr0 & ~0xen) | value);
    return resume(c, o);
  },
  smsw: storeWord((c) => c.state.cr0),
  lgdt: loadTable('gdtrBase', 'gdtrLimit'),
  lidt: loadTable('idtrBase', 'idtrLimit'),
  sgdt: storeTable('gdtrBase', 'gdtrLimit'),
  sidt: storeTable('idtrBase', 'idtrLimit'),
  sldt: storeWord((c) => BigInt(c.state.segSel[Seg.LDTR])),
  str: storeWord((c) => BigInt(c.state.segSel[Seg.TR])),
  lldt: (c, o) => {
    loadLdt(c, Number(o.read(0, 2)));
    return Next;
  },
  ltr: (c, o) => {
    loadTask(c, Number(o.read(0, 2)));
    return Next;
  },
  lar: inspect(false),
  lsl: inspect(true),
  verr: verify(false),
  verw: verify(true),
  arpl: (c, o) => {
    const destination = o.read(0, 2);
    const rpl = o.register(1, 2) & 3n;
    const raise = (destination & 3n) < rpl;
    if (raise) o.write(0, (destination & ~3n) | rpl, 2);
    zeroFlag(c, raise);
    return Next;
  },
  mov_to_sreg_slow: moveToSegment,
  pop_sreg_slow: popSegment,
  lds: loadFar(Seg.DS),
  les: loadFar(Seg.ES),
  lss: loadFar(Seg.SS),
  lfs: loadFar(Seg.FS),
  lgs: loadFar(Seg.GS),
  call_far: farDirect(true),
  jmp_far: farDirect(false),
  call_far_ind: farIndirect(true),
  jmp_far_ind: farIndirect(false),
  ret_far: (c, o) => {
    returnFar(c, o.form.opSize, o.form.classes.length ? o.immediate(0) & 0xffff : 0);
    return Jump;
  },
  iret_slow: jumped((c, o) => interruptReturn(c, o.form.opSize, o.nextRip)),
  int: jumped((c, o) => softwareInterrupt(c, o, o.immediate(0) & 0xff)),
  int3: jumped((c, o) => softwareInterrupt(c, o, Vector.BP)),
  int1: jumped((c, o) => {
    c.state.rip = o.nextRip;
    deliver(c, Vector.DB, 'exception');
  }),
  into: (c, o) => {
    if (!(c.rflags & Rflags.OF)) return Next;
    softwareInterrupt(c, o, Vector.OF);
    return Jump;
  },
  bound: (c, o) => {
    const size = o.form.opSize;
    const bits = 8 * size;
    const index = BigInt.asIntN(bits, o.register(0, size));
    const lower = BigInt.asIntN(bits, c.read(o.address(size, false), size));
    const upper = BigInt.asIntN(bits, c.read(o.address(size, false, size), size));
    if (index < lower || index > upper) fault(Vector.BR);
    return Next;
  },
  syscall: jumped(syscall),
  sysret: jumped((c, o) => sysret(c, o.form.opSize)),
  sysenter_slow: jumped((c) => sysenter(c)),
  sysexit_slow: jumped((c, o) => sysexit(c, o.form.opSize)),
  clac: (c, o) => {
    c.state.rflags &= ~Rflags.AC;
    c.updateMode();
    return resume(c, o);
  },
  stac: (c, o) => {
    c.state.rflags |= Rflags.AC;
    c.updateMode();
    return resume(c, o);
  },
  xgetbv: (c) => {
    setPair(c, readXcr(c, low32(c.state.gpr[RCX])));
    return Next;
  },
  xsetbv: (c, o) => {
    writeXcr(c, low32(c.state.gpr[RCX]), pair(c));
    return resume(c, o);
  },
  rdpkru: (c) => {
    if (!(c.lo('cr4') & Cr4.PKE)) fault(Vector.UD);
    if (low32(c.state.gpr[RCX]) !== 0) generalProtection();
    setPair(c, BigInt(c.state.pkru));
    return Next;
  },
  wrpkru: (c, o) => {
    if (!(c.lo('cr4') & Cr4.PKE)) fault(Vector.UD);
    if (low32(c.state.gpr[RCX]) !== 0 || low32(c.state.gpr[RDX]) !== 0) generalProtection();
    c.state.pkru = low32(c.state.gpr[RAX]);
    c.updatePkru();
    return resume(c, o);
  },
  /** XRSTOR has loaded PKRU. */
  pkru_changed: (c) => {
    c.updatePkru();
    return Next;
  },
  rdfsbase_slow: baseRegister(Seg.FS, false),
  rdgsbase_slow: baseRegister(Seg.GS, false),
  wrfsbase_slow: baseRegister(Seg.FS, true),
  wrgsbase_slow: baseRegister(Seg.GS, true),
  ud0: undefinedInstruction,
  ud1: undefinedInstruction,
  rsm: (c, _o, { onSmm }) => {
    if (!inSmm(c)) fault(Vector.UD);
    leaveSmm(c);
    onSmm?.(false);
    return c.state.halted ? Leave : Jump;
  },
  ud2: undefinedInstruction,
  popf_slow: (c, o) => {
    popFlags(c, o.form.opSize);
    return resume(c, o);
  },
  /** PUSHF in virtual-8086 mode. */
  pushf_slow: (c, o) => {
    pushFlags(c, o.form.opSize);
    return Next;
  },
  /** CLI and STI above IOPL, or in virtual-8086 mode. */
  interrupt_flag_slow: (c, o) => {
    if (o.form.sem === 'cli') clearInterruptFlag(c);
    else setInterruptFlag(c, o.nextRip);
    return resume(c, o);
  },
};

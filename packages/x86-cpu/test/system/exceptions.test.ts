/**
 * Faulting cases of system instructions, by the "Exceptions" lists of their pages (SDM vol. 2; APM vol. 3 for what is AMD's). What user mode
 * can raise is compared with the host instead (test/host-oracle), and what has tests of its own is there: events, tasks, virtual-8086 mode,
 * debug registers, extended state, alignment, segment loads.
 */
import { describe, expect, it } from 'vitest';
import { Rflags, Seg } from '../../src/index.ts';
import { Attr, Cr0, Cr4, Efer } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';
import type { EngineOptions } from './engine.ts';
import { EngineMachine } from './engine.ts';
import { Place as Long, LongModeMachine, Selector as LongSelector } from './long-mode.ts';
import { descriptor, Place, ProtectedModeMachine, Selector } from './protected-mode.ts';

const UD = 6;
const NM = 7;
const TS = 10;
const NP = 11;
const SS = 12;
const GP = 13;

type Setup<M> = (m: M) => void;
type Case<M> = readonly [
  what: string,
  program: string,
  expected: { readonly vector: number; readonly error?: number },
  setup?: Setup<M>,
];

const named = <M>(cases: readonly Case<M>[]) =>
  cases.map(([what, program, expected, setup]) => [what, { program, expected, setup }] as const);

const gp = (error = 0) => ({ vector: GP, error });
const ud = { vector: UD };
const NON_CANONICAL = 0x8000_0000_0000_0000n;
const rax =
  (value: bigint): Setup<EngineMachine> =>
  (m) => {
    m.state.gpr[0] = value;
  };
/** ECX and EDX:EAX of WRMSR. */
const msr =
  (index: number, value = 0n): Setup<EngineMachine> =>
  (m) => {
    m.state.gpr[1] = BigInt(index);
    m.state.gpr[0] = value & 0xffff_ffffn;
    m.state.gpr[2] = value >> 32n;
  };
const rdi =
  (value: bigint): Setup<EngineMachine> =>
  (m) => {
    m.state.gpr[7] = value;
  };

const WRMSR = '0f 30';
const RDMSR = '0f 32';

const LONG_MODE: readonly Case<LongModeMachine>[] = [
  ['MOV CR0: PG without PE', '0f 22 c0', gp(), rax(0x8000_0010n)],
  ['MOV CR0: NW without CD', '0f 22 c0', gp(), rax(0xa000_0011n)],
  ['MOV CR0: bits 63:32', '0f 22 c0', gp(), rax(0x1_8000_0011n)],
  ['MOV CR0: PG cleared in 64-bit mode', '0f 22 c0', gp(), rax(0x11n)],
  ['MOV CR3: bits beyond the physical addresses', '0f 22 d8', gp(), rax(1n << 45n)],
  ['MOV CR4: a reserved bit', '0f 22 e0', gp(), rax(BigInt(Cr4.PAE) | (1n << 31n))],
  ['MOV CR4: PAE cleared in IA-32e mode', '0f 22 e0', gp(), rax(0n)],
  ['MOV CR4: LA57 changed in IA-32e mode', '0f 22 e0', gp(), rax(BigInt(Cr4.PAE | Cr4.LA57))],
  ['MOV CR4: VMXE without VMX', '0f 22 e0', gp(), rax(BigInt(Cr4.PAE | (1 << 13)))],
  ['MOV CR8: bits 63:4', '44 0f 22 c0', gp(), rax(0x10n)],
  ...[1, 5, 6, 7].map((n): Case<LongModeMachine> => [`MOV CR${n}`, `0f 20 ${(0xc0 | (n << 3)).toString(16)}`, ud]),
  ['LOCK MOV CR0', 'f0 0f 22 c3', ud, (m) => m.processor.context.updateMode()],
  [
    'LGDT: a base that is not canonical',
    '0f 01 17',
    gp(),
    (m) => {
      rdi(BigInt(Long.data))(m);
      m.setU64(Long.data + 2, NON_CANONICAL);
    },
  ],
  [
    'LIDT: a base that is not canonical',
    '0f 01 1f',
    gp(),
    (m) => {
      rdi(BigInt(Long.data))(m);
      m.setU64(Long.data + 2, NON_CANONICAL);
    },
  ],
  ['LGDT: its operand through SS', '0f 01 55 08', { vector: SS, error: 0 }, (m) => void (m.state.gpr[5] = NON_CANONICAL)],
  ['LLDT: in the LDT', '0f 00 d0', gp(0x14), rax(0x14n)],
  ['LLDT: not an LDT', '0f 00 d0', gp(LongSelector.data), rax(BigInt(LongSelector.data))],
  ['LLDT: beyond the GDT', '0f 00 d0', gp(0xfff8), rax(0xfff8n)],
  [
    'LLDT: not present',
    '0f 00 d0',
    { vector: NP, error: 0x18 },
    (m) => {
      m.setU64(Long.gdt + 0x18, 2n << 40n);
      m.setU64(Long.gdt + 0x20, 0n);
      rax(0x18n)(m);
    },
  ],
  ['LTR: null', '0f 00 d8', gp(), rax(0n)],
  ['LTR: in the LDT', '0f 00 d8', gp(0x2c), rax(0x2cn)],
  ['LTR: not a TSS', '0f 00 d8', gp(LongSelector.data), rax(BigInt(LongSelector.data))],
  [
    'LTR: a busy TSS',
    '0f 00 d8',
    gp(LongSelector.tss),
    (m) => {
      m.setU64(Long.gdt + LongSelector.tss, descriptor(Long.tss, 0x67, Attr.P | 11));
      rax(BigInt(LongSelector.tss))(m);
    },
  ],
  [
    'LTR: not present',
    '0f 00 d8',
    { vector: NP, error: LongSelector.tss },
    (m) => {
      m.setU64(Long.gdt + LongSelector.tss, descriptor(Long.tss, 0x67, 9));
      rax(BigInt(LongSelector.tss))(m);
    },
  ],
  [
    'LTR: a base that is not canonical',
    '0f 00 d8',
    gp(LongSelector.tss),
    (m) => {
      m.setU64(Long.gdt + LongSelector.tss, descriptor(Long.tss, 0x67, Attr.P | 9));
      m.setU64(Long.gdt + LongSelector.tss + 8, 0x8000_0000n);
      rax(BigInt(LongSelector.tss))(m);
    },
  ],
  ['RDMSR: no such register', RDMSR, gp(), msr(0xdead)],
  ['WRMSR: no such register', WRMSR, gp(), msr(0xdead)],
  ['WRMSR: EFER, a reserved bit', WRMSR, gp(), msr(0xc000_0080, BigInt(Efer.LME | Efer.LMA) | (1n << 20n))],
  ['WRMSR: EFER, LME changed with paging on', WRMSR, gp(), msr(0xc000_0080, 1n)],
  ['WRMSR: LSTAR not canonical', WRMSR, gp(), msr(0xc000_0082, NON_CANONICAL)],
  ['WRMSR: FS base not canonical', WRMSR, gp(), msr(0xc000_0100, NON_CANONICAL)],
  ['WRMSR: KERNEL_GS_BASE not canonical', WRMSR, gp(), msr(0xc000_0102, NON_CANONICAL)],
  ['WRMSR: SYSENTER_EIP not canonical', WRMSR, gp(), msr(0x176, NON_CANONICAL)],
  ['WRMSR: PAT, a memory type that is none', WRMSR, gp(), msr(0x277, 2n)],
  [
    'SYSCALL: EFER.SCE clear',
    '0f 05',
    ud,
    (m) => {
      m.state.efer &= ~BigInt(Efer.SCE);
      m.processor.context.updateMode();
    },
  ],
  [
    'SYSRET: EFER.SCE clear',
    '48 0f 07',
    ud,
    (m) => {
      m.state.efer &= ~BigInt(Efer.SCE);
      m.processor.context.updateMode();
    },
  ],
  ['SYSRET: an address that is not canonical', '48 0f 07', gp(), (m) => void (m.state.gpr[1] = NON_CANONICAL)],
  ['SYSENTER: IA-32e mode, as AMD has it', '0f 34', ud],
  ['SYSEXIT: IA-32e mode, as AMD has it', '0f 35', ud],
  ['CLAC: no SMAP', '0f 01 ca', ud],
  ['INVPCID: not there', '66 0f 38 82 07', ud],
  ['MONITOR: not there', '0f 01 c8', ud],
  ['MWAIT: not there', '0f 01 c9', ud],
  ['RDPMC: no counters', '0f 33', gp(), (m) => void (m.state.gpr[1] = 99n)],
  ['VMLAUNCH: no VMX', '0f 01 c2', ud],
  ['VMRUN: no SVM', '0f 01 d8', ud],
  ['RSM: not in system-management mode', '0f aa', ud],
  [
    'LDMXCSR: CR0.TS',
    '0f ae 17',
    { vector: NM },
    (m) => {
      rdi(BigInt(Long.data))(m);
      m.state.cr0 |= BigInt(Cr0.TS);
      m.processor.context.updateMode();
    },
  ],
  ['FXSAVE: not aligned', '0f ae 07', gp(), rdi(BigInt(Long.data + 8))],
  [
    'FNINIT: CR0.EM',
    'db e3',
    { vector: NM },
    (m) => {
      m.state.cr0 |= BigInt(Cr0.EM);
      m.processor.context.updateMode();
    },
  ],
  [
    'ADDPS: CR0.EM',
    '0f 58 c1',
    ud,
    (m) => {
      m.state.cr0 |= BigInt(Cr0.EM);
      m.processor.context.updateMode();
    },
  ],
  [
    'ADDPS: no CR4.OSFXSR',
    '0f 58 c1',
    ud,
    (m) => {
      m.state.cr4 &= ~BigInt(Cr4.OSFXSR);
      m.processor.context.updateMode();
    },
  ],
  ['JMP far: a null selector', '48 ff 2f', gp(), rdi(BigInt(Long.data))],
  [
    'JMP far: data',
    '48 ff 2f',
    gp(LongSelector.data),
    (m) => {
      rdi(BigInt(Long.data))(m);
      m.setU64(Long.data + 8, BigInt(LongSelector.data));
    },
  ],
  [
    'JMP far: a code segment with L and D',
    'ff 2f',
    gp(0x18),
    (m) => {
      rdi(BigInt(Long.data))(m);
      m.setU64(Long.data, 0x18n << 32n);
      m.setU64(Long.gdt + 0x18, 0x00ef_9b00_0000_ffffn);
    },
  ],
  [
    'CALL far: not present',
    'ff 1f',
    { vector: NP, error: 0x18 },
    (m) => {
      rdi(BigInt(Long.data))(m);
      m.setU64(Long.data, 0x18n << 32n);
      m.setU64(Long.gdt + 0x18, 0x00af_1b00_0000_ffffn);
    },
  ],
  [
    'JMP far: a TSS in IA-32e mode',
    'ff 2f',
    gp(LongSelector.tss),
    (m) => {
      rdi(BigInt(Long.data))(m);
      m.setU64(Long.data, BigInt(LongSelector.tss) << 32n);
      m.setU64(Long.gdt + LongSelector.tss, descriptor(Long.tss, 0x67, Attr.P | 9));
    },
  ],
  ['IRETQ: a null CS', '48 cf', gp(), (m) => void (m.state.gpr[4] = BigInt(Long.data))],
  [
    'IRETQ: CS that is data',
    '48 cf',
    gp(LongSelector.data),
    (m) => {
      m.state.gpr[4] = BigInt(Long.data);
      m.setU64(Long.data + 8, BigInt(LongSelector.data));
    },
  ],
  ['INT n: no IDT entry', 'cd 80', gp(0x80 * 8 + 2), (m) => void (m.state.idtrLimit = 0x7ff)],
  ['INT n: a gate that is none', 'cd 80', gp(0x80 * 8 + 2), (m) => m.setU64(Long.idt + 16 * 0x80, 0n)],
  ['INT n: a null selector in the gate', 'cd 80', gp(), (m) => m.setGate(0x80, { selector: 0 })],
  ['INT n: the gate leads to data', 'cd 80', gp(LongSelector.data), (m) => m.setGate(0x80, { selector: LongSelector.data })],
  [
    'INT n: the gate leads to 32-bit code',
    'cd 80',
    gp(0x18),
    (m) => {
      m.setU64(Long.gdt + 0x18, 0x00cf_9b00_0000_ffffn);
      m.setGate(0x80, { selector: 0x18 });
    },
  ],
  ['INT n: an offset that is not canonical', 'cd 80', gp(), (m) => m.setU64(Long.idt + 16 * 0x80 + 8, 0x8000_0000n)],
  [
    'INT n: IST that the TSS has not',
    'cd 80',
    { vector: TS, error: LongSelector.tss },
    (m) => {
      m.setGate(0x80, { ist: 7 });
      setSegment(m.processor.context, Seg.TR, LongSelector.tss, BigInt(Long.tss), 0x50, Attr.P | 11);
    },
  ],
  ['CMPXCHG16B: not aligned', '48 0f c7 0f', gp(), rdi(BigInt(Long.data + 8))],
  ['LEA of a register', '8d c0', ud],
  ['POP CS', '0e', ud],
  ['an instruction of 16 bytes', `${'66 '.repeat(15)}90`, gp()],
  ['a LOCK that is not allowed', 'f0 90', ud],
  ['a LOCK on a register', 'f0 01 c0', ud],
  ['MOV CS', '8e c8', ud],
  ['MOV SS: null at CPL 0 is allowed, RPL 3 not', '8e d0', gp(), rax(3n)],
];

/** Instructions that are there if they are asked for. */
const OPTIONAL: readonly Case<LongModeMachine>[] = [
  [
    'INVPCID: a kind that is none',
    '66 0f 38 82 07',
    gp(),
    (m) => {
      rax(4n)(m);
      rdi(BigInt(Long.data))(m);
    },
  ],
  [
    'INVPCID: a PCID without CR4.PCIDE',
    '66 0f 38 82 07',
    gp(),
    (m) => {
      rax(1n)(m);
      rdi(BigInt(Long.data))(m);
      m.setU64(Long.data, 5n);
    },
  ],
  [
    'INVPCID: an address that is not canonical',
    '66 0f 38 82 07',
    gp(),
    (m) => {
      rax(0n)(m);
      rdi(BigInt(Long.data))(m);
      m.setU64(Long.data + 8, NON_CANONICAL);
    },
  ],
  [
    'MOV CR4: PCIDE with a PCID in CR3',
    '0f 22 e0',
    gp(),
    (m) => {
      rax(BigInt(Cr4.PAE | Cr4.PCIDE))(m);
      m.state.cr3 |= 5n;
    },
  ],
  ['MONITOR: ECX not zero', '0f 01 c8', gp(), (m) => void (m.state.gpr[1] = 1n)],
  ['MWAIT: an extension that is none', '0f 01 c9', gp(), (m) => void (m.state.gpr[1] = 2n)],
];

/** Instructions that CPL 3 may not execute. */
const PRIVILEGED: readonly (readonly [string, string])[] = [
  ['MOV CR0', '0f 22 c0'],
  ['MOV from CR0', '0f 20 c0'],
  ['MOV CR8', '44 0f 22 c0'],
  ['MOV DR0', '0f 23 c0'],
  ['CLTS', '0f 06'],
  ['LMSW', '0f 01 f0'],
  ['HLT', 'f4'],
  ['INVD', '0f 08'],
  ['WBINVD', '0f 09'],
  ['INVLPG', '0f 01 3f'],
  ['LGDT', '0f 01 17'],
  ['LIDT', '0f 01 1f'],
  ['LLDT', '0f 00 d0'],
  ['LTR', '0f 00 d8'],
  ['RDMSR', RDMSR],
  ['WRMSR', WRMSR],
  ['RDPMC', '0f 33'],
  ['SYSRET', '48 0f 07'],
  ['SWAPGS', '0f 01 f8'],
  ['IN', 'ec'],
  ['OUT', 'ee'],
  ['INS', '6c'],
  ['OUTS', '6e'],
  ['CLI', 'fa'],
  ['STI', 'fb'],
];

describe.each<readonly [string, EngineOptions]>([
  ['interpreted', {}],
  ['compiled at once', { heat: 1 }],
])('%s', (_name, options) => {
  it.each(named(LONG_MODE))('64-bit mode: %s', (_what, { program, expected, setup }) => {
    const m = new LongModeMachine(options);
    m.load(program);
    setup?.(m);
    const before = m.state.gpr.slice();
    expect(m.event()).toMatchObject({ ...expected, rip: Long.code });
    for (let n = 0; n < 16; n++) if (n !== 4) expect(m.gpr(n), `register ${n}`).toBe(before[n]);
  });

  it.each(named(OPTIONAL))('64-bit mode: %s', (_what, { program, expected, setup }) => {
    const m = new LongModeMachine({ ...options, cpu: 'max,+pcid,+invpcid,+monitor' });
    m.load(program);
    setup?.(m);
    expect(m.event()).toMatchObject({ ...expected, rip: Long.code });
  });

  it('MWAIT waits for an interrupt as HLT does; with ECX bit 0 it may return with IF clear', () => {
    const m = new LongModeMachine({ ...options, cpu: 'max,+monitor' });
    m.load('0f 01 c8 0f 01 c9 0f 0b');
    expect(m.run()).toBe('halt');
    expect(m.state.rip).toBe(BigInt(Long.code + 6));
    m.state.halted = 0;
    m.load('b9 01 00 00 00 0f 01 c9 0f 0b');
    expect(m.event().vector).toBe(UD);
  });

  it.each(PRIVILEGED)('%s above CPL 0: #GP(0)', (_what, program) => {
    const m = new LongModeMachine(options);
    m.enterUser();
    m.state.gpr[7] = BigInt(Long.user + 0x1000);
    m.load(program, Long.user);
    expect(m.event()).toMatchObject({ vector: GP, error: 0, rip: Long.user });
  });

  it('CR4.UMIP: SGDT, SIDT, SLDT, STR and SMSW above CPL 0', () => {
    for (const program of ['0f 01 07', '0f 01 0f', '0f 00 c0', '0f 00 c8', '0f 01 e0']) {
      const m = new LongModeMachine(options);
      m.state.cr4 |= BigInt(Cr4.UMIP);
      m.enterUser();
      m.load(program, Long.user);
      expect(m.event(), program).toMatchObject({ vector: GP, error: 0 });
    }
  });

  it('ports that the TSS’s map allows above IOPL, and those that it does not (SDM vol. 1 §19.5.2)', () => {
    for (const [port, size, allowed] of [
      [0x80, 1, true],
      [0x81, 1, false],
      [0x80, 2, false],
      [0x7f, 1, false],
    ] as const) {
      const m = new LongModeMachine(options);
      m.write(Long.tss + 0x66, [0x68, 0]);
      m.write(Long.tss + 0x68, new Uint8Array(0x20).fill(0xff));
      m.write(Long.tss + 0x68 + (0x80 >> 3), [0xfe, 0xff]);
      setSegment(m.processor.context, Seg.TR, LongSelector.tss, BigInt(Long.tss), 0x68 + 0x1f, Attr.P | 11);
      m.enterUser();
      m.state.gpr[2] = BigInt(port);
      m.load(`${size === 1 ? 'ee' : '66 ef'} 0f 0b`, Long.user);
      const { vector, rip } = m.event();
      expect([vector, rip - Long.user], `port ${port}, ${size} bytes`).toEqual(allowed ? [UD, size] : [GP, 0]);
    }
  });

  const PROTECTED_MODE: readonly Case<ProtectedModeMachine>[] = [
    ['SWAPGS outside of 64-bit mode', '0f 01 f8', ud],
    ['SYSEXIT without a code segment', '0f 35', gp()],
    ['MOV CR0: PG without PE', '0f 22 c0', gp(), rax(0x8000_0010n)],
    // The page directory, read as PDPTEs, has bits 2:1 set.
    ['MOV CR4: PAE with reserved bits in a PDPTE', '0f 22 e0', gp(), rax(BigInt(Cr4.PSE | Cr4.PAE))],
    ['LTR: a 16-bit code segment', '0f 00 d8', gp(Selector.code), rax(BigInt(Selector.code))],
    ['LMSW cannot clear PE, but not change PG either: no fault', '0f 01 f0 0f 0b', { vector: UD }, rax(0n)],
    [
      'CALL through a gate of less privilege than its selector',
      '9a 00 00 00 00 5b 00',
      gp(0x58),
      (m) => {
        m.state.gdtrLimit = 0x5f;
        m.setU64(Place.gdt + 0x58, (BigInt(Attr.P | 12) << 40n) | (BigInt(Selector.code) << 16n));
      },
    ],
    [
      'CALL through a gate that is not present',
      '9a 00 00 00 00 58 00',
      { vector: NP, error: 0x58 },
      (m) => {
        m.state.gdtrLimit = 0x5f;
        m.setU64(Place.gdt + 0x58, (12n << 40n) | (BigInt(Selector.code) << 16n));
      },
    ],
    [
      'CALL through a gate with a null selector',
      '9a 00 00 00 00 58 00',
      gp(),
      (m) => {
        m.state.gdtrLimit = 0x5f;
        m.setU64(Place.gdt + 0x58, BigInt(Attr.P | 12) << 40n);
      },
    ],
    [
      'JMP far beyond the limit',
      'ea 00 00 00 20 58 00',
      gp(),
      (m) => {
        m.state.gdtrLimit = 0x5f;
        m.setU64(Place.gdt + 0x58, descriptor(0, 0xfff, Attr.DB | Attr.P | Attr.S | 0xb));
      },
    ],
    [
      'MOV DS: execute-only code',
      '8e d8',
      gp(0x58),
      (m) => {
        m.state.gdtrLimit = 0x5f;
        m.setU64(Place.gdt + 0x58, descriptor(0, 0xfff, Attr.DB | Attr.P | Attr.S | 9));
        rax(0x58n)(m);
      },
    ],
    [
      'MOV SS: read-only data',
      '8e d0',
      gp(0x58),
      (m) => {
        m.state.gdtrLimit = 0x5f;
        m.setU64(Place.gdt + 0x58, descriptor(0, 0xfff, Attr.DB | Attr.P | Attr.S | 1));
        rax(0x58n)(m);
      },
    ],
    [
      'MOV SS: not present',
      '8e d0',
      { vector: SS, error: 0x58 },
      (m) => {
        m.state.gdtrLimit = 0x5f;
        m.setU64(Place.gdt + 0x58, descriptor(0, 0xfff, Attr.DB | Attr.S | 3));
        rax(0x58n)(m);
      },
    ],
    [
      'MOV DS: not present',
      '8e d8',
      { vector: NP, error: 0x58 },
      (m) => {
        m.state.gdtrLimit = 0x5f;
        m.setU64(Place.gdt + 0x58, descriptor(0, 0xfff, Attr.DB | Attr.S | 3));
        rax(0x58n)(m);
      },
    ],
    ['INTO without overflow: no fault', 'ce 0f 0b', { vector: UD }],
    ['SYSCALL without EFER.SCE', '0f 05', ud],
    ['VEX with a register operand in BOUND’s place', 'c5 f8 77', ud],
  ];
  it.each(named(PROTECTED_MODE))('protected mode: %s', (_what, { program, expected, setup }) => {
    const m = new ProtectedModeMachine(options);
    m.load(program);
    setup?.(m);
    expect(m.event()).toMatchObject(expected);
  });

  it('#TS of an inner stack: null, of the wrong privilege, not writable; #SS if it is not present (SDM vol. 3 §6.13, table 6-6)', () => {
    const cases: readonly (readonly [number, bigint | undefined, number, number])[] = [
      [0, undefined, TS, 0],
      [Selector.userData, undefined, TS, Selector.userData & ~3],
      [0x58, descriptor(0, 0xfff, Attr.P | Attr.S | 1), TS, 0x58],
      [0x58, descriptor(0, 0xfff, Attr.S | 3), SS, 0x58],
    ];
    for (const [selector, entry, vector, error] of cases) {
      const m = new ProtectedModeMachine(options);
      m.state.gdtrLimit = 0x5f;
      if (entry !== undefined) m.setU64(Place.gdt + 0x58, entry);
      m.setU32(Place.tss + 8, selector);
      m.setGate(0x40, { dpl: 3 });
      // The fault's own handler would need the same stack: it is a conforming segment's, at CPL 3.
      m.setU64(Place.gdt + 0x50, descriptor(0, 0xf_ffff, Attr.G | Attr.DB | Attr.P | Attr.S | 0xf));
      const handler = BigInt(Place.user + 0x2000);
      m.write(Place.user + 0x2000, [0x0f, 0x0b]);
      const gate = ((handler >> 16n) << 48n) | (0x8en << 40n) | (0x50n << 16n) | (handler & 0xffffn);
      for (const n of [vector, UD]) m.setU64(Place.idt + 8 * n, gate);
      m.enterUser();
      m.load('cd 40', Place.user);
      m.run(3);
      // The frame of the fault is on the stack of CPL 3: error code, EIP, CS, EFLAGS.
      const top = Place.userStack - 16;
      expect([m.u32(top), m.u32(top + 4)], `SS0 = ${selector.toString(16)}`).toEqual([error, Place.user]);
    }
  });

  it('real mode: what protected mode brought is #UD, and an access beyond 64 KiB #GP or #SS', () => {
    for (const [program, vector] of [
      ['0f 00 c0', UD], // sldt
      ['0f 00 d8', UD], // ltr
      ['0f 02 c0', UD], // lar
      ['63 c0', UD], // arpl
      ['c5 f8 77', UD], // vzeroupper
      ['66 67 a1 00 00 01 00', GP], // mov eax, [0x10000]
      ['67 66 8b 84 24 00 00 01 00', SS], // mov eax, [esp+0x10000]
      ['a1 ff ff', GP], // mov ax, [0xffff]
    ] as const) {
      const m = new EngineMachine(options);
      const { state } = m;
      const c = m.processor.context;
      for (const seg of [Seg.CS, Seg.SS, Seg.DS, Seg.ES, Seg.FS, Seg.GS])
        setSegment(c, seg, 0x1000, 0x1_0000n, 0xffff, Attr.P | Attr.S | (seg === Seg.CS ? 0xb : 3));
      state.gpr[4] = 0x8000n;
      c.rflags = Rflags.FIXED;
      state.idtrLimit = 0x3ff;
      for (let n = 0; n < 32; n++) m.setU32(4 * n, (0x2000 << 16) | (16 * n));
      for (let n = 0; n < 32; n++) m.write(0x2_0000 + 16 * n, [0xf4]);
      c.updateMode();
      m.load(program, 0x1_0000);
      state.rip = 0n;
      expect(m.run(), program).toBe('halt');
      expect(Number(state.rip) >> 4, program).toBe(vector);
    }
  });
});

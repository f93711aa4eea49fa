/** Hardware task switches (SDM vol. 3 ch. 8). */
import { beforeEach, describe, expect, it } from 'vitest';
import { Rflags, Seg } from '../../src/index.ts';
import { Attr, Cr0 } from '../../src/system/context.ts';
import { TIERS } from './engine.ts';
import { descriptor, handlerOf, Place, ProtectedModeMachine, Selector } from './protected-mode.ts';

const DB = 1;
const TS = 10;
const NP = 11;
const GP = 13;
const PF = 14;
const LE = (value: number, bytes = 4): string =>
  Array.from({ length: bytes }, (_, n) => ((value >>> (8 * n)) & 0xff).toString(16).padStart(2, '0')).join(' ');
const HLT = 'f4';
const IRET = 'cf';
const jmpFar = (selector: number): string => `ea ${LE(0)} ${LE(selector, 2)}`;
const callFar = (selector: number): string => `9a ${LE(0)} ${LE(selector, 2)}`;

/** The second task's TSS and code, and its descriptors, behind those of the machine. */
const TASK = { tss: 0x3400, code: 0x1_8000, stack: 0x7_0000 } as const;
const Task = { tss: 0x40, gate: 0x48, narrow: 0x50 } as const;
const TSS = {
  link: 0,
  cr3: 28,
  eip: 32,
  eflags: 36,
  eax: 40,
  esp: 56,
  edi: 68,
  es: 72,
  cs: 76,
  ss: 80,
  ds: 84,
  fs: 88,
  gs: 92,
  ldt: 96,
  trap: 100,
};
const BUSY = 2;

class TaskMachine extends ProtectedModeMachine {
  constructor(options = {}) {
    super(options);
    const { state } = this;
    state.gdtrLimit = 0x5f;
    this.setU64(Place.gdt + Task.tss, descriptor(TASK.tss, 0x67, Attr.P | 9));
    this.setU64(Place.gdt + Task.gate, (BigInt(Attr.P | 5) << 40n) | (BigInt(Task.tss) << 16n));
    this.setU64(Place.gdt + Task.narrow, descriptor(TASK.tss + 0x100, 0x2b, Attr.P | 1));
    // LTR would have marked the present task's as busy.
    this.setU64(Place.gdt + Selector.tss, descriptor(Place.tss, 0x67, Attr.P | 11));
    this.#fill();
  }

  #fill(): void {
    const fields: Partial<Record<keyof typeof TSS, number>> = {
      cr3: Place.directory,
      eip: TASK.code,
      eflags: Rflags.FIXED,
      esp: TASK.stack,
      cs: Selector.code,
      ss: Selector.data,
      ds: Selector.data,
      es: Selector.data,
    };
    for (const [name, value] of Object.entries(fields)) this.field(name as keyof typeof TSS, value);
    for (let n = 0; n < 8; n++) if (n !== 4) this.setU32(TASK.tss + TSS.eax + 4 * n, 0x1000_0001 * (n + 1));
    this.setU32(Place.tss + 4, Place.esp0);
    // Static fields, which no switch writes.
    this.setU32(Place.tss + TSS.cr3, Place.directory);
    this.setU32(TASK.tss + 4, Place.esp0);
    this.setU32(TASK.tss + 8, Selector.data);
  }

  field(name: keyof typeof TSS, value: number): void {
    this.setU32(TASK.tss + TSS[name], value);
  }
  /** Program of the second task. */
  task(program: string): void {
    const at = this.state.rip;
    this.load(program, TASK.code);
    this.state.rip = at;
  }
  begin(program: string): void {
    this.load(program);
    this.state.halted = 0;
  }
  attrOf(selector: number): number {
    return Number((this.u64(Place.gdt + selector) >> 40n) & 0xffn);
  }
  saved(name: keyof typeof TSS): number {
    return this.u32(Place.tss + TSS[name]);
  }
}

describe.each(TIERS)('%s', (_name, options) => {
  let m: TaskMachine;
  beforeEach(() => {
    m = new TaskMachine(options);
    m.task(HLT);
  });

  it.each([
    ['a TSS', Task.tss],
    ['a task gate', Task.gate],
  ])('JMP to %s saves one task, loads the other and moves the busy bit (§8.3)', (_what, selector) => {
    for (let n = 0; n < 8; n++) if (n !== 4) m.state.gpr[n] = BigInt(n + 0x50);
    const program = jmpFar(selector);
    m.begin(program);
    expect(m.run()).toBe('halt');
    expect(m.state.rip).toBe(BigInt(TASK.code + 1));
    for (let n = 0; n < 8; n++) {
      if (n === 4) continue;
      expect(m.u32(Place.tss + TSS.eax + 4 * n), `saved ${n}`).toBe(n + 0x50);
      expect(m.gpr(n), `loaded ${n}`).toBe(BigInt(0x1000_0001 * (n + 1)));
    }
    expect([m.saved('eip'), m.saved('esp'), m.saved('cs') & 0xffff]).toEqual([Place.code + 7, Place.stack, Selector.code]);
    expect(m.gpr(4)).toBe(BigInt(TASK.stack));
    expect([m.attrOf(Selector.tss), m.attrOf(Task.tss)]).toEqual([Attr.P | 9, Attr.P | 11]);
    expect(m.state.segSel[Seg.TR]).toBe(Task.tss);
    expect(m.processor.context.rflags & Rflags.NT).toBe(0);
    expect(Number(m.state.cr0) & Cr0.TS).toBe(Cr0.TS);
    expect(m.state.segAttr[Seg.LDTR], 'a null LDT').toBe(0);
  });

  it.each([
    ['a TSS', Task.tss],
    ['a task gate', Task.gate],
  ])('CALL to %s nests, and IRET comes back (§8.4)', (_what, selector) => {
    m.task(`9c 58 ${IRET} ${HLT}`); // pushfd; pop eax; iret
    m.begin(`${callFar(selector)} 8b 1d ${LE(TASK.tss + TSS.eax)} 0f 20 c1 ${HLT}`); // mov ebx, [saved EAX]; mov ecx, cr0
    expect(m.run()).toBe('halt');
    expect(m.state.rip).toBe(BigInt(Place.code + 17));
    expect(Number(m.gpr(3)) & Rflags.NT).toBe(Rflags.NT);
    expect(m.u32(TASK.tss + TSS.link)).toBe(Selector.tss);
    expect(m.u32(TASK.tss + TSS.eflags) & Rflags.NT, 'of the task that was left').toBe(0);
    expect(m.u32(TASK.tss + TSS.eip)).toBe(TASK.code + 3);
    expect([m.attrOf(Selector.tss), m.attrOf(Task.tss)]).toEqual([Attr.P | 11, Attr.P | 9]);
    expect(m.state.segSel[Seg.TR]).toBe(Selector.tss);
    expect(m.processor.context.rflags & Rflags.NT).toBe(0);
  });

  it('an exception through a task gate brings its error code; IRET repeats the instruction (§6.13, §8.5)', () => {
    m.setU64(Place.idt + 8 * PF, (BigInt(Attr.P | 5) << 40n) | (BigInt(Task.tss) << 16n));
    m.setPte(Place.data, 0);
    m.processor.context.flushTlb();
    // pop edx; mov dword [pte], data | 3; mov eax, cr3; mov cr3, eax; iret
    m.task(`5a c7 05 ${LE(Place.table + 4 * (Place.data >>> 12))} ${LE(Place.data | 3)} 0f 20 d8 0f 22 d8 ${IRET}`);
    m.begin(`b8 01 00 00 00 89 05 ${LE(Place.data)} ${HLT}`);
    expect(m.run()).toBe('halt');
    expect(m.u32(Place.data)).toBe(1);
    expect(m.u32(TASK.tss + TSS.eax + 8), 'error code').toBe(2);
    expect(m.u32(TASK.tss + TSS.esp)).toBe(TASK.stack);
    expect(m.saved('eip')).toBe(Place.code + 5);
    expect(m.saved('eflags') & Rflags.RF, 'RF in the image of a task that faulted').toBe(Rflags.RF);
  });

  it('INT n through a task gate asks for the gate’s privilege; an interrupt does not', () => {
    const gate = (dpl: number): bigint => (BigInt(Attr.P | 5 | (dpl << Attr.DPL_SHIFT)) << 40n) | (BigInt(Task.tss) << 16n);
    m.setU64(Place.idt + 8 * 0x40, gate(0));
    m.write(Place.user, [0xcd, 0x40, 0xf4]);
    m.enterUser();
    m.state.rip = BigInt(Place.user);
    expect(m.event()).toMatchObject({ vector: GP, error: 0x40 * 8 + 2, eip: Place.user });
    m = new TaskMachine(options);
    m.task(HLT);
    m.setU64(Place.idt + 8 * 0x40, gate(3));
    m.write(Place.user, [0xcd, 0x40, 0xf4]);
    m.enterUser();
    m.state.rip = BigInt(Place.user);
    expect(m.run()).toBe('halt');
    expect([m.state.rip, m.state.cpl, m.saved('eip')]).toEqual([BigInt(TASK.code + 1), 0, Place.user + 2]);
    m = new TaskMachine(options);
    m.task(HLT);
    m.setU64(Place.idt + 8 * 0x40, gate(0));
    m.write(Place.user, [0x90, 0x90]);
    m.enterUser();
    m.processor.context.rflags |= Rflags.IF;
    m.interrupts.push(0x40);
    m.state.rip = BigInt(Place.user);
    expect(m.run()).toBe('halt');
    expect(m.saved('eip')).toBe(Place.user);
  });

  it('a 16-bit TSS (figure 8-10): words, no CR3, no FS and GS', () => {
    const at = TASK.tss + 0x100;
    const words = [0, 0, 0, 0, 0, 0, 0, TASK.code & 0xffff, Rflags.FIXED, 1, 2, 3, 4, 0x8000, 6, 7, 8];
    words.push(Selector.data, Selector.code, Selector.data, Selector.data, 0);
    words.forEach((word, n) => {
      m.write(at + 2 * n, [word & 0xff, word >> 8]);
    });
    m.write(TASK.code & 0xffff, [0xf4]);
    m.state.segSel[Seg.FS] = Selector.data;
    m.begin(jmpFar(Task.narrow));
    expect(m.run()).toBe('halt');
    expect(m.state.rip).toBe(BigInt((TASK.code & 0xffff) + 1));
    expect([0, 1, 2, 3, 5, 6, 7].map((n) => m.gpr(n) & 0xffffn)).toEqual([1n, 2n, 3n, 4n, 6n, 7n, 8n]);
    expect([m.state.segSel[Seg.FS], m.state.cr3]).toEqual([0, BigInt(Place.directory)]);
    // And back: the old TSS is a 32-bit one.
    expect(m.saved('eip')).toBe(Place.code + 7);
  });

  it('into a virtual-8086 task, and out of it by an exception (§8.7, §21.2)', () => {
    m.field('eflags', Rflags.FIXED | Rflags.VM | Rflags.IOPL);
    m.field('eip', 0x10);
    for (const seg of ['cs', 'ds', 'es', 'fs', 'gs', 'ss'] as const)
      m.field(seg, Place.user >>> 4 > 0xffff ? 0x8000 : Place.user >>> 4);
    m.field('cs', 0x4000);
    m.field('ss', 0x4000);
    m.setPte(0x4_0000, 0x4_0000 | 7);
    m.setU32(Place.directory, Place.table | 7);
    m.field('esp', 0xffe);
    m.write(0x4_0010, [0x0f, 0x0b]);
    m.processor.context.flushTlb();
    m.begin(jmpFar(Task.tss));
    const frame = m.event();
    expect(frame).toMatchObject({ vector: 6, eip: 0x10 });
    expect(frame.eflags & Rflags.VM).toBe(Rflags.VM);
    expect(frame.cs).toBe(0x4000);
  });

  it.each<readonly [string, number, number, (machine: TaskMachine) => void]>([
    ['a TSS that is not present', NP, Task.tss, (x) => x.setU64(Place.gdt + Task.tss, descriptor(TASK.tss, 0x67, 9))],
    ['a TSS that is too short', TS, Task.tss, (x) => x.setU64(Place.gdt + Task.tss, descriptor(TASK.tss, 0x66, Attr.P | 9))],
    ['a busy TSS', GP, Task.tss, (x) => x.setU64(Place.gdt + Task.tss, descriptor(TASK.tss, 0x67, Attr.P | 11))],
  ])('%s keeps the switch from happening (table 8-1)', (_what, vector, error, spoil) => {
    spoil(m);
    for (const program of [jmpFar(Task.tss), callFar(Task.tss)]) {
      m.begin(program);
      expect(m.event()).toMatchObject({ vector, error, eip: Place.code });
      expect(m.state.segSel[Seg.TR]).toBe(Selector.tss);
      m.state.gpr[4] = BigInt(Place.stack);
    }
  });

  it('a gate that is not present, and a TSS of too much privilege', () => {
    m.setU64(Place.gdt + Task.gate, (5n << 40n) | (BigInt(Task.tss) << 16n));
    m.begin(jmpFar(Task.gate));
    expect(m.event()).toMatchObject({ vector: NP, error: Task.gate });
    m = new TaskMachine(options);
    m.load(jmpFar(Task.tss), Place.user);
    m.enterUser();
    m.state.rip = BigInt(Place.user);
    expect(m.event()).toMatchObject({ vector: GP, error: Task.tss });
  });

  it.each<readonly [string, number, number, keyof typeof TSS, number]>([
    ['a data segment for SS that is null', TS, 0, 'ss', 0],
    ['code of a foreign privilege', TS, Selector.userCode & ~3, 'cs', Selector.userCode & ~3],
    ['data for CS', TS, Selector.data, 'cs', Selector.data],
    ['a system descriptor for DS', TS, Selector.tss, 'ds', Selector.tss],
    ['an LDT that is none', TS, Selector.data, 'ldt', Selector.data],
    ['an EIP beyond CS', GP, 0, 'eip', -1],
  ])('%s is found in the new task (table 8-1)', (_what, vector, error, field, value) => {
    m.setU64(Place.gdt + Selector.code, descriptor(0, 0x1000 - 1, Attr.G | Attr.DB | Attr.P | Attr.S | 0xb));
    m.field(field, value);
    m.begin(jmpFar(Task.tss));
    // The handler comes with a task of its own: the new one may have no stack.
    m.setU64(Place.gdt + Task.narrow, descriptor(Place.tss + 0x100, 0x67, Attr.P | 9));
    for (const [name, word] of [
      ['cr3', Place.directory],
      ['eip', handlerOf(vector)],
      ['eflags', 2],
      ['esp', Place.esp0],
      ['cs', Selector.code],
      ['ss', Selector.data],
    ] as const)
      m.setU32(Place.tss + 0x100 + TSS[name], word);
    m.setU64(Place.idt + 8 * vector, (BigInt(Attr.P | 5) << 40n) | (BigInt(Task.narrow) << 16n));
    expect(m.run()).toBe('halt');
    expect(m.state.rip).toBe(BigInt(handlerOf(vector) + 1));
    expect(m.u32(Number(m.gpr(4)))).toBe(error);
    // A contributory exception in an event's delivery would be a double fault; this one is the new task's own.
    expect(m.u32(Place.tss + 0x100)).toBe(Task.tss);
    expect(m.u32(TASK.tss + TSS.eip)).toBe(field === 'eip' ? 0xffff_ffff : TASK.code);
  });

  it('a TSS with its T flag set traps before the task’s first instruction (§18.3.1.5)', () => {
    m.field('trap', 1);
    m.begin(jmpFar(Task.tss));
    expect(m.event()).toMatchObject({ vector: DB, eip: TASK.code });
    expect(m.state.dr[6] & 0x8000n).toBe(0x8000n);
  });

  it('IRET to a TSS that is not busy is #TS, in the task that executes it', () => {
    m.setU32(Place.tss, Task.tss);
    m.processor.context.rflags |= Rflags.NT;
    m.begin(IRET);
    expect(m.event()).toMatchObject({ vector: TS, error: Task.tss, eip: Place.code });
  });

  it('marks descriptors with the busy type', () => {
    expect(m.attrOf(Task.tss) & BUSY).toBe(0);
    m.begin(callFar(Task.tss));
    m.run();
    expect([m.attrOf(Task.tss) & BUSY, m.attrOf(Selector.tss) & BUSY]).toEqual([BUSY, BUSY]);
  });
});
